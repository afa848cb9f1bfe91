"""The store of finished steps: `store/<step>/<fingerprint>/{payload/, measured.json, record.json}`.

A folder with a record is done; one without is not. A step is built in `<fingerprint>.partial`, its record is written last,
and the folder is renamed into place, so that a kill at any moment leaves either everything or nothing. One builder at a time:
a lock per step that the kernel releases when its holder dies.

Payloads are checked against their record before anybody reads them. Not here: which steps there are (`step.py`), or the
commands for upkeep (`store_commands.py`).
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from harness.identity import combine_digests, file_digest, folder_digests, plain
from harness.record import (
    MEASURED_FILE,
    PAYLOAD,
    RECORD_FILE,
    InputRead,
    Record,
    RecordError,
    environment,
    json_text,
    read_record,
)
from harness.runtime import Runtime
from harness.step import Body, Report, Step, Work, silent

FLUSHERS = 4  # files whose bytes are waited for at a time
PARTIAL = ".partial"  # a step's folder while it is built
SCRATCH = ".scratch"  # what builders of a step hand on to the next one when they are killed


class StaleError(RecordError):
    """A finished step was built from other bytes of an input than those that lie there now."""


class BusyError(RuntimeError):
    """Another process is building the step."""


class UnsettledError(RecordError):
    """A payload changed while its digest was taken."""


class EmptyPayloadError(RuntimeError):
    """A body returned without writing anything."""


class Store:
    """Finished steps below one folder."""

    def __init__(self, root: Path) -> None:
        self.root = root
        # Files whose digest this process has checked, by what `stat` says of them: weights are hashed once, not per task.
        self._checked: dict[tuple[str, int, int, int], str] = {}
        self._recorded: dict[tuple[str, int, int, int], str] = {}  # digests of records, in the same way: many read one input

    def folder(self, step: Step) -> Path:
        """Where a step lies, done or not."""
        return self.root / step.name / step.fingerprint

    def payload(self, step: Step) -> Path:
        """Where a finished step's payload lies."""
        return self.folder(step) / PAYLOAD

    def done(self, step: Step) -> bool:
        """Whether the step has a record; a stat, nothing is read."""
        return os.path.isfile(f"{self.root}/{step.key}/{RECORD_FILE}")  # noqa: PTH113 - 10,000 times

    def record(self, step: Step) -> Record:
        """The record of a finished step; raises RecordError if torn, or of another step."""
        record = read_record(self.folder(step) / RECORD_FILE)
        if (record.step, record.fingerprint) != (step.name, step.fingerprint):
            raise RecordError(f"{self.folder(step)}: holds the record of {record.step}/{record.fingerprint}; move it away")
        return record

    def fresh(self, step: Step) -> Record:
        """The record of a finished step whose inputs are still those it read; raises StaleError otherwise."""
        record = self.record(step)
        for role, source in step.inputs.items():
            read = record.inputs[role].digest
            if self.done(source) and (now := self._payload_digest(source)) != read:
                raise StaleError(
                    f"{step.key} was built from {source.key} when its digest was {read[:12]}, which is {now[:12]} now; "
                    f"move {self.folder(step)} away to build it again"
                )
        return record

    def verified(self, step: Step) -> Record:
        """The record of a finished step whose payload bytes match it; raises RecordError naming the file that does not."""
        record = self.record(step)
        for problem in payload_problems(self.folder(step), record, self._digest):
            raise RecordError(problem)
        return record

    def _payload_digest(self, step: Step) -> str:
        key = _state(f"{self.root}/{step.key}/{RECORD_FILE}")
        if key not in self._recorded:
            self._recorded[key] = self.record(step).digest
        return self._recorded[key]

    def _digest(self, path: Path) -> str:
        key = _state(path)
        if key not in self._checked:
            self._checked[key] = file_digest(path)
        return self._checked[key]

    def realize(self, step: Step, body: Body, runtime: Runtime, report: Report = silent) -> bool:
        """Build a step whose inputs are done, unless it is done. Returns whether this call built it.

        Raises BusyError if another process holds its lock, RecordError if an input's bytes do not match, and whatever the
        body raises; nothing of a failed build stays.
        """
        if self.done(step):
            return False
        with locked(self.root, step.key):
            if self.done(step):
                return False
            self._build(step, body, runtime, report)
        return True

    def discard(self, step: Step) -> None:
        """Remove what a builder that was killed left of a step, unless somebody builds it again already."""
        with suppress(BusyError), locked(self.root, step.key):
            shutil.rmtree(_partial(self.folder(step)), ignore_errors=True)

    def _build(self, step: Step, body: Body, runtime: Runtime, report: Report) -> None:
        folder = self.folder(step)
        partial = _partial(folder)
        shutil.rmtree(partial, ignore_errors=True)
        inputs = {role: self.verified(source) for role, source in step.inputs.items()}
        (partial / PAYLOAD).mkdir(parents=True)
        measured: dict[str, Any] = {}
        started, cpu = time.time(), _cpu_seconds()
        try:
            paths = {role: self.payload(source) for role, source in step.inputs.items()}
            scratch = folder.with_name(folder.name + SCRATCH)
            body(step.spec, Work(paths, partial / PAYLOAD, scratch, runtime, report, measured))
            before = _states(partial / PAYLOAD)
            files = folder_digests(partial / PAYLOAD)
            if not files:
                raise EmptyPayloadError(f"{step.key}: its body wrote nothing")
            measured |= {"seconds": time.time() - started, "cpu_seconds": _cpu_seconds() - cpu, "started": started}
            (partial / MEASURED_FILE).write_text(json_text(measured | dict(environment())), encoding="utf-8")
            reads = {role: InputRead(r.step, r.fingerprint, r.digest) for role, r in inputs.items()}
            record = Record(step.name, step.version, step.fingerprint, plain(step.spec), reads, files, combine_digests(files))
            (partial / RECORD_FILE).write_text(json_text(asdict(record)), encoding="utf-8")
            flush(partial)
            if unsettled := dict(before.items() ^ _states(partial / PAYLOAD).items()):
                names = ", ".join(sorted(unsettled))
                raise UnsettledError(f"{step.key}: {names} changed after its body returned; something it started still writes")
            partial.rename(folder)
            flush_folder(folder.parent)
            shutil.rmtree(scratch, ignore_errors=True)
        except BaseException:
            shutil.rmtree(partial, ignore_errors=True)
            raise


def _partial(folder: Path) -> Path:
    return folder.with_name(folder.name + PARTIAL)


def lock_file(root: Path, key: str) -> Path:
    """The lock of a step. The file stays when nobody holds it; whether it is held, the kernel knows."""
    return root / "locks" / key.replace("/", "-")


@contextmanager
def locked(root: Path, key: str) -> Iterator[None]:
    """Hold the lock of a step; raises BusyError if another process does."""
    path = lock_file(root, key)
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise BusyError(f"{key} is being built by another process") from None
    try:
        yield
    finally:
        lock.release()


def payload_problems(folder: Path, record: Record, digest: Callable[[Path], str] = file_digest) -> Iterator[str]:
    """What is wrong with the payload of a step's folder, file by file, with the remedy; missing and added files first."""
    payload = folder / PAYLOAD
    present = {path.relative_to(payload).as_posix() for path in payload.rglob("*") if path.is_file()}
    remedy = f"move {folder} away to build the step again"
    for name in sorted(present ^ set(record.files)):
        yield f"{payload / name}: {'is missing' if name in record.files else 'is not in the record'}; {remedy}"
    for name in sorted(present & set(record.files)):
        if digest(payload / name) != record.files[name]:
            yield f"{payload / name}: its bytes are not those of the record (corrupt or edited); {remedy}"


def _cpu_seconds() -> float:
    times = os.times()
    return times.user + times.system


def _state(path: Path | str) -> tuple[str, int, int, int]:
    """What `stat` says of a file: a write since then shows."""
    stat = os.stat(path)  # noqa: PTH116 - 10,000 times
    return (str(path), stat.st_size, stat.st_mtime_ns, stat.st_ino)


def _states(folder: Path) -> dict[str, tuple[str, int, int, int]]:
    return {path.relative_to(folder).as_posix(): _state(path) for path in folder.rglob("*") if path.is_file()}


def flush(folder: Path) -> None:
    """All bytes of a folder reach the disk, before the rename that puts it in its place.

    Side by side: the disk then writes once for all, and waiting for it is most of what a small step costs.
    """
    paths = [path for path in folder.rglob("*") if path.is_file()]
    with ThreadPoolExecutor(FLUSHERS) as pool:
        for done in [pool.submit(_flush_file, path) for path in paths]:
            done.result()


def _flush_file(path: Path) -> None:
    with path.open("rb") as handle:
        os.fsync(handle.fileno())


def flush_folder(folder: Path) -> None:
    """Names in a folder reach the disk: a rename before this may be lost with the power."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


if __name__ == "__main__":
    from harness.store_commands import main

    main()
