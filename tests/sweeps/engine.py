"""Graphs of fake steps, executed by real workers: what tests of supervision share."""

import sys
from pathlib import Path

from harness.runtime import Runtime
from harness.store import Store
from harness.sweep_record import Failure
from sweeps.executor import Outcome, execute
from sweeps.graph import Graph, Node
from tests.sweeps.fake_worker import Steps, make

REPOSITORY = Path(__file__).resolve().parents[2]
FAKE = (sys.executable, str(Path(__file__).with_name("fake_worker.py")))


class Watcher:
    """An observer that remembers."""

    def __init__(self) -> None:
        self.done: list[str] = []
        self.waits: list[str] = []

    def started(self, node: Node, worker: int) -> None: ...

    def progressed(self, worker: int, done: int, total: int, note: str) -> None: ...

    def finished(self, node: Node, worker: int, *, built: bool, seconds: float) -> None:
        self.done.append(node.step.label)

    def failed(self, node: Node, worker: int, failure: Failure) -> None: ...

    def waiting(self, worker: int, device: str) -> None:
        self.waits.append(device)

    def stopping(self) -> None: ...

    def tick(self) -> None: ...


def graph_of(steps: Steps) -> Graph:
    config = {"steps": [[name, act, inputs] for name, (act, inputs) in steps.items()]}
    return Graph.of([("arm:0", make(steps), config)])


def run(steps: Steps, runtime: Runtime, tmp_path: Path) -> tuple[Outcome, dict[str, Failure]]:
    runtime.store_path.mkdir(exist_ok=True)
    graph = graph_of(steps)
    outcome = execute(graph, Store(runtime.store_path), runtime, tmp_path / "logs", Watcher(), program=FAKE)
    return outcome, {graph.nodes[key].step.label: failure for key, failure in outcome.failures.items()}


def attempts(store: Path) -> list[tuple[str, str, str]]:
    """Every time a body was begun: the step's name, the sweep's process, the GPU its worker saw."""
    lines = (line.split() for line in (store / "log").read_text().splitlines())
    return [(name, sweep, gpu) for name, sweep, gpu in lines]


def log_of(runtime: Runtime) -> list[str]:
    return [name for name, _, _ in attempts(runtime.store_path)]
