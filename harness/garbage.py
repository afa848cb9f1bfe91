"""What nobody needs in a store, and removing it, while sweeps start and run beside.

A step is removed by renaming it to `.partial` under its lock, so that a kill at any moment leaves whole steps and left-overs
that the next `gc` collects. The ledger of paid requests is below all this and never touched.
"""

from __future__ import annotations

import shutil
from collections.abc import Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from harness.inventory import (
    COMPOSED,
    PINS,
    SWEEPS,
    Inventory,
    being_built,
    inventory,
    pinned,
    step_locks,
    sweep_folders,
    sweep_keys,
    users,
)
from harness.record import RECORD_FILE, RecordError
from harness.store import PARTIAL, BusyError, lock_file, locked
from harness.sweep_record import SWEEP_FILE, SweepRecordError, read_sweep
from harness.upkeep import NoSuchError, UpkeepError, checked_record, found_sweep

State = Mapping[str, tuple[int, int]]


@dataclass(frozen=True)
class Asks:
    """Who may need steps of a store: its sweeps, its pins, committed baselines."""

    root: Path
    baselines: Path

    def needed(self, aside: Collection[str] = ()) -> set[str]:
        """Keys of every step that is asked for, by others than the sweeps put aside, with all that they were built from.

        Raises UpkeepError where that cannot be known.
        """
        try:
            asked = users(self.root, self.baselines)
            keys = {key for name, keys in asked.items() if name not in aside for key in keys}
            return _closure(inventory(self.root), keys)
        except (SweepRecordError, RecordError) as error:
            raise UpkeepError(f"{error}; until then it is unknown what is needed, and nothing is collected") from error

    def state(self) -> State:
        """What `stat` says of all that asks: another state, and somebody may need something else."""
        files = [*(folder / SWEEP_FILE for folder in sweep_folders(self.root)), *(self.root / PINS).rglob("*")]
        files += [*self.baselines.glob("*"), *self.baselines.glob(f"*/{SWEEPS}/*/*/{SWEEP_FILE}")]
        found = {}
        for path in files:
            with suppress(FileNotFoundError):
                stat = path.stat()
                found[str(path)] = (stat.st_ino, stat.st_mtime_ns)
        return found


@dataclass(frozen=True)
class Garbage:
    """What a collection would remove."""

    asks: Asks
    sweeps: tuple[Path, ...]
    steps: dict[str, Path]
    partial: dict[str, Path]
    scratch: dict[str, Path]
    """Of steps that are done, or that nobody asks for any more."""
    composed: tuple[Path, ...]
    locks: dict[str, Path]


def garbage(root: Path, baselines: Path, drop: Collection[str] = ()) -> Garbage:
    """What no sweep, pin or baseline needs, the sweeps of `drop` (`NAME@id`) put aside.

    Raises UpkeepError where a need cannot be known: a sweep, or the record of a needed step, that cannot be read.
    """
    dropped = tuple(_droppable(root, reference) for reference in drop)
    asks = Asks(root, baselines)
    needed, found = asks.needed({f"{folder.parent.name}@{folder.name}" for folder in dropped}), inventory(root)
    return Garbage(
        asks=asks,
        sweeps=dropped,
        steps={key: folder for key, folder in found.done.items() if key not in needed},
        partial={key: folder for key, folder in found.partial.items() if not being_built(root, key)},
        scratch={
            key: folder
            for key, folder in found.scratch.items()
            if (key in found.done or key not in needed) and not being_built(root, key)
        },
        composed=tuple(sorted(path for path in (root / COMPOSED).rglob("*") if path.is_file())),
        locks={key: path for key, path in step_locks(root).items() if not being_built(root, key)},
    )


def _droppable(root: Path, reference: str) -> Path:
    if "@" not in reference:
        raise NoSuchError(f"{reference!r} names no single sweep; write NAME@id (`python -m sweeps status` lists them)")
    folder = found_sweep(root, reference)
    if f"{SWEEPS}/{folder.parent.name}/{folder.name}" in pinned(root):
        raise UpkeepError(f"{reference} is pinned; `python -m harness.store pin --unpin {reference}` first")
    if building := [key for key in sorted(sweep_keys(read_sweep(folder))) if being_built(root, key)]:
        raise UpkeepError(f"{reference} is at work ({', '.join(building[:3])} is being built); stop it first")
    return folder


def _closure(found: Inventory, keys: Collection[str]) -> set[str]:
    """Keys with all that they were built from."""
    needed: set[str] = set()
    waiting = list(keys)
    while waiting:
        key = waiting.pop()
        if key in needed:
            continue
        needed.add(key)
        if key in found.done:
            record = checked_record(key, found.done[key])
            waiting += [f"{read.step}/{read.fingerprint}" for read in record.inputs.values()]
    return needed


class _Needs:
    """What is needed, as of the last look."""

    def __init__(self, asks: Asks) -> None:
        self.asks = asks
        self.look()

    def look(self) -> None:
        self.state, self.keys = self.asks.state(), self.asks.needed()  # in this order: who comes between is seen next time

    def stand(self) -> bool:
        """Whether nobody who asks has come or gone since."""
        return self.asks.state() == self.state


def collect(root: Path, found: Garbage) -> dict[str, str]:
    """Remove garbage; returns the steps that were left, each with the reason: somebody has begun to build or to need it."""
    for folder in found.sweeps:
        (folder / SWEEP_FILE).unlink()  # first: from here on it is no sweep, whatever happens
        shutil.rmtree(folder)
    left = {}
    needs = _Needs(found.asks)
    for key in found.steps | found.partial | found.scratch | found.locks:
        try:
            with locked(root, key):
                if not _removed(root, found, key, needs):
                    left[key] = "a sweep, pin or baseline has just begun to ask for it"
                # While it is held: who waits for this very file sees that it has no name any more and opens a new one.
                lock_file(root, key).unlink()
        except BusyError:
            left[key] = "somebody has just begun to build it"
    for path in found.composed:
        path.unlink(missing_ok=True)
    return left


def _removed(root: Path, found: Garbage, key: str, needs: _Needs) -> bool:
    """Remove what is garbage of one step, whose lock is held; False if it is needed by now and was left."""
    if key in found.partial:
        shutil.rmtree(found.partial[key], ignore_errors=True)
    if key in found.scratch and (key not in needs.keys or (root / key / RECORD_FILE).is_file()):
        shutil.rmtree(found.scratch[key], ignore_errors=True)
    if key not in found.steps:
        return True
    while key not in needs.keys:
        if _gone(found.steps[key], needs):
            return True
        needs.look()
    return False


def _gone(folder: Path, needs: _Needs) -> bool:
    """Remove a step if what is needed is what it was at the last look.

    It is put aside before that is asked. A sweep that was written down before is seen, and the step is put back; one that
    comes later finds the step missing and builds it. So none believes in a step that is about to vanish.
    """
    if not folder.exists():
        return True  # another collection was faster
    partial = folder.with_name(folder.name + PARTIAL)
    folder.rename(partial)
    if not needs.stand():
        partial.rename(folder)
        return False
    shutil.rmtree(partial)
    return True
