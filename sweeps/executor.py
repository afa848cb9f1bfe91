"""Running a graph of steps in supervised worker processes.

The parent starts workers, hands each one step at a time, and watches: a worker that dies fails its step alone and is
replaced; what depends on a failed step is blocked by it; everything else goes on. `Observer` is what the live view and the
tests implement; `execute` is the whole interface, so that another executor (several machines) can stand in for this one.

Not here: what steps do, how they are shown, what a sweep writes when it ends.
"""

from __future__ import annotations

import json
import os
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any, Protocol

from harness.runtime import Runtime
from harness.store import Store
from harness.sweep_record import Failure
from sweeps.graph import Graph, Node

LOG_TAIL = 4000  # bytes of a worker's output kept with a failure
BUSY_PAUSE = 0.5  # seconds before a step that another process is building is looked at again
WORKER = (sys.executable, "-m", "sweeps.worker")
TICK = 0.1  # seconds between refreshes of the view when nothing happens


class Observer(Protocol):
    """Who watches a sweep."""

    def started(self, node: Node, worker: int) -> None:
        """A worker began a step."""

    def progressed(self, worker: int, done: int, total: int, note: str) -> None:
        """A step is `done` of `total` units far."""

    def finished(self, node: Node, worker: int, *, built: bool, seconds: float) -> None:
        """A step is there; `built` is False if somebody else built it meanwhile."""

    def failed(self, node: Node, worker: int, failure: Failure) -> None:
        """A step failed."""

    def tick(self) -> None:
        """Time passed."""


@dataclass
class Outcome:
    """How the steps of a graph ended."""

    built: list[str] = field(default_factory=list)
    failures: dict[str, Failure] = field(default_factory=dict)
    interrupted: bool = False


class WorkerProcess:
    """One worker as its parent sees it."""

    def __init__(self, index: int, runtime: Runtime, logs: Path, program: Sequence[str]) -> None:
        self.index = index
        self.node: Node | None = None
        self.context: set[str] = set()
        """Keys of the last step and its inputs: what this worker probably still holds in memory."""
        self.log = logs / f"worker-{index}.log"
        self.log_start = 0
        self._buffer = b""
        reader, writer = os.pipe()
        environment = os.environ | {"OMP_NUM_THREADS": str(runtime.threads), "MKL_NUM_THREADS": str(runtime.threads)}
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [*program, str(writer)],
                stdin=subprocess.PIPE, stdout=log, stderr=log, pass_fds=(writer,),
                start_new_session=True, env=environment, cwd=Path(__file__).parent.parent,
            )  # fmt: skip
        os.close(writer)
        self.events = reader

    def give(self, node: Node, runtime: Runtime) -> None:
        """Hand over one step."""
        self.node = node
        self.log_start = self.log.stat().st_size
        self.context = {node.key, *(source.key for source in node.step.inputs.values())}
        job = {"key": node.key, "config": node.config, "runtime": asdict(runtime)}
        assert self.process.stdin is not None  # noqa: S101 - for the type checker: opened as a pipe above
        with suppress(BrokenPipeError):  # it died a moment ago; its end of the event pipe says so and the step fails there
            self.process.stdin.write(json.dumps(job).encode() + b"\n")
            self.process.stdin.flush()

    def read(self) -> list[dict[str, Any]] | None:
        """Events that arrived; None when the worker has closed its end, that is, died."""
        data = os.read(self.events, 1 << 16)
        if not data:
            return None
        *lines, self._buffer = (self._buffer + data).split(b"\n")
        return [json.loads(line) for line in lines]

    def tail(self) -> str:
        """The end of what it printed since it took its step."""
        with self.log.open("rb") as log:
            size = log.seek(0, os.SEEK_END)
            log.seek(max(self.log_start, size - LOG_TAIL))
            return log.read().decode("utf-8", errors="replace")

    def end(self) -> int:
        """Kill it with everything it started; returns its exit status (negative: the signal)."""
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        status = self.process.wait()
        if self.process.stdin is not None:
            self.process.stdin.close()
        os.close(self.events)
        return status


class Execution:
    """One execution of a graph."""

    def __init__(
        self, graph: Graph, store: Store, runtime: Runtime, logs: Path, observer: Observer, program: Sequence[str]
    ) -> None:
        self.graph, self.store, self.runtime, self.logs, self.observer = graph, store, runtime, logs, observer
        self.program = program
        self.waiting = graph.missing(store)
        self.outcome = Outcome()
        self.busy: dict[str, float] = {}
        self.workers: dict[int, WorkerProcess] = {}
        self.selector = selectors.DefaultSelector()
        self.stopping = False

    def run(self) -> Outcome:
        """Run until nothing is left that can be built."""
        previous = {number: signal.signal(number, self._stop) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            while self._dispatch():
                for key, _ in self.selector.select(timeout=TICK):
                    self._listen(key.data)
                self.observer.tick()
        finally:
            for worker in list(self.workers.values()):
                self._remove(worker)
            for number, handler in previous.items():
                signal.signal(number, handler)
        self.outcome.interrupted = self.stopping
        return self.outcome

    def _stop(self, number: int, _: FrameType | None) -> None:
        if self.stopping or number == signal.SIGTERM:
            self.stopping = True
            raise KeyboardInterrupt
        self.stopping = True
        self.observer.tick()

    def _dispatch(self) -> bool:
        """Give idle workers what is ready; False when all is over."""
        blocked = self.graph.blocked_by(self.outcome.failures)
        for key in blocked:
            self.waiting.pop(key, None)
        running = [worker for worker in self.workers.values() if worker.node]
        if not self.stopping:
            for worker in self._idle(len(running)):
                node = self._choose(worker)
                if node is None:
                    break
                worker.give(node, self.runtime)
                self.observer.started(node, worker.index)
        at_work = any(worker.node for worker in self.workers.values())
        return at_work or (bool(self.waiting) and not self.stopping)

    def _idle(self, running: int) -> list[WorkerProcess]:
        ready = len(self._ready())
        wanted = min(self.runtime.workers, running + ready)
        for index in range(self.runtime.workers):
            if len(self.workers) >= wanted:
                break
            if index not in self.workers:
                worker = self.workers[index] = WorkerProcess(index, self.runtime, self.logs, self.program)
                self.selector.register(worker.events, selectors.EVENT_READ, worker)
        return [worker for worker in self.workers.values() if worker.node is None]

    def _ready(self) -> list[Node]:
        now = time.monotonic()
        at_work = {worker.node.key for worker in self.workers.values() if worker.node}
        return [
            node
            for key, node in self.waiting.items()
            if key not in at_work
            and self.busy.get(key, 0.0) <= now
            and not any(source.key in self.waiting for source in node.step.inputs.values())
        ]

    def _choose(self, worker: WorkerProcess) -> Node | None:
        """The ready step that fits what the worker holds; next, what no other worker holds; then by order."""
        others = {key for other in self.workers.values() if other is not worker for key in other.context}
        checkpoints = {key for key in worker.context | others if key.startswith(("finetune/", "pretrain/"))}

        def rank(node: Node) -> tuple[int, bool, int]:
            needs = {source.key for source in node.step.inputs.values()} & checkpoints
            return (-len(needs & worker.context), bool(needs & others - worker.context), node.order)

        return min(self._ready(), key=rank, default=None)

    def _listen(self, worker: WorkerProcess) -> None:
        events = worker.read()
        if events is None:
            self._died(worker)
            return
        for event in events:
            self._handle(worker, event)

    def _handle(self, worker: WorkerProcess, event: Mapping[str, Any]) -> None:
        node = worker.node
        if event["event"] == "progress":
            self.observer.progressed(worker.index, event["done"], event["total"], event["note"])
        if node is None or event["event"] in ("progress", "ready"):
            return
        worker.node = None
        if event["event"] == "busy":
            self.busy[node.key] = time.monotonic() + BUSY_PAUSE
            if self.store.done(node.step):
                self._finished(node, worker, built=False, seconds=0.0)
        elif event["event"] == "done":
            self._finished(node, worker, built=event["built"], seconds=event["seconds"])
        else:
            self._failed(node, worker, event["kind"], event["message"], event["traceback"])

    def _finished(self, node: Node, worker: WorkerProcess, *, built: bool, seconds: float) -> None:
        self.waiting.pop(node.key, None)
        if built:
            self.outcome.built.append(node.key)
        self.observer.finished(node, worker.index, built=built, seconds=seconds)

    def _failed(self, node: Node, worker: WorkerProcess, kind: Any, message: str, traceback: str) -> None:
        failure = Failure(node.key, node.title, kind, message, traceback, worker.tail())
        self.waiting.pop(node.key, None)
        self.outcome.failures[node.key] = failure
        self.observer.failed(node, worker.index, failure)

    def _died(self, worker: WorkerProcess) -> None:
        status = self._remove(worker)
        if worker.node is None:
            return  # it had nothing to do; another is started when there is
        kind, message = ("killed", f"killed by {signal.Signals(-status).name}") if status < 0 else ("exit", f"status {status}")
        hint = " (out of memory?)" if status == -signal.SIGKILL else ""
        self._failed(worker.node, worker, kind, f"its worker process ended: {message}{hint}", "")

    def _remove(self, worker: WorkerProcess) -> int:
        self.selector.unregister(worker.events)
        del self.workers[worker.index]
        # A worker that closed its pipe is about to end by itself; its own status says why, ours would hide it.
        with suppress(subprocess.TimeoutExpired):
            worker.process.wait(timeout=0.0 if worker.node is None else 2.0)
        return worker.end()


def execute(
    graph: Graph, store: Store, runtime: Runtime, logs: Path, observer: Observer, program: Sequence[str] = WORKER
) -> Outcome:
    """Build every missing step of a graph that can be built; returns what was built and what failed.

    One SIGINT lets workers finish the step at hand, a second one (or SIGTERM) ends them; finished steps stay finished.
    """
    logs.mkdir(parents=True, exist_ok=True)
    return Execution(graph, store, runtime, logs, observer, program).run()
