"""Taking in the finished steps and sweeps of another store.

A step is added the way it is built: copied into `.partial` under its lock, verified, its record written last, renamed. What is
there stays as it is; an interrupted merge is continued by the same command.

Not here: ledgers. Equal fingerprints with unequal digests are refused, because results rest on one of them.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from harness.config import ConfigError
from harness.inventory import Inventory, inventory, sweep_folders
from harness.record import MEASURED_FILE, PAYLOAD, RECORD_FILE, Record, write_record
from harness.store import PARTIAL, BusyError, flush, flush_folder, locked, payload_problems
from harness.sweep_record import SweepRecordError, read_failures, read_sweep, write_failures, write_sweep
from harness.upkeep import Finding, UpkeepError, readable, stale_roles


@dataclass
class Merged:
    """What a merge did."""

    copied: list[str] = field(default_factory=list)
    present: int = 0
    sweeps: list[str] = field(default_factory=list)
    left: list[Finding] = field(default_factory=list)
    """Steps of the other store that cannot be used, and were not copied."""
    busy: list[str] = field(default_factory=list)


def merge(root: Path, other: Path) -> Merged:
    """Copy finished steps and sweeps of another store; what is there already stays as it is.

    Raises UpkeepError before anything is copied if equal fingerprints have unequal digests: which of the two the results
    rest on is for people to say.
    """
    ours, theirs = inventory(root), inventory(other)
    records, unusable = readable(theirs)
    own, own_torn = readable(ours)
    problems = [finding.message for finding in own_torn] + list(_conflicts(ours, own, theirs, records))
    if problems:
        raise UpkeepError("\n".join(["nothing was merged:", *problems]))
    done = Merged(left=unusable)
    for key, record in records.items():
        if key in own:
            done.present += 1
        elif stale_roles(record, records):
            done.left.append(Finding("stale", key, f"{theirs.done[key]}: its inputs were rebuilt since; build it again there"))
        else:
            _adopt(root, key, theirs.done[key], record, done)
    _merge_sweeps(root, other, done)
    return done


def _conflicts(ours: Inventory, own: Mapping[str, Record], theirs: Inventory, records: Mapping[str, Record]) -> Iterator[str]:
    for key, record in records.items():
        if key in own and own[key].digest != record.digest:
            yield (
                f"{key} is there twice with different bytes: {ours.done[key]} has digest {own[key].digest[:12]}, "
                f"{theirs.done[key]} has {record.digest[:12]} (two ledgers, other hardware, or code that changed without a new "
                "version); move one of them away with all that was built from it"
            )
        elif key not in own:
            for role in sorted(stale_roles(record, own)):
                read = record.inputs[role]
                source = f"{read.step}/{read.fingerprint}"
                yield (
                    f"{theirs.done[key]} was built from {source} with digest {read.digest[:12]}, and "
                    f"{ours.done[source]} has {own[source].digest[:12]}; move one of them away"
                )


def _adopt(root: Path, key: str, source: Path, record: Record, done: Merged) -> None:
    """Take one step unless somebody built it meanwhile."""
    folder = root / key
    try:
        with locked(root, key):
            if (folder / RECORD_FILE).is_file():
                done.present += 1
            elif folder.exists():
                done.left.append(
                    Finding("no record", key, f"{folder}: stands in the way without a {RECORD_FILE}; move it away")
                )
            elif problems := _copy(source, folder, record):
                done.left += [Finding("corrupt", key, problem) for problem in problems]
            else:
                done.copied.append(key)
    except BusyError:
        done.busy.append(key)


def _copy(source: Path, folder: Path, record: Record) -> list[str]:
    """Copy a step and put it in its place if its bytes are those of the record; returns what is wrong with them."""
    partial = folder.with_name(folder.name + PARTIAL)
    shutil.rmtree(partial, ignore_errors=True)
    shutil.copytree(source / PAYLOAD, partial / PAYLOAD, copy_function=shutil.copyfile)
    if (source / MEASURED_FILE).is_file():
        shutil.copyfile(source / MEASURED_FILE, partial / MEASURED_FILE)
    if any(payload_problems(partial, record)):
        shutil.rmtree(partial)
        return list(payload_problems(source, record)) or [f"{source}: its copy has other bytes; check both disks"]
    flush(partial)
    write_record(partial / RECORD_FILE, record)
    partial.rename(folder)
    flush_folder(folder.parent)
    return []


def _merge_sweeps(root: Path, other: Path, done: Merged) -> None:
    have = {folder.relative_to(root) for folder in sweep_folders(root)}
    for folder in sweep_folders(other):
        if folder.relative_to(other) in have:
            continue
        name = f"{folder.parent.name}@{folder.name}"
        try:
            sweep, failures = read_sweep(folder), read_failures(folder)
        except (SweepRecordError, ValueError, ConfigError) as error:
            done.left.append(Finding("sweep", name, str(error)))
            continue
        if f"{sweep.name}@{sweep.id}" != name:
            done.left.append(Finding("sweep", name, f"{folder}: holds the sweep {sweep.name}@{sweep.id}; move it away"))
            continue
        write_failures(write_sweep(root, sweep), failures)
        done.sweeps.append(name)
