"""Acting on a store: check it, pin in it.

Not here: looking (`inventory.py`), collecting what nobody needs (`garbage.py`), taking in another store (`merge.py`), printing
(`store_commands.py`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from harness.config import ConfigError
from harness.inventory import (
    PINS,
    SWEEPS,
    Inventory,
    being_built,
    inventory,
    pinned,
    sweep_folders,
)
from harness.record import MEASURED_FILE, RECORD_FILE, Record, RecordError, read_measured, read_record
from harness.store import payload_problems
from harness.sweep_record import SweepRecordError, find_sweep, read_failures, read_sweep


class UpkeepError(RuntimeError):
    """A command that cannot be carried out; nothing was changed. Says why and what to do."""


class NoSuchError(UpkeepError):
    """A command names a step, sweep or store that is not there."""


@dataclass(frozen=True)
class Finding:
    """Something wrong in a store, with its remedy in the message."""

    kind: Literal["corrupt", "stale", "left over", "no record", "sweep"]
    what: str
    message: str


def checked_record(key: str, folder: Path) -> Record:
    """The record of a step folder; raises RecordError if it is torn or belongs elsewhere."""
    record = read_record(folder / RECORD_FILE)
    if f"{record.step}/{record.fingerprint}" != key:
        raise RecordError(f"{folder}: holds the record of {record.step}/{record.fingerprint}; move it away")
    return record


def readable(found: Inventory) -> tuple[dict[str, Record], list[Finding]]:
    """Readable records by key, and a finding for every other."""
    records, findings = {}, []
    for key, folder in found.done.items():
        try:
            records[key] = checked_record(key, folder)
        except RecordError as error:
            findings.append(Finding("corrupt", key, str(error)))
    return records, findings


def unfinished(root: Path, found: Inventory) -> list[Finding]:
    """Left-overs of builds that were killed, and folders without a record; steps that are being built are neither."""
    findings = [
        Finding("left over", key, f"{folder}: nobody is building it; `python -m harness.store gc --delete` removes it")
        for key, folder in found.partial.items()
        if not being_built(root, key)
    ]
    return findings + [
        Finding("no record", key, f"{folder}: has no {RECORD_FILE} and stands in the way of a build; move it away")
        for key, folder in found.recordless.items()
    ]


def unreadable_sweeps(root: Path) -> list[Finding]:
    """Sweeps whose record or failures cannot be read."""
    findings = []
    for folder in sweep_folders(root):
        name = f"{folder.parent.name}@{folder.name}"
        try:
            read_sweep(folder)
            read_failures(folder)
        except SweepRecordError as error:
            findings.append(Finding("sweep", name, str(error)))
        except (ValueError, ConfigError) as error:
            findings.append(Finding("sweep", name, f"{folder}: its failures cannot be read ({error}); run the sweep again"))
    return findings


def verify(root: Path) -> tuple[int, list[Finding]]:
    """Hash every payload; returns how many steps were checked and everything wrong."""
    found = inventory(root)
    records, findings = readable(found)
    for key, record in records.items():
        folder = found.done[key]
        findings += [Finding("corrupt", key, problem) for problem in payload_problems(folder, record)]
        try:
            read_measured(folder)
        except (ValueError, OSError) as error:
            message = f"{folder / MEASURED_FILE}: {error}; scores are not concerned, move {folder} away to measure it again"
            findings.append(Finding("corrupt", key, message))
        for role in sorted(stale_roles(record, records)):
            read = record.inputs[role]
            source = f"{read.step}/{read.fingerprint}"
            now = records[source].digest
            message = (
                f"{key} was built from {source} when its digest was {read.digest[:12]}, which is {now[:12]} now; "
                f"move {folder} away to build it again"
            )
            findings.append(Finding("stale", key, message))
    return len(found.done), findings + unfinished(root, found) + unreadable_sweeps(root)


def stale_roles(record: Record, records: Mapping[str, Record]) -> set[str]:
    """Inputs by role that were rebuilt to other bytes since the step read them."""
    return {
        role
        for role, read in record.inputs.items()
        if (source := records.get(f"{read.step}/{read.fingerprint}")) and source.digest != read.digest
    }


def found_sweep(root: Path, reference: str) -> Path:
    """The folder of a sweep, certainly below this store; raises NoSuchError."""
    try:
        folder = find_sweep(root, reference)
    except SweepRecordError as error:
        raise NoSuchError(str(error)) from error
    if folder not in sweep_folders(root):
        raise NoSuchError(f"{reference!r} is no sweep of {root}")
    return folder


def resolve(root: Path, reference: str) -> str:
    """What to pin: `step/fingerprint` (a prefix will do), or `sweeps/<name>/<id>`; raises NoSuchError."""
    if "/" not in reference:
        folder = found_sweep(root, reference)
        return f"{SWEEPS}/{folder.parent.name}/{folder.name}"
    keys = [key for key in {*inventory(root).done, *pinned(root)} if key.startswith(reference)]
    if len(keys) != 1:
        problem = f"is not unique: {', '.join(sorted(keys))}" if keys else "is no step of this store; see `ls --long`"
        raise NoSuchError(f"{reference!r} {problem}")
    return keys[0]


def pin(root: Path, name: str) -> None:
    """Keep a step or the steps of a sweep; `name` as `resolve` gives it."""
    path = root / PINS / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()


def unpin(root: Path, name: str) -> None:
    """Keep it no longer; raises NoSuchError if it was not pinned."""
    if name not in pinned(root):
        raise NoSuchError(f"{name} is not pinned; pinned: {', '.join(pinned(root)) or 'nothing'}")
    (root / PINS / name).unlink()
