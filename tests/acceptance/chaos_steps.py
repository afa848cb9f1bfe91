"""The sweep that chaos is made of: a seeded graph of small steps, run by the real executor in real workers.

    python -m tests.acceptance.chaos_steps sweep STORE SEED     the parent: builds what is missing, prints what happened
    python -m tests.acceptance.chaos_steps worker FD            its workers; started by the parent

Bodies write a log of their own, outside the store: `begin` and `end` of every step with process and clock, and `overlap` if
another living process is inside the same step. Two faults come from inside a process, at the moment that the environment
names: `os._exit`, and a disk that is full. Not here: who draws the moments, and what is claimed (`chaos.py`).
"""

from __future__ import annotations

import builtins
import errno
import hashlib
import io
import json
import os
import random
import sys
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import psutil

from harness.runtime import Runtime
from harness.step import Body, Step, Work
from harness.store import Store
from harness.sweep_record import Failure, write_failures
from sweeps.executor import execute
from sweeps.graph import Graph, Node
from sweeps.worker import serve

STEPS = 10
LOG = "bodies.log"
FAULT = (
    "CHAOS_FAULT"  # "KIND TARGET MOMENT TOKEN": os_exit or disk_full, sweep or worker, on the monotonic clock, who creates it
)


@dataclass(frozen=True)
class Piece:
    """One small step: how long it takes and what it writes."""

    name: str
    seconds: float
    files: int
    kilobytes: int


def pieces(seed: int) -> dict[str, Step]:
    """A seeded graph, inputs first; every step but the first few reads one or two earlier ones."""
    draw = random.Random(seed)
    made: dict[str, Step] = {}
    for number in range(STEPS):
        sources = draw.sample(sorted(made), k=min(len(made), draw.randint(0, 2))) if number > 1 else []
        piece = Piece(f"step{number}", draw.uniform(0.02, 0.2), draw.randint(1, 3), draw.randint(1, 400))
        made[piece.name] = Step("chaos", 1, piece, {source: made[source] for source in sources}, piece.name)
    return made


def build(spec: Piece, work: Work) -> None:
    """Write bytes that depend on the inputs', slowly, and tell the log."""
    key = work.out.parent.name
    log = work.runtime.store_path.parent / LOG
    _note_overlap(log, key)
    _append(log, "begin", key)
    digest = hashlib.sha256(spec.name.encode())
    for path in sorted(path for folder in work.inputs.values() for path in folder.iterdir()):
        digest.update(path.read_bytes())
    for number in range(spec.files):
        block = hashlib.sha256(digest.digest() + bytes([number])).digest()
        content = bytearray(block * (32 * spec.kilobytes))
        time.sleep(spec.seconds / spec.files)
        (work.out / f"part{number}").write_bytes(content)
        work.report(number + 1, spec.files)
    _append(log, "end", key)


def _append(log: Path, what: str, key: str) -> None:
    line = json.dumps({"what": what, "key": key, "pid": os.getpid(), "at": time.monotonic()}) + "\n"
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.write(descriptor, line.encode())  # one write: lines of several processes do not mix
    os.close(descriptor)


def _note_overlap(log: Path, key: str) -> None:
    """Say so if a process that has begun this step and not ended it is still alive a moment later."""
    inside: set[int] = set()
    for line in log.read_text().splitlines() if log.exists() else []:
        entry = json.loads(line)
        if entry["key"] == key:
            (inside.add if entry["what"] == "begin" else inside.discard)(entry["pid"])
    deadline = time.monotonic() + 1.0  # a killed process gives its lock back a moment before it is gone
    while others := [pid for pid in inside if pid != os.getpid() and _alive(pid)]:
        if time.monotonic() > deadline:
            _append(log, f"overlap with {others}", key)
            return
        time.sleep(0.01)


def _alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def arm_fault(role: str) -> None:
    """Arrange the fault that the environment asks of this kind of process, if its moment is still to come."""
    if FAULT not in os.environ:
        return
    kind, target, moment, token = os.environ[FAULT].split(" ", 3)
    delay = float(moment) - time.monotonic()
    if target == role and delay > 0:
        timer = threading.Timer(delay, _strike, (kind, Path(token)))
        timer.daemon = True
        timer.start()


def _strike(kind: str, token: Path) -> None:
    try:
        token.touch(exist_ok=False)
    except FileExistsError:
        return  # another worker was struck
    if kind == "os_exit":
        os._exit(0)
    _fill_disk()


def _fill_disk() -> None:
    """From now on no file can be opened for writing, as if the disk were full."""
    genuine = io.open

    def full(file: Any, mode: str = "r", *rest: Any, **more: Any) -> Any:
        if set(mode) & set("wax+"):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(file))
        return genuine(file, mode, *rest, **more)

    io.open = builtins.open = full  # type: ignore[assignment]  # pathlib asks io, everything else asks builtins


class Silent:
    """An observer that shows nothing."""

    def started(self, node: Node, worker: int) -> None:
        """Say nothing."""

    def progressed(self, worker: int, done: int, total: int, note: str) -> None:
        """Say nothing."""

    def finished(self, node: Node, worker: int, *, built: bool, seconds: float) -> None:
        """Say nothing."""

    def failed(self, node: Node, worker: int, failure: Failure) -> None:
        """Say nothing."""

    def waiting(self, worker: int, device: str) -> None:
        """Say nothing."""

    def stopping(self) -> None:
        """Say nothing."""

    def tick(self) -> None:
        """Say nothing."""


def sweep(root: Path, seed: int) -> None:
    """Build the graph of a seed; prints `{"built": n, "failed": {label: kind}}`, exits with 1 unless all is there."""
    arm_fault("sweep")
    runtime = Runtime(
        store=str(root), ledger=str(root / "ledger.sqlite"), device="cpu", workers=2, threads=1, patience=60.0, memory=None,
        data=None, models=None, sources=None, tracker="disabled", project="chaos",
    )  # fmt: skip
    graph = Graph.of([("arm:0", pieces(seed), {"seed": seed})])
    folder = root / f"sweep-{os.getpid()}"
    folder.mkdir(parents=True, exist_ok=True)
    program = (sys.executable, "-m", "tests.acceptance.chaos_steps", "worker")
    keep = partial(write_failures, folder)
    outcome = execute(graph, Store(root), runtime, folder / "logs", Silent(), keep, program)
    print(json.dumps({"built": len(outcome.built), "failed": {f.label: f.kind for f in outcome.failures.values()}}))
    sys.exit(1 if graph.missing(Store(root)) else 0)


def resolve(job: Mapping[str, Any], runtime: Runtime) -> tuple[Step, Body]:
    """The step of a job, planned again from its seed."""
    del runtime
    return next(step for step in pieces(job["config"]["seed"]).values() if step.key == job["key"]), build


if __name__ == "__main__":
    if sys.argv[1] == "worker":
        arm_fault("worker")
        sys.argv.pop(1)  # the worker loop reads its descriptor as the first argument
        serve(resolve)
    else:
        sweep(Path(sys.argv[2]), int(sys.argv[3]))
