"""What a worker keeps between steps: one base in memory, and the state of a training that was killed."""

from __future__ import annotations

import gc
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import IO, Any
from weakref import WeakSet

import pytest

from harness.garbage import collect, garbage
from harness.inventory import inventory
from harness.record import read_measured
from harness.runtime import Runtime
from harness.step import Step, Work
from harness.store import SCRATCH, Store
from harness.sweep_record import ArmRecord, RunRecord, StepRef, SweepRecord, write_sweep
from models import network, resident
from models.progress import STATE_FILE
from sweeps import steps
from sweeps.steps import body_of
from tests.golden.run import OVERRIDES
from tests.sweeps.train_process import STEPS, TRAINED, runtime_of, steps_of

REPOSITORY = Path(__file__).resolve().parents[2]


def test_arms_and_their_encoders_share_one_base(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pre-training, two LoRA arms and an evaluation of each: two loads, never two bases in memory, and the same bytes."""
    monkeypatch.setattr(steps, "_base", resident.Resident())
    loads: list[int] = []
    load, loaded = network.load_model, WeakSet[Any]()

    def bases() -> int:
        gc.collect()
        return len(loaded)

    def counted(*arguments: Any, **named: Any) -> Any:
        loads.append(bases())
        model = load(*arguments, **named)
        loaded.add(model)
        return model

    monkeypatch.setattr(resident, "load_model", counted)
    runtime = runtime_of(tmp_path)
    store, found = Store(runtime.store_path), {}
    for rank in (4, 8):
        for label, step in steps_of(runtime, *OVERRIDES, f"model.adapter.rank={rank}").items():
            if store.realize(step, body_of(step), runtime):
                found[f"{label}, rank {rank}"] = step
            assert bases() <= 1, label
    measured = {label: read_measured(store.folder(step)) for label, step in found.items()}
    digests = {label: store.record(step).digest for label, step in found.items()}
    for label in ("finetune, rank 4", "evaluate/QuickSTS, rank 4", "finetune, rank 8", "evaluate/QuickSTS, rank 8"):
        monkeypatch.setattr(steps, "_base", resident.Resident())
        shutil.rmtree(store.folder(found[label]))
        assert store.realize(found[label], body_of(found[label]), runtime)
        assert store.record(found[label]).digest == digests[label], f"{label} on a base of its own"

    assert loads[:2] == [0, 0]
    assert [measured[f"finetune, rank {rank}"]["base_loads"] for rank in (4, 8)] == [1, 0]
    assert digests["finetune, rank 4"] != digests["finetune, rank 8"]


def test_scratch_outlives_a_failure_and_goes_when_the_step_is_done_or_unwanted(runtime: Runtime) -> None:
    step, unwanted = Step("finetune", 1, {"of": "test"}), Step("finetune", 1, {"of": "nobody"})
    store, seen = Store(runtime.store_path), list[list[str]]()

    def body(_: Any, work: Work) -> None:
        seen.append(sorted(path.name for path in work.scratch.glob("*")))
        work.scratch.mkdir(exist_ok=True)
        (work.scratch / f"attempt{len(seen)}").touch()
        if len(seen) < 4:
            raise MemoryError
        (work.out / "done").touch()

    for one in (step, unwanted, step):
        with pytest.raises(MemoryError):
            store.realize(one, body, runtime)
    asked = {"finetune": StepRef(step.name, step.fingerprint)}
    write_sweep(store.root, SweepRecord("q", "0" * 8, "?", "mean", (), "tasks", None, "base", (0,), "", (),
                                        (ArmRecord("base", (), ""),), (RunRecord("base", 0, asked),)))  # fmt: skip
    found = garbage(store.root, store.root / "none")
    collect(store.root, found)
    built = store.realize(step, body, runtime)

    assert built
    assert seen == [[], [], ["attempt1"], ["attempt1", "attempt3"]], "what the attempts before had left"
    assert list(found.scratch) == [unwanted.key]
    assert inventory(store.root).scratch == {}
    assert sorted(path.name for path in store.payload(step).iterdir()) == ["done"]


class Killed:
    """A process that trains, killed with SIGKILL when it has said so much, or after so long."""

    def __init__(self, folder: Path, *words: str) -> None:
        command = [sys.executable, "-m", "tests.sweeps.train_process", str(folder), *words]
        self.process = subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.PIPE, text=True)
        self.output: IO[str] = self.process.stdout  # type: ignore[assignment]  # a pipe, as asked for

    def until(self, word: str) -> None:
        """Wait for a line that begins with a word."""
        assert any(line.startswith(word) for line in self.output), f"it ended before it said {word!r}"

    def kill(self) -> None:
        """The harshest end there is."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()


def finished(folder: Path, *words: str) -> tuple[str, dict[str, Any]]:
    """Let a process train to its end; the digest of the payload and what was measured."""
    process = Killed(folder, *words)
    assert process.process.wait() == 0
    runtime = runtime_of(folder)
    step = steps_of(runtime, *TRAINED)["finetune"]
    store = Store(runtime.store_path)
    assert not store.folder(step).with_name(step.fingerprint + SCRATCH).exists()
    return store.verified(step).digest, read_measured(store.folder(step))


def forget(folder: Path) -> None:
    """Take the trained step and the evaluation away."""
    shutil.rmtree(folder / "store" / "finetune")
    shutil.rmtree(folder / "store" / "evaluate", ignore_errors=True)


def test_a_step_killed_with_sigkill_goes_on_and_ends_bit_identical(tmp_path: Path) -> None:
    undisturbed, measured = finished(tmp_path)
    assert measured["resumed_at_step"] == 0
    forget(tmp_path)

    process = Killed(tmp_path)
    process.until("step 9")
    process.kill()
    (state,) = (tmp_path / "store").glob(f"finetune/*{SCRATCH}/{STATE_FILE}")
    assert state.is_file()
    digest, measured = finished(tmp_path)

    assert digest == undisturbed
    assert 8 <= measured["resumed_at_step"] < STEPS


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_trap_45_killed_at_twenty_uniform_points_with_an_evaluation_in_between(tmp_path: Path) -> None:
    """Uniform over the training steps and the time within one; every second resumption judges another encoder first."""
    undisturbed, measured = finished(tmp_path)
    draw, one = random.Random(0), measured["train_seconds"] / STEPS
    resumed: list[int] = []
    while len(resumed) < 20:
        forget(tmp_path)
        process = Killed(tmp_path)
        point = draw.uniform(1, STEPS)
        process.until(f"step {int(point)} ")
        time.sleep((point % 1) * one)
        process.kill()
        if list((tmp_path / "store").glob("finetune/*/record.json")):
            continue  # it was faster this time: nothing was killed
        digest, measured = finished(tmp_path, *(["evaluate"] if len(resumed) % 2 else []))
        resumed.append(measured["resumed_at_step"])
        print(f"kill {len(resumed)} at {point:.2f} of {STEPS} steps, resumed at {resumed[-1]}", flush=True)
        assert digest == undisturbed
        assert resumed[-1] >= int(point) - 1

    assert len(set(resumed)) > 5
