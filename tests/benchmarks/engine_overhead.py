"""What the engine adds to the work of its steps: supervision, identity, digests, records on disk, the processes themselves.

    python tests/benchmarks/engine_overhead.py          about 50 seconds, most of them asleep

Real sweeps of real workers over steps that sleep, so that their work is known and needs no processor.
1. Overhead a step: 200 steps of nothing on one warm worker, three times; the same at the head of a graph of 10,000 steps,
   because choosing among many may not cost more. Peer, in turns with ours: joblib's `Memory`, which hashes arguments and keeps
   results on disk, on as many calls in one process: without a second process, a flush to disk, or anybody who watches.
2. The wall time of a sweep of ten arms on one worker, its start included, against the sum of its unique steps.
3. The same sweep on two workers against one.
The last line is JSON; `ratio` is peer / ours of the first.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(REPOSITORY))

from harness.runtime import Runtime  # noqa: E402 - runs as a script from any folder
from harness.step import Body, Step, Work  # noqa: E402
from harness.store import Store  # noqa: E402
from harness.sweep_record import Failure  # noqa: E402
from sweeps.executor import execute  # noqa: E402
from sweeps.graph import Graph, Node  # noqa: E402
from sweeps.worker import serve  # noqa: E402

STEPS, TIMES = 200, 3
ARMS, TASKS, SECONDS = 10, 8, 0.25
GOAL_STEP, GOAL_SUM, GOAL_TWO = 0.020, 1.05, 1.8


@dataclass(frozen=True)
class Nap:
    """One step: who, and for how long it sleeps."""

    name: str
    seconds: float


def sleep(spec: Nap, work: Work) -> None:
    """Work that needs no processor; four kilobytes of payload."""
    time.sleep(spec.seconds)
    (work.out / "out").write_bytes(spec.name.encode() * (4096 // len(spec.name)))


def chain(arm: str, evaluations: int, seconds: float) -> dict[str, Step]:
    """An arm of the usual shape: a pool that all arms share, a training, tasks."""
    pool = Step("mix", 1, Nap("pool", seconds))
    trained = Step("finetune", 1, Nap(f"{arm} trained", seconds), {"pairs": pool})
    tasks = {
        f"evaluate/{index}": Step("evaluate", 1, Nap(f"{arm} task {index}", seconds), {"finetune": trained})
        for index in range(evaluations)
    }
    return {"mix": pool, "finetune": trained, **tasks}


def graph_of(arms: int, evaluations: int, seconds: float) -> Graph:
    """One run per arm."""
    configs = [{"arm": f"arm{index}", "evaluations": evaluations, "seconds": seconds} for index in range(arms)]
    return Graph.of((f"{config['arm']}:0", chain(**config), config) for config in configs)  # type: ignore[arg-type]


_arms: dict[str, dict[str, Step]] = {}


def resolve(job: Mapping[str, Any], runtime: Runtime) -> tuple[Step, Body]:
    """The step of a job."""
    del runtime
    config = job["config"]
    if config["arm"] not in _arms:
        _arms[config["arm"]] = chain(**config)
    return next(step for step in _arms[config["arm"]].values() if step.key == job["key"]), sleep


class Clock:
    """An observer that notes when the first step ended, before which workers started, and asks to stop after so many."""

    def __init__(self, enough: int) -> None:
        self.enough, self.count, self.first = enough, 0, 0.0

    def started(self, node: Node, worker: int) -> None:
        """Nothing to note."""

    def progressed(self, worker: int, done: int, total: int, note: str) -> None:
        """Nothing to note."""

    def finished(self, node: Node, worker: int, *, built: bool, seconds: float) -> None:
        """The worker of the first is warm from here on."""
        self.first = self.first or time.perf_counter()
        self.count += 1
        if self.count == self.enough:
            os.kill(os.getpid(), signal.SIGINT)

    def failed(self, node: Node, worker: int, failure: Failure) -> None:
        """A benchmark has no failures."""
        raise RuntimeError(f"{failure.message}\n{failure.traceback}{failure.log_tail}")

    def waiting(self, worker: int, device: str) -> None:
        """Nothing to note."""

    def stopping(self) -> None:
        """Nothing to note."""

    def tick(self) -> None:
        """Nothing to note."""


@dataclass(frozen=True)
class Sweep:
    """How a sweep went."""

    wall: float
    """Seconds, start of the workers included."""
    overhead: float
    """Seconds a step beyond its sleep, once a worker is warm."""


def sweep(root: Path, graph: Graph, workers: int, enough: int = 0) -> Sweep:
    """Build a graph from nothing, or until enough of its steps are there."""
    root.mkdir()
    runtime = Runtime(
        store=str(root), ledger=str(root / "ledger.sqlite"), device="cpu", workers=workers, threads=1, patience=60.0,
        memory=None, data=None, models=None, sources=None, tracker="disabled", project="benchmark",
    )  # fmt: skip
    clock = Clock(enough)
    started = time.perf_counter()
    execute(graph, Store(root), runtime, root / "logs", clock, program=(sys.executable, __file__, "worker"))
    ended = time.perf_counter()
    slept = sum(node.step.spec.seconds for node in graph.nodes.values()) / len(graph.nodes)
    return Sweep(ended - started, (ended - clock.first) / (clock.count - 1) - slept)


def remembered(folder: Path) -> float:
    """Seconds a call of joblib's Memory adds to nothing."""
    from joblib import Memory  # type: ignore[import-untyped]

    def work(name: str, source: str) -> bytes:
        del source
        return name.encode() * (4096 // len(name))

    call = Memory(folder, verbose=0).cache(work)
    started = time.perf_counter()
    for index in range(STEPS):
        call(f"task {index}", "trained")
    return (time.perf_counter() - started) / STEPS


def main() -> None:
    """Measure, print."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        ours, many, peer = [], [], []
        for turn in range(TIMES):
            ours.append(sweep(root / f"small{turn}", graph_of(1, STEPS, 0.0), 1).overhead)
            many.append(sweep(root / f"large{turn}", graph_of(200, 49, 0.0), 1, enough=STEPS).overhead)
            peer.append(remembered(root / f"joblib{turn}"))
        arms = graph_of(ARMS, TASKS, SECONDS)
        total = len(arms.nodes) * SECONDS
        one, two = sweep(root / "one", arms, 1), sweep(root / "two", arms, 2)
    print(f"overhead a step: {told(ours)} ms; of 10,000: {told(many)} ms; a remembered call of joblib: {told(peer)} ms")
    print(f"goal {GOAL_STEP * 1000:.0f} ms: {met(max(min(ours), min(many)) <= GOAL_STEP)}")
    print(
        f"{ARMS} arms, {len(arms.nodes)} unique steps, {total:.2f} s of work: one worker {one.wall:.2f} s, two {two.wall:.2f} s"
    )
    share, gain = one.wall / total, one.wall / two.wall
    print(f"goal {GOAL_SUM}: {share:.3f}, {met(share <= GOAL_SUM)}; goal {GOAL_TWO}: {gain:.2f}, {met(gain >= GOAL_TWO)}")
    figures = {"ours": round(min(ours), 5), "peer": round(min(peer), 5), "ratio": round(min(peer) / min(ours), 3)}
    print(json.dumps({"name": "engine_overhead", **figures}))


def told(seconds: list[float]) -> str:
    """The least and the most, in milliseconds."""
    return f"{1000 * min(seconds):.1f} to {1000 * max(seconds):.1f}"


def met(reached: bool) -> str:  # noqa: FBT001 - one word for one fact
    """As people say it."""
    return "met" if reached else "missed"


if __name__ == "__main__":
    if sys.argv[1:2] == ["worker"]:
        sys.argv.pop(1)  # the worker loop reads its descriptor as the first argument
        serve(resolve)
    else:
        main()
