"""What `status` says of a store is what lies there: real steps, real locks, a real kill."""

import json
import os
import shutil
import statistics
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from harness.runtime import Runtime
from harness.step import Step, Work
from harness.store import Store
from harness.sweep_record import ArmRecord, Failure, RunRecord, StepRef, SweepRecord, sweep_folder, write_failures, write_sweep
from sweeps.__main__ import main
from sweeps.ablation import named
from sweeps.compose import Composer
from sweeps.graph import Graph
from sweeps.plan import plan
from sweeps.spec import Composed
from sweeps.status import Status, causes, needs, status

REPOSITORY = Path(__file__).resolve().parents[2]
HEAVY = ("torch", "transformers", "peft", "mteb", "sklearn", "datasets", "wandb", "hydra", "omegaconf")
ID = "0123456789ab"


@dataclass(frozen=True)
class Text:
    text: str


def write(spec: Text, work: Work) -> None:
    (work.out / "out.txt").write_text(spec.text)


def run_steps(arm: str) -> dict[str, Step]:
    """The shape of a run: a shared pool and an arm of its own."""
    pool = Step("synthesize", 1, Text("pool"))
    mix = Step("mix", 1, Text("mix"), {"synthetic": pool})
    finetune = Step("finetune", 1, Text(arm), {"pairs": mix})
    tasks = {f"evaluate/{task}": Step("evaluate", 1, Text(task), {"finetune": finetune}) for task in ("STS", "Retrieval")}
    return {"synthetic": pool, "mix": mix, "finetune": finetune, **tasks}


ARMS = {arm: run_steps(arm) for arm in ("baseline", "lora_4")}


def sweep_of(arms: dict[str, dict[str, Step]], name: str = "question") -> SweepRecord:
    runs = tuple(
        RunRecord(arm, 0, {label: StepRef(step.name, step.fingerprint) for label, step in steps.items()})
        for arm, steps in arms.items()
    )
    records = tuple(ArmRecord(arm, (), "") for arm in arms)
    return SweepRecord(name, ID, "Which?", "mean", (), "task_types", None, "baseline", (0,), "", (), records, runs)


@pytest.fixture
def store(runtime: Runtime) -> Store:
    """A sweep of two arms, of which the baseline and all that is shared are done."""
    made = Store(runtime.store_path)
    for step in ARMS["baseline"].values():
        made.realize(step, write, runtime)
    write_sweep(made.root, sweep_of(ARMS))
    return made


def folder_of(store: Store) -> Path:
    return sweep_folder(store.root, "question", ID)


def look(store: Store) -> Status:
    return status(store.root, folder_of(store))


def by_arm(found: Status) -> dict[str, dict[str, int]]:
    return {run.arm: {state: count for state, count in run.steps.items() if count} for run in found.runs}


def failure_of(step: Step, message: str = "RuntimeError: no") -> Failure:
    return Failure(step.key, f"{step.name} (lora_4:0)", "error", message, "Traceback", "")


def call(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as left:
        main(["status", *arguments])
    printed = capsys.readouterr()
    return int(left.value.code or 0), printed.out, printed.err


@contextmanager
def building(runtime: Runtime, step: Step) -> Iterator[subprocess.Popen[bytes]]:
    """Another process inside the body of a step."""
    program = f"""
import pathlib, time
from harness.runtime import Runtime
from harness.step import Step
from harness.store import Store
from tests.sweeps.test_status import ARMS
def body(spec, work):
    print("inside", flush=True); time.sleep(60)
step = next(step for steps in ARMS.values() for step in steps.values() if step.key == {step.key!r})
Store(pathlib.Path({runtime.store!r})).realize(step, body, {runtime!r})
"""
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY)}
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, cwd=REPOSITORY, env=environment) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"inside\n"
        try:
            yield process
        finally:
            process.kill()


def test_done_and_to_do_per_arm_and_once_for_shared_steps(store: Store) -> None:
    found = look(store)

    assert by_arm(found) == {"baseline": {"done": 5}, "lora_4": {"done": 2, "to_do": 3}}
    assert {state: count for state, count in found.steps.items() if count} == {"done": 5, "to_do": 3}
    assert not found.complete


def test_a_finished_sweep_is_complete(store: Store, runtime: Runtime) -> None:
    for step in ARMS["lora_4"].values():
        store.realize(step, write, runtime)
    found = look(store)

    assert found.complete
    assert (found.work_seconds, found.eta_seconds, found.running) == (0.0, None, ())


def test_a_step_runs_while_its_lock_is_held_and_no_longer(store: Store, runtime: Runtime) -> None:
    step = ARMS["lora_4"]["finetune"]
    with building(runtime, step) as process:
        found = look(store)
        assert by_arm(found)["lora_4"] == {"done": 2, "running": 1, "to_do": 2}
        assert [(running.key, running.label, running.users) for running in found.running] == [
            (step.key, "finetune", ("lora_4:0",))
        ]
        process.kill()
        process.wait()

    assert (store.root / f"{step.key}.partial").is_dir(), "a kill leaves the folder, and the lock is what counts"
    assert by_arm(look(store))["lora_4"] == {"done": 2, "to_do": 3}


def test_failed_with_its_reason_and_what_waits_for_it(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    step = ARMS["lora_4"]["finetune"]
    write_failures(folder_of(store), {step.key: failure_of(step, "MemoryError: 7 GB")})
    found = look(store)

    assert by_arm(found) == {"baseline": {"done": 5}, "lora_4": {"done": 2, "failed": 1, "blocked": 2}}
    assert [(failed.key, failed.kind, failed.message, failed.blocks) for failed in found.failures] == [
        (step.key, "error", "MemoryError: 7 GB", 2)
    ]
    code, out, _ = call(capsys, "question", "--store", str(store.root))
    assert code == 0
    assert "MemoryError: 7 GB; 2 steps wait for it" in out
    assert "retry=failed" in out


def test_a_failure_that_was_built_since_is_no_failure(store: Store, runtime: Runtime) -> None:
    step = ARMS["lora_4"]["finetune"]
    write_failures(folder_of(store), {step.key: failure_of(step)})
    store.realize(step, write, runtime)

    assert look(store).failures == ()
    assert by_arm(look(store))["lora_4"] == {"done": 3, "to_do": 2}


def test_arms_with_equal_results_are_a_failure_though_every_step_is_done(store: Store, runtime: Runtime) -> None:
    for step in ARMS["lora_4"].values():
        store.realize(step, write, runtime)
    message = "baseline:0 and lora_4:0 have different training steps and equal weights"
    write_failures(folder_of(store), {message: Failure(message, "equal results", "duplicate", message, "", "")})
    found = look(store)

    assert [failed.kind for failed in found.failures] == ["duplicate"]
    assert not found.complete


def test_a_shared_failure_blocks_every_arm(store: Store) -> None:
    for label, step in ARMS["baseline"].items():
        if label != "synthetic":
            shutil.rmtree(store.folder(step))
    mix = ARMS["baseline"]["mix"]
    write_failures(folder_of(store), {mix.key: failure_of(mix)})
    found = look(store)

    assert by_arm(found) == {arm: {"done": 1, "failed": 1, "blocked": 3} for arm in ARMS}
    assert found.failures[0].blocks == 6


@pytest.mark.parametrize("arm", ["baseline", "no_pretraining", "natural_only", "english_only"])
def test_needs_are_those_of_the_plan(conf: Path, runtime: Runtime, arm: str) -> None:
    """A sweep's record does not say who reads whom; what `status` infers from labels is held against real plans."""
    overrides = named(Composer(conf).compose(["sweep=quickstart"])["sweep"], []).overrides()
    steps = plan(Composed.of(Composer(conf).compose(overrides[arm])).decode_run(), runtime)
    labels = {step.key: label for label, step in steps.items()}

    for label, step in steps.items():
        assert needs(label, steps) == {labels[source.key] for source in step.inputs.values()}


@pytest.mark.parametrize("failing", ["weak", "pretrain", "synthetic", "mix", "finetune", "evaluate/QuickSTS"])
def test_blocked_is_what_the_executor_calls_blocked(conf: Path, runtime: Runtime, failing: str) -> None:
    steps = plan(Composed.of(Composer(conf).compose([])).decode_run(), runtime)
    refs = {label: StepRef(step.name, step.fingerprint) for label, step in sorted(steps.items())}  # as a file has them
    run = RunRecord("baseline", 0, refs)
    failed = steps[failing].key
    expected = Graph.of([("baseline:0", steps, {})]).blocked_by([failed])

    assert {steps[label].key: cause for label, cause in causes(run, {failed: None}).items()} == expected


def test_time_left_is_the_median_of_finished_steps_of_the_same_label(store: Store) -> None:
    """Three steps to do; each is worth what its like measured in the baseline."""
    seconds = {"finetune": 120.0, "evaluate/STS": 3.0, "evaluate/Retrieval": 40.0}
    for label, value in seconds.items():
        measure(store, ARMS["baseline"][label], value)
    found = look(store)

    assert found.work_seconds == pytest.approx(sum(seconds.values()))
    assert found.eta_seconds is None, "nothing runs"


def measure(store: Store, step: Step, seconds: float) -> None:
    path = store.folder(step) / "measured.json"
    measured = json.loads(path.read_text())
    assert measured["seconds"] >= 0
    path.write_text(json.dumps(measured | {"seconds": seconds, "cpu_seconds": seconds / 2}))


def test_what_runs_shares_the_work_and_its_own_time_counts(store: Store, runtime: Runtime) -> None:
    for step in ARMS["baseline"].values():
        measure(store, step, 1000.0)
    with building(runtime, ARMS["lora_4"]["finetune"]):
        found = look(store)

    assert found.work_seconds is not None
    assert 2900 < found.work_seconds < 3000
    assert found.eta_seconds == found.work_seconds


@pytest.mark.parametrize("damage", ["{", "{}", '{"seconds": null, "cpu_seconds": 1}'])
def test_a_kind_nobody_measured_is_unknown_and_said_so(store: Store, capsys: pytest.CaptureFixture[str], damage: str) -> None:
    (store.folder(ARMS["baseline"]["finetune"]) / "measured.json").write_text(damage)
    found = look(store)

    assert (found.work_seconds, found.eta_seconds, found.unknown) == (None, None, ("finetune",))
    assert "no finetune has finished yet" in call(capsys, "question", "--store", str(store.root))[1]


def test_without_a_name_every_sweep_is_listed_also_the_unreadable(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    write_sweep(store.root, sweep_of({"baseline": ARMS["baseline"]}, "finished"))
    torn = write_sweep(store.root, sweep_of(ARMS, "torn")) / "sweep.json"
    torn.write_text(torn.read_text()[:50])
    code, out, _ = call(capsys, "--store", str(store.root))

    assert code == 0
    rows = {line.split()[0]: line.split() for line in out.splitlines()}
    assert rows[f"question@{ID}"][1:9] == ["2", "1", "8", "5", "0", "0", "0", "3"]
    assert rows[f"finished@{ID}"][1:9] == ["1", "1", "5", "5", "0", "0", "0", "0"]
    assert f"{torn}: not a sweep" in out
    listed = json.loads(call(capsys, "--json", "--store", str(store.root))[1])
    assert len(listed) == 3
    assert sum("error" in one for one in listed) == 1


def test_json_says_the_same(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    said = json.loads(call(capsys, f"question@{ID[:4]}", "--json", "--store", str(store.root))[1])
    found = look(store)

    assert said["steps"] == found.steps
    assert [run["steps"] for run in said["runs"]] == [run.steps for run in found.runs]


def test_steps_are_tabled_by_kind(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    for label, value in {"evaluate/STS": 3.0, "evaluate/Retrieval": 40.0}.items():
        measure(store, ARMS["baseline"][label], value)
    expected = [f"{value:.2f}" for value in (43.0, statistics.median([3.0, 40.0]), 40.0)]
    halves = [f"{float(value) / 2:.2f}" for value in expected]
    _, out, _ = call(capsys, "question", "--steps", "--format", "md", "--store", str(store.root))
    rows = {line.split("|")[1].strip(): [cell.strip() for cell in line.split("|")[2:-1]] for line in out.splitlines()}

    assert rows["evaluate"] == ["2", *expected, *halves]
    assert rows["finetune"][0] == "1"
    assert call(capsys, "--steps", "--store", str(store.root))[1].splitlines()[1].split()[:2] == ["evaluate", "2"]


def test_names_that_are_not_there_are_told_with_those_that_are(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    code, _, error = call(capsys, "quesiton", "--store", str(store.root))
    assert code == 4
    assert "question" in error
    assert call(capsys, "--store", str(store.root / "missing"))[0] == 4


def test_hostile_failures_move_no_cursor_and_are_no_markup(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    step = ARMS["lora_4"]["finetune"]
    write_failures(folder_of(store), {step.key: failure_of(step, "\x1b]0;owned\x07 [red]x[/] \u202e \n" + "y" * 5000)})
    _, out, _ = call(capsys, "question", "--store", str(store.root))

    assert "\\x1b]0;owned\\x07 [red]x[/] \\x202e \\x0a" in out
    assert "\x1b" not in out
    assert max(map(len, out.splitlines())) < 600


def test_it_reads_no_payload_and_imports_nothing_heavy(store: Store) -> None:
    """A module list instead of a clock: what takes seconds is importing, and hashing what is large."""
    for step in ARMS["baseline"].values():
        shutil.rmtree(store.payload(step))
    probe = (
        "import atexit, json, runpy, sys; "
        f"atexit.register(lambda: sys.stderr.write(json.dumps([n for n in {HEAVY!r} if n in sys.modules]))); "
        "sys.argv = ['sweeps', *sys.argv[1:]]; runpy.run_module('sweeps', run_name='__main__', alter_sys=True)"
    )
    for arguments in (["question"], ["question", "--json"], [], ["--steps"]):
        command = [sys.executable, "-c", probe, "status", *arguments, "--store", str(store.root)]
        done = subprocess.run(command, capture_output=True, text=True, cwd=REPOSITORY, check=False, timeout=60)
        assert (done.returncode, done.stderr) == (0, "[]")
