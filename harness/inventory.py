"""What lies in a store, read from the outside: finished steps, unfinished ones, sweeps, pins, and who uses what.

It reads names, records and locks, never payloads, and changes nothing; `upkeep.py` acts on it. A step is known here by its key
(`step/fingerprint`), because a store outlives the code that planned its steps.
"""

from __future__ import annotations

import fcntl
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from harness.identity import FINGERPRINT_LENGTH
from harness.record import RECORD_FILE
from harness.runtime import EMBEDDINGS
from harness.store import PARTIAL, SCRATCH, lock_file
from harness.sweep_record import SWEEP_FILE, SweepRecord, read_sweep

PINS = "pins"
COMPOSED = "composed"
LOCKS = "locks"
SWEEPS = "sweeps"
_NOT_STEPS = (PINS, COMPOSED, LOCKS, SWEEPS, EMBEDDINGS)
_FINGERPRINT = re.compile(rf"[0-9a-f]{{{FINGERPRINT_LENGTH}}}")
_LOCK = re.compile(rf"(?P<step>.+)-(?P<fingerprint>[0-9a-f]{{{FINGERPRINT_LENGTH}}})")


@dataclass(frozen=True)
class Inventory:
    """Folders of a store by step key."""

    done: dict[str, Path] = field(default_factory=dict)
    """With a record."""
    partial: dict[str, Path] = field(default_factory=dict)
    """`<fingerprint>.partial`: being built, or left over by a kill."""
    scratch: dict[str, Path] = field(default_factory=dict)
    """`<fingerprint>.scratch`: from which a build that was killed goes on."""
    recordless: dict[str, Path] = field(default_factory=dict)
    """In a finished step's place, without a record; no build leaves this."""


def inventory(root: Path) -> Inventory:
    """Every step folder below a store; one listing per kind and one `stat` per step."""
    found = Inventory()
    for kind in _folders(root):
        if kind.name in _NOT_STEPS:
            continue
        for entry in _folders(Path(kind.path)):
            name, _, ending = entry.name.partition(".")
            if not _FINGERPRINT.fullmatch(name) or f".{ending}" not in (".", PARTIAL, SCRATCH):
                continue
            place = found.scratch if f".{ending}" == SCRATCH else found.partial
            if name == entry.name:
                place = found.done if os.path.isfile(f"{entry.path}/{RECORD_FILE}") else found.recordless  # noqa: PTH113 - 10,000 times
            place[f"{kind.name}/{name}"] = Path(entry.path)
    return found


def _folders(folder: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return sorted((entry for entry in entries if entry.is_dir(follow_symlinks=False)), key=lambda entry: entry.name)
    except FileNotFoundError:
        return []


def being_built(root: Path, key: str) -> bool:
    """Whether some process holds the lock of a step.

    A shared lock is tried for an instant; a builder that comes in that very instant finds the step busy and asks again.
    """
    try:
        with lock_file(root, key).open("rb") as handle:
            fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except OSError:
        return True
    return False


def step_locks(root: Path) -> dict[str, Path]:
    """Lock files of steps by key; other locks (of a GPU, of a ledger) are not listed."""
    found = {}
    for path in sorted((root / LOCKS).glob("*")):
        if match := _LOCK.fullmatch(path.name):
            found[f"{match['step']}/{match['fingerprint']}"] = path
    return found


def sweep_folders(root: Path) -> list[Path]:
    """Folders of all sweeps."""
    return sorted(path.parent for path in (root / SWEEPS).glob(f"*/*/{SWEEP_FILE}"))


def sweep_keys(sweep: SweepRecord) -> set[str]:
    """Every step any run of a sweep asks for."""
    return {ref.key for run in sweep.runs for ref in run.steps.values()}


def pinned(root: Path) -> list[str]:
    """What is pinned: step keys, and sweeps as `sweeps/<name>/<id>`."""
    pins = root / PINS
    return sorted(path.relative_to(pins).as_posix() for path in pins.rglob("*") if path.is_file())


def baseline_keys(folder: Path) -> dict[str, set[str]]:
    """Steps that committed baselines (`<folder>/<name>/`) refer to, by the baseline's name.

    A baseline holds its own scores and items; the store's copy has the weights as well.
    """
    found: dict[str, set[str]] = {}
    for baseline in _folders(folder):
        if baseline.name.startswith("."):
            continue  # half-written
        path = Path(baseline.path)
        keys = set(inventory(path).done)
        for sweep in sweep_folders(path):
            keys |= sweep_keys(read_sweep(sweep))
        found[baseline.name] = keys
    return found


def users(root: Path, baselines: Path) -> dict[str, set[str]]:
    """Who asks for steps: keys by `name@id` of a sweep, `pin`, or `baseline <name>`.

    Raises SweepRecordError for a sweep that cannot be read: what it needs is then unknown.
    """
    found: dict[str, set[str]] = {}
    for folder in sweep_folders(root):
        sweep = read_sweep(folder)
        found[f"{sweep.name}@{sweep.id}"] = sweep_keys(sweep)
    pins = pinned(root)
    sweeps = {f"{SWEEPS}/{name.replace('@', '/')}": keys for name, keys in found.items()}
    if pins:
        found["pin"] = set().union(*(sweeps.get(pin, set() if pin.startswith(f"{SWEEPS}/") else {pin}) for pin in pins))
    return found | {f"baseline {name}": keys for name, keys in baseline_keys(baselines).items()}


def users_of(asked: Mapping[str, set[str]]) -> dict[str, list[str]]:
    """The other way round: names by step key."""
    found: dict[str, list[str]] = {}
    for name, keys in asked.items():
        for key in keys:
            found.setdefault(key, []).append(name)
    return found


def folder_size(folder: Path) -> int:
    """Bytes of all files below a folder; files that vanish meanwhile do not count."""
    return sum(_sizes(folder))


def _sizes(folder: Path) -> Iterator[int]:
    for parent, _, names in os.walk(folder):
        for name in names:
            try:
                yield os.stat(f"{parent}/{name}", follow_symlinks=False).st_size  # noqa: PTH116 - 10,000 times
            except FileNotFoundError:
                continue
