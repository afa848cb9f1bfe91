"""Running a graph of steps in supervised worker processes.

The parent starts workers, hands each one step at a time, and watches: a worker that dies fails its step alone and is
replaced; what depends on a failed step is blocked by it; everything else goes on. `Observer` is what the live view and the
tests implement; `execute` is the whole interface, so that another executor (several machines) can stand in for this one.

Not here: what steps do, how they are shown, what a sweep writes when it ends.
"""

from __future__ import annotations

import selectors
import signal
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any, Protocol

from harness.runtime import Runtime
from harness.store import Store
from harness.sweep_record import Failure
from sweeps.devices import SOLE, Slot, claimed, slots, visible_gpus
from sweeps.diagnosis import Kind, of_silence, of_status
from sweeps.graph import Frontier, Graph, Node
from sweeps.process import WORKER, WorkerProcess

BUSY_PAUSE = 0.5  # seconds before a step that another process is building is looked at again
SPOILT = ("memory", "digest")
"""Failures after which a worker is not used again, as after any on a GPU: full memory, something that still writes, a spoilt
CUDA context would fail later steps too."""
REST = 60.0  # seconds without work after which a GPU is given back: about what loading a base model again takes
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

    def waiting(self, worker: int, device: str) -> None:
        """Another sweep has the GPU that a worker needs; said once until it is free."""

    def stopping(self) -> None:
        """People asked to stop: the steps at hand are finished, no new one is begun."""

    def tick(self) -> None:
        """Time passed."""


@dataclass
class Outcome:
    """How the steps of a graph ended."""

    built: list[str] = field(default_factory=list)
    failures: dict[str, Failure] = field(default_factory=dict)
    interrupted: bool = False


Keep = Callable[[dict[str, Failure]], None]


class Execution:
    """One execution of a graph."""

    def __init__(
        self, graph: Graph, store: Store, runtime: Runtime, logs: Path, observer: Observer, program: Sequence[str],
        places: Sequence[Slot], keep: Keep,
    ) -> None:  # fmt: skip
        self.graph, self.store, self.runtime, self.logs, self.observer = graph, store, runtime, logs, observer
        self.program, self.places, self.keep = program, places, keep
        self.left = Frontier(graph.missing(store))
        self.outcome = Outcome()
        self.busy: dict[str, float] = {}
        self.workers: dict[int, WorkerProcess] = {}
        self.taken: set[int] = set()  # workers whose GPU another sweep has
        self.selector = selectors.DefaultSelector()
        self.stopping = False

    def run(self) -> Outcome:
        """Run until nothing is left that can be built."""
        previous = {number: signal.signal(number, self._stop) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            while self._dispatch():
                for key, _ in self.selector.select(timeout=TICK):
                    self._listen(key.data)
                for worker in list(self.workers.values()):
                    if worker.hung():
                        self._hung(worker)
                    elif worker.gone():
                        self._died(worker)
                    elif worker.slot.device != "cpu" and worker.rested() > REST:
                        self._remove(worker, grace=0.0)  # the GPU is free for another sweep until there is work for it
                self.observer.tick()
        finally:
            for worker in list(self.workers.values()):
                self._remove(worker, grace=0.0)
            for number, handler in previous.items():
                signal.signal(number, handler)
        self.outcome.interrupted = self.stopping
        return self.outcome

    def _stop(self, number: int, _: FrameType | None) -> None:
        if self.stopping or number == signal.SIGTERM:
            self.stopping = True
            raise KeyboardInterrupt
        self.stopping = True
        self.observer.stopping()

    def _dispatch(self) -> bool:
        """Give idle workers what is ready; False when all is over."""
        if not self.stopping:
            for index in range(len(self.places)):
                self._employ(index)
        at_work = any(worker.node for worker in self.workers.values())
        return at_work or (bool(self.left.waiting) and not self.stopping)

    def _employ(self, index: int) -> None:
        """Give the worker of one place a step, if it is idle and there is one for it; start it if there is none."""
        worker = self.workers.get(index)
        if worker is not None and worker.node is not None:
            return
        node = self._choose(self.places[index], worker)
        if node is None:
            return
        if worker is None:
            worker = self._hire(index)
        if worker is not None:
            worker.give(node)
            self.observer.started(node, index)

    def _hire(self, index: int) -> WorkerProcess | None:
        """A new worker on a place; None while another sweep has its GPU."""
        slot = self.places[index]
        lock = None
        if slot.device != "cpu":
            lock = claimed(slot.device)
            if lock is None:
                if index not in self.taken:
                    self.taken.add(index)
                    self.observer.waiting(index, slot.device)
                return None
            self.taken.discard(index)
        worker = self.workers[index] = WorkerProcess(index, slot, self.runtime, self.logs, self.program, lock)
        self.selector.register(worker.events, selectors.EVENT_READ, worker)
        return worker

    def _ready(self, slot: Slot) -> Iterator[Node]:
        """What could begin on a slot now, in order."""
        now = time.monotonic()
        at_work = [worker.node for worker in self.workers.values() if worker.node]
        keys, kinds = {node.key for node in at_work}, {node.step.name for node in at_work} & SOLE
        for node in self.left.ready:
            kind = node.step.name
            if kind not in kinds and slot.takes(kind) and node.key not in keys and self.busy.get(node.key, 0.0) <= now:
                yield node

    def _choose(self, slot: Slot, worker: WorkerProcess | None) -> Node | None:
        """The ready step that fits what the worker holds; next, what no other worker holds; then by order."""
        mine = _checkpoints(worker.context) if worker else set()
        others = _checkpoints(key for other in self.workers.values() if other is not worker for key in other.context) - mine
        best, chosen = (1, True), None
        for node in self._ready(slot):
            needs = _checkpoints(source.key for source in node.step.inputs.values())
            rank = (-len(needs & mine), bool(needs & others))
            if chosen is None or rank < best:
                best, chosen = rank, node
            if best == (-len(mine), False):
                break  # nothing that comes later fits better
        return chosen

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
            if event["kind"] in SPOILT or worker.slot.device != "cpu":
                self._remove(worker, grace=0.0)
                self.store.discard(node.step)
            self._failed(node, worker, event["kind"], event["message"], event["traceback"])

    def _finished(self, node: Node, worker: WorkerProcess, *, built: bool, seconds: float) -> None:
        self.left.built(node.key)
        if built:
            self.outcome.built.append(node.key)
        self.observer.finished(node, worker.index, built=built, seconds=seconds)

    def _failed(self, node: Node, worker: WorkerProcess, kind: Kind, message: str, traceback: str) -> None:
        failure = Failure(node.key, node.title, kind, message, traceback, worker.output.tail())
        self.left.failed(node.key)
        self.outcome.failures[node.key] = failure
        self.keep(self.outcome.failures)
        self.observer.failed(node, worker.index, failure)

    def _hung(self, worker: WorkerProcess) -> None:
        worker.explain()
        self._remove(worker, grace=0.0)
        if worker.node is not None:
            self.store.discard(worker.node.step)
            self._failed(worker.node, worker, *of_silence(self.runtime), "")

    def _died(self, worker: WorkerProcess) -> None:
        status = self._remove(worker, grace=2.0)
        if worker.node is not None:  # else it had nothing to do; another is started when there is
            self.store.discard(worker.node.step)
            self._failed(worker.node, worker, *of_status(status, worker.held), "")

    def _remove(self, worker: WorkerProcess, grace: float) -> int:
        """Take a worker off its place; one that closed its pipe is given time to end by itself, its own status says why."""
        self.selector.unregister(worker.events)
        del self.workers[worker.index]
        return worker.end(grace)


def _checkpoints(keys: Iterable[str]) -> set[str]:
    return {key for key in keys if key.startswith(("finetune/", "pretrain/", "merge/"))}


def execute(
    graph: Graph, store: Store, runtime: Runtime, logs: Path, observer: Observer,
    keep: Keep = lambda _: None, program: Sequence[str] = WORKER, places: Sequence[Slot] | None = None,
) -> Outcome:  # fmt: skip
    """Build every missing step of a graph that can be built; returns what was built and what failed.

    `keep` is told all failures after each new one, so that they can be read while the sweep runs.

    One SIGINT lets workers finish the step at hand, a second one (or SIGTERM) ends them; finished steps stay finished.
    """
    logs.mkdir(parents=True, exist_ok=True)
    places = slots(runtime, visible_gpus()) if places is None else places
    return Execution(graph, store, runtime, logs, observer, program, places, keep).run()
