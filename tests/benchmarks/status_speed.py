"""How fast `python -m sweeps status` answers on a sweep of 1,000 runs of 10 steps each, against listing the same store.

    python tests/benchmarks/status_speed.py

The store is synthetic but of the real shape: 10,000 step folders with record, measurements and payload, four fifths of them
done, one being built, one failed. `ours` is the whole command in a new process, interpreter start and imports included;
`peer` is `find STORE`, counted, which reads names and says nothing about runs. The last line is JSON; `ratio` is peer / ours.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(REPOSITORY))

from harness.identity import combine_digests, fingerprint  # noqa: E402 - runs as a script from any folder
from harness.record import Record  # noqa: E402
from harness.store import locked  # noqa: E402
from harness.sweep_record import (  # noqa: E402
    ArmRecord,
    Failure,
    RunRecord,
    StepRef,
    SweepRecord,
    write_failures,
    write_sweep,
)

ARMS, SEEDS, TASKS = 200, 5, 7
TIMES = 5
TARGET = 1.0  # seconds


@dataclass(frozen=True)
class Timing:
    """The fastest of several."""

    seconds: float
    output: str


def runs() -> tuple[RunRecord, ...]:
    """Ten steps a run, none shared: the most files a thousand runs can have."""
    labels = [("synthetic", "synthesize"), ("mix", "mix"), ("finetune", "finetune")]
    labels += [(f"evaluate/Task{index}", "evaluate") for index in range(TASKS)]
    return tuple(
        RunRecord(f"arm{arm}", seed, {label: StepRef(kind, fingerprint([arm, seed, label])) for label, kind in labels})
        for arm in range(ARMS)
        for seed in range(SEEDS)
    )


def fill(root: Path) -> None:
    """Write the store; the last fifth of the runs is not done."""
    asked = runs()
    arms = tuple(ArmRecord(f"arm{arm}", (), "") for arm in range(ARMS))
    sweep = SweepRecord(
        "bench", "0123456789ab", "How fast?", "mean", (), "task_types", None, "arm0", tuple(range(SEEDS)), "", (), arms, asked
    )
    folder = write_sweep(root, sweep)
    files = {"out.txt": "0" * 64}
    for run in asked[: len(asked) * 4 // 5]:
        for ref in run.steps.values():
            step = root / ref.key
            (step / "payload").mkdir(parents=True)
            (step / "payload" / "out.txt").write_text("payload")
            record = Record(ref.step, 1, ref.fingerprint, {}, {}, files, combine_digests(files))
            (step / "record.json").write_text(json.dumps(asdict(record)))
            (step / "measured.json").write_text(json.dumps({"seconds": 2.0, "cpu_seconds": 1.0}))
    building, failed = (root / asked[-index].steps["finetune"].key for index in (1, 2))
    building.with_name(building.name + ".partial").mkdir(parents=True)
    key = failed.relative_to(root).as_posix()
    write_failures(folder, {key: Failure(key, "finetune", "error", "RuntimeError", "", "")})


def fastest(work: Callable[[], str]) -> Timing:
    """The least of a few: what the machine does besides only adds."""
    found = []
    for _ in range(TIMES):
        started = time.perf_counter()
        output = work()
        found.append(Timing(time.perf_counter() - started, output))
    return min(found, key=lambda timing: timing.seconds)


def ask(*arguments: str) -> str:
    command = [sys.executable, "-m", "sweeps", "status", *arguments, "--json"]
    return subprocess.run(command, capture_output=True, text=True, check=True, cwd=REPOSITORY).stdout


def main() -> None:
    """Fill, time, print."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        fill(root)
        last = runs()[-1].steps["finetune"]
        with locked(root, last.key):
            ours = fastest(lambda: ask("bench", "--store", folder))
            every = fastest(lambda: ask("--store", folder))
        peer = fastest(lambda: subprocess.run(["find", folder], capture_output=True, text=True, check=True).stdout)
    said = json.loads(ours.output)
    assert said["steps"] == {"done": 8000, "running": 1, "failed": 1, "blocked": TASKS, "to_do": 1991}, said["steps"]
    print(f"{len(said['runs'])} runs, {sum(said['steps'].values())} steps, {peer.output.count(chr(10))} names in the store")
    print(f"status of one sweep {ours.seconds:.3f} s, of all {every.seconds:.3f} s; find {peer.seconds:.3f} s")
    print(f"goal {TARGET:.0f} s: {'met' if ours.seconds < TARGET else 'missed'}")
    figures = {"ours": round(ours.seconds, 4), "peer": round(peer.seconds, 4), "ratio": round(peer.seconds / ours.seconds, 3)}
    print(json.dumps({"name": "status_speed", **figures}))


if __name__ == "__main__":
    main()
