"""The quickstart's sweep by our engine, by Hydra's BasicLauncher and by hydra-joblib-launcher: what shared steps are worth.

    python tests/benchmarks/launchers.py          about 2 minutes, all of it asleep; fetches hydra-joblib-launcher

The graph is the shipped quickstart's as it is planned, eleven arms, one seed. Every step sleeps a twentieth of what it took on
two cores (LOG.md), so that all three do the same work and none is held up by the others' processors. The peers run one job an
arm, as their users write them: a job makes what its arm needs, because launchers know jobs and no steps. Ours and theirs in
turns, one process and two. The last line is JSON; `ours` and `peer` are seconds with two processes, `ratio` is peer / ours.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sweeps.run import Planned

REPOSITORY = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(REPOSITORY))

JOBLIB = "hydra-joblib-launcher==1.2.0"
SECONDS = {"pretrain": 2.6, "finetune": 0.67, "mined": 0.23, "synthesize": 0.1, "evaluate": 0.021, "mix": 0.005}
NAPS = "BENCHMARK_NAPS"  # JSON file: the steps of every arm
LOG = "BENCHMARK_LOG"  # a line for every step that was made


def nap(kind: str) -> None:
    """One step's work."""
    time.sleep(SECONDS[kind])
    with Path(os.environ[LOG]).open("a") as log:
        log.write(f"{kind}\n")


def worker() -> None:
    """A worker of ours whose steps sleep; it plans each job again, as every worker does."""
    from harness.runtime import Runtime
    from harness.step import Body, Step, Work
    from sweeps.worker import planned, serve

    def sleep(spec: Any, work: Work) -> None:
        del spec
        kind = work.out.parent.parent.name
        nap(kind)
        (work.out / "out").write_text(kind)

    def resolve(job: Mapping[str, Any], runtime: Runtime) -> tuple[Step, Body]:
        return planned(job, runtime)[0], sleep

    serve(resolve)


def job() -> None:
    """A Hydra application: one arm from its beginning."""
    import hydra
    from omegaconf import DictConfig

    @hydra.main(version_base="1.3", config_path=None)
    def run(config: DictConfig) -> None:
        for kind in json.loads(Path(os.environ[NAPS]).read_text())[config.arm]:
            nap(kind)

    run()


@dataclass(frozen=True)
class Took:
    """One sweep."""

    seconds: float
    steps: int


def timed(command: Sequence[str], folder: Path, **environment: str) -> Took:
    """A command in its own process, start included, and the steps it made."""
    folder.mkdir()
    log = folder / "log"
    started = time.perf_counter()
    done = subprocess.run(
        command, cwd=folder, env=os.environ | environment | {LOG: str(log)}, capture_output=True, text=True, check=False
    )
    seconds = time.perf_counter() - started
    if done.returncode:
        raise RuntimeError(done.stdout + done.stderr)
    return Took(seconds, len(log.read_text().split()))


def quickstart(root: Path) -> Planned:
    """The shipped sweep with one seed, planned into a store of its own."""
    from sweeps import run
    from sweeps.ablation import named
    from sweeps.compose import Composer
    from sweeps.spec import Composed

    conf = run._conf = REPOSITORY / "conf"
    settings = [f"runtime.store={root / 'store'}", f"runtime.ledger={root / 'ledger.sqlite'}", "runtime.tracker=disabled"]
    ablation = named(Composer(conf).compose(["sweep=quickstart"])["sweep"], settings)
    runtime = Composed.of(Composer(conf).compose(ablation.baseline)).decode_runtime()
    return run.plan_sweep("quickstart", replace(ablation, seeds=(0,)), runtime)


def ours(root: Path, workers: int) -> None:
    """The sweep as the engine runs it."""
    from sweeps.executor import execute
    from sweeps.graph import Graph
    from tests.benchmarks.engine_overhead import Clock

    asked = quickstart(root)
    runtime = replace(asked.runtime, workers=workers, device="cpu")
    program = (sys.executable, __file__, "worker")
    execute(Graph.of(asked.runs), asked.store, runtime, root / "logs", Clock(0), program=program)


def theirs(arms: int, launcher: Sequence[str]) -> list[str]:
    """The sweep as a Hydra application runs it."""
    jobs = ",".join(str(arm) for arm in range(arms))
    return [sys.executable, __file__, "job", "-m", f"+arm={jobs}", *launcher, "hydra.sweep.dir=jobs"]


def fetched(folder: Path) -> str:
    """The plug-in of the joblib launcher in a folder for PYTHONPATH; nothing is installed beside the product."""
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(folder), JOBLIB]
    subprocess.run(command, check=True)
    return str(folder)


def main() -> None:
    """Plan, run each in turn, print."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        plugin = fetched(root / "plugin")
        asked = quickstart(root / "plan")
        arms = [[step.name for step in steps.values()] for _, steps, _ in asked.runs]
        unique = len({step.key for _, steps, _ in asked.runs for step in steps.values()})
        naps = root / "naps.json"
        naps.write_text(json.dumps(arms))
        engine = [sys.executable, __file__, "ours"]
        basic, joblib = theirs(len(arms), ()), theirs(len(arms), ("hydra/launcher=joblib", "hydra.launcher.n_jobs=2"))
        two = timed([*engine, str(root / "two"), "2"], root / "in-two")
        with_joblib = timed(joblib, root / "in-joblib", PYTHONPATH=plugin, **{NAPS: str(naps)})
        one = timed([*engine, str(root / "one"), "1"], root / "in-one")
        with_basic = timed(basic, root / "in-basic", **{NAPS: str(naps)})
    assert one.steps == two.steps == unique
    assert with_basic.steps == with_joblib.steps == sum(len(steps) for steps in arms)
    print(f"{len(arms)} arms: {unique} steps of ours, {with_basic.steps} of theirs ({with_basic.steps - unique} made again)")
    alone, ratio = with_basic.seconds / one.seconds, with_joblib.seconds / two.seconds
    print(f"one process: {one.seconds:.1f} s, BasicLauncher {with_basic.seconds:.1f} s, {alone:.2f} times")
    print(f"two processes: {two.seconds:.1f} s, joblib {with_joblib.seconds:.1f} s, {ratio:.2f} times")
    figures = {"ours": round(two.seconds, 2), "peer": round(with_joblib.seconds, 2), "ratio": round(ratio, 3)}
    print(json.dumps({"name": "launchers", **figures}))


if __name__ == "__main__":
    if sys.argv[1:2] == ["worker"]:
        sys.argv.pop(1)  # the worker loop reads its descriptor as the first argument
        worker()
    elif sys.argv[1:2] == ["job"]:
        sys.argv.pop(1)  # the rest is Hydra's
        job()
    elif sys.argv[1:2] == ["ours"]:
        ours(Path(sys.argv[2]), int(sys.argv[3]))
    else:
        main()
