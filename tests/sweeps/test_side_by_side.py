"""Sweeps started at the same moment, as processes of their own: on one store, and on one GPU."""

import json
import os
import shutil
import stat
import subprocess
import sys
import time
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from harness.record import read_measured
from harness.runtime import Runtime
from harness.step import Step
from harness.store import Store
from harness.sweep_record import write_sweep
from harness.upkeep import verify
from sweeps import devices
from tests.harness.test_store_commands import sweep_of
from tests.sweeps.engine import REPOSITORY, attempts, run
from tests.sweeps.fake_worker import Steps, make

SWEEP = """
import json, sys
from pathlib import Path
from harness.runtime import Runtime
from sweeps import executor
from tests.sweeps.engine import run
executor.REST = {rest}
steps, logs = json.loads(sys.argv[1]), Path(sys.argv[2])
print("ready", flush=True)
sys.stdin.readline()
outcome, failures = run(steps, {runtime!r}, logs)
print(json.dumps([outcome.built, sorted(failures)]))
"""


class Sweep:
    """A sweep in its own process that begins when it is told to."""

    def __init__(self, steps: Steps, runtime: Runtime, logs: Path, rest: float = 60.0, **environment: str) -> None:
        command = [sys.executable, "-c", SWEEP.format(runtime=runtime, rest=rest), json.dumps(steps), str(logs)]
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=REPOSITORY, env=os.environ | environment
        )
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == "ready\n"

    def begin(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()

    def end(self) -> list[str]:
        """The keys it built; it must not have failed."""
        output, _ = self.process.communicate(timeout=120)
        built, failures = json.loads(output)
        assert (self.process.returncode, failures) == (0, [])
        return list(built)


@dataclass(frozen=True)
class Span:
    """When a step's body ran."""

    begin: float
    end: float


def span(store: Store, step: Step) -> Span:
    measured = read_measured(store.folder(step))
    return Span(measured["started"], measured["started"] + measured["seconds"])


def test_four_sweeps_started_at_the_same_moment_build_each_shared_step_once(runtime: Runtime, tmp_path: Path) -> None:
    runtime.store_path.mkdir()
    shared: Steps = {
        "pool": ("sleep 0.3", []),
        **{f"train{i}": ("sleep 0.2", ["pool"]) for i in range(6)},
        **{f"judge{i}": ("sleep 0.1", [f"train{i}"]) for i in range(6)},
    }
    own: list[Steps] = [{**shared, f"own{i}": ("sleep 0.1", [f"train{i}"])} for i in range(4)]
    sweeps = [Sweep(steps, runtime, tmp_path / f"logs{i}") for i, steps in enumerate(own)]
    for sweep in sweeps:
        sweep.begin()
    built = [sweep.end() for sweep in sweeps]
    store = Store(runtime.store_path)
    steps = {name: step for asked in own for name, step in make(asked).items()}
    begun = attempts(runtime.store_path)
    spans = {name: span(store, step) for name, step in steps.items()}
    who = {name: sweep for name, sweep, _ in begun}

    assert Counter(name for name, _, _ in begun) == dict.fromkeys(steps, 1)
    assert sorted(key for keys in built for key in keys) == sorted(step.key for step in steps.values())
    assert verify(store.root) == (len(steps), [])
    assert len({who[name] for name in shared}) >= 3, "premise: the shared steps fell to several sweeps"
    meetings = {
        frozenset((who[a], who[b]))
        for a in spans
        for b in spans
        if who[a] != who[b] and spans[a].begin < spans[b].end and spans[b].begin < spans[a].end
    }
    assert len(meetings) >= 3, "premise: they were at work at the same time"


COLLECT = """
import sys
from pathlib import Path
from harness.garbage import collect, garbage
from harness.upkeep import UpkeepError
root, stop, removed = Path(sys.argv[1]), Path(sys.argv[2]), 0
while not stop.exists():
    try:
        found = garbage(root, Path("none"))
        removed += len(found.steps) - len(set(collect(root, found)) & set(found.steps))
    except UpkeepError:
        continue  # the sweep it was reading was dropped that moment
print(removed)
"""


def test_collections_without_pause_lose_nothing_of_the_sweeps_that_start_meanwhile(runtime: Runtime, tmp_path: Path) -> None:
    """Each sweep asks for steps of the one before, which asks no more: they are garbage at the moment it starts."""
    runtime.store_path.mkdir()
    store, stop = Store(runtime.store_path), tmp_path / "stop"
    command = [sys.executable, "-c", COLLECT, str(store.root), str(stop)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=REPOSITORY) as collecting:
        folder: Path | None = None
        for number in range(8):
            steps: Steps = {"pool": ("write", []), f"arm{number}": ("write", ["pool"]), f"arm{number + 1}": ("write", ["pool"])}
            made = make(steps)
            asked = sweep_of(f"sweep{number}", {"baseline": list(made.values())})
            if folder is not None:
                shutil.rmtree(folder)
            folder = write_sweep(store.root, asked)
            assert run(steps, runtime, tmp_path / "logs")[1] == {}
            assert [store.verified(step).step for step in made.values()] == ["fake"] * 3
        stop.touch()
        removed, _ = collecting.communicate(timeout=60)

    assert collecting.returncode == 0
    assert int(removed) >= 7, "premise: it collected while they ran"


def test_two_sweeps_on_one_gpu_take_turns_whatever_they_call_it(runtime: Runtime, tmp_path: Path) -> None:
    """One sees only the machine's second GPU, as its `cuda:0`; the other counts all, and may use the second."""
    (tmp_path / "tmp").mkdir()
    steps: Steps = {
        "mix/pairs": ("sleep 0.3", []),
        **{f"finetune/{name}": ("sleep 0.4", ["mix/pairs"]) for name in "abc"},
        "evaluate/a": ("sleep 0.2", ["finetune/a"]),
    }
    told = [("cuda:0", "1"), ("cuda:1", "0,1")]
    stores = [tmp_path / "first", tmp_path / "second"]
    sweeps = [
        Sweep(steps, replace(runtime, store=str(store), device=device), tmp_path / f"logs{store.name}",
              TMPDIR=str(tmp_path / "tmp"), CUDA_VISIBLE_DEVICES=visible)
        for store, (device, visible) in zip(stores, told, strict=True)
    ]  # fmt: skip
    for sweep in sweeps:
        sweep.begin()
    built = [sweep.end() for sweep in sweeps]
    computed = [
        [span(Store(store), step) for name, step in make(steps).items() if not name.startswith("mix")] for store in stores
    ]
    text = [span(Store(store), make(steps)["mix/pairs"]) for store in stores]
    turns = sorted((min(s.begin for s in spans), max(s.end for s in spans)) for spans in computed)

    assert [len(keys) for keys in built] == [5, 5]
    assert turns[0][1] <= turns[1][0], "the second begins when the first has left the GPU"
    assert text[0].begin < text[1].end, "premise: they were at work at the same time ..."
    assert text[1].begin < text[0].end, "... and what needs no GPU did not wait"
    seen = {gpu for store in stores for name, _, gpu in attempts(store) if not name.startswith("mix")}
    assert seen == {"1"}, "each of their workers saw that one GPU"


def test_a_gpu_without_work_is_lent_to_who_waits(runtime: Runtime, tmp_path: Path) -> None:
    (tmp_path / "tmp").mkdir()
    steps: Steps = {
        "pretrain/a": ("write", []),
        "synthesize/long": ("sleep 6", ["pretrain/a"]),
        "finetune/b": ("write", ["synthesize/long"]),
    }
    waits: Steps = {"evaluate/c": ("sleep 0.2", [])}
    stores = [tmp_path / "first", tmp_path / "second"]
    first, second = (
        Sweep(asked, replace(runtime, store=str(store), device="auto"), tmp_path / f"logs{store.name}", rest=0.5,
              TMPDIR=str(tmp_path / "tmp"), CUDA_VISIBLE_DEVICES="5")
        for store, asked in zip(stores, (steps, waits), strict=True)
    )  # fmt: skip
    first.begin()
    while not (stores[0] / "log").exists() or len(attempts(stores[0])) < 2:
        time.sleep(0.05)
    second.begin()
    built = [len(sweep.end()) for sweep in (first, second)]
    made = make(steps)
    long, last = (span(Store(stores[0]), made[name]) for name in ("synthesize/long", "finetune/b"))
    lent = span(Store(stores[1]), make(waits)["evaluate/c"])

    assert built == [3, 1]
    assert long.begin < lent.begin < lent.end < long.end, "while the first has only text to make"
    assert last.begin >= long.end


def test_a_gpu_is_known_by_what_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "_identities", lambda: ("GPU-aa11", "GPU-bb22", "GPU-cc33"))
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert devices.visible_gpus() == ("cuda:0", "cuda:1", "cuda:2")
    assert devices.identity("cuda:1") == "GPU-bb22"

    for visible, count, first in (
        ("1", 1, "GPU-bb22"),
        ("2,0", 2, "GPU-cc33"),
        ("GPU-b", 1, "GPU-bb22"),
        ("MIG-x", 1, "MIG-x"),
    ):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
        assert len(devices.visible_gpus()) == count
        assert devices.identity("cuda:0") == first
    for nothing in ("", "-1", "-1,0"):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", nothing)
        assert devices.visible_gpus() == ()


def test_another_account_may_wait_for_a_gpu_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    before = os.umask(0o077)
    try:
        lock = devices.claimed("cuda:0")
    finally:
        os.umask(before)
    assert lock is not None
    path = Path(lock.lock_file)

    assert stat.S_IMODE(path.stat().st_mode) == 0o666
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o777
    assert devices.claimed("cuda:0") is None
    lock.release()
