"""Supervision: a step that dies fails alone, what depends on it is blocked, the rest goes on, nothing is left behind."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from harness.runtime import Runtime
from harness.store import Store
from sweeps.devices import claimed, slots
from sweeps.executor import Outcome
from tests.sweeps.engine import graph_of, log_of, run
from tests.sweeps.fake_worker import Steps, make


def test_inputs_before_consumers_each_once(runtime: Runtime, tmp_path: Path) -> None:
    steps = {"a": ("write", []), "b": ("write", ["a"]), "c": ("write", ["a"]), "d": ("write", ["b", "c"])}
    outcome, failures = run(steps, runtime, tmp_path)
    done = Store(runtime.store_path).payload(make(steps)["d"]) / "out"

    assert not failures
    assert len(outcome.built) == 4
    assert sorted(log_of(runtime)) == ["a", "b", "c", "d"]
    assert done.read_text() == "abacd"
    assert run(steps, runtime, tmp_path)[0].built == []


@pytest.mark.parametrize(
    ("act", "kind", "message"),
    [
        ("raise boom", "error", "ValueError: boom"),
        ("exit 0", "exit", "left with exit code 0 without finishing"),
        ("os_exit 0", "exit", "left with exit code 0 without finishing"),
        ("kill", "killed", "killed by SIGKILL (out of memory?"),
        ("segfault", "killed", "killed by SIGSEGV"),
        ("memory gone", "memory", "MemoryError: gone"),
    ],
)
def test_trap_49_a_step_that_ends_badly_fails_alone_as_what_it_is(
    runtime: Runtime, tmp_path: Path, act: str, kind: str, message: str
) -> None:
    steps = {"bad": (act, []), "after": ("write", ["bad"]), "later": ("write", ["after"]), "other": ("sleep 0.3", [])}
    outcome, failures = run(steps, runtime, tmp_path)
    graph = graph_of(steps)
    blocked = {graph.nodes[key].step.label for key in graph.blocked_by(outcome.failures)}

    assert set(failures) == {"bad"}
    assert failures["bad"].kind == kind
    assert message in failures["bad"].message
    assert "said by bad" in failures["bad"].log_tail
    assert blocked == {"after", "later"}
    assert [graph.nodes[key].step.label for key in outcome.built] == ["other"]


def test_a_step_that_hangs_is_ended_and_a_step_that_works_silently_is_not(runtime: Runtime, tmp_path: Path) -> None:
    impatient = replace(runtime, patience=2.0)
    outcome, failures = run({"hang": ("hang", []), "after": ("write", ["hang"]), "busy": ("spin 4", [])}, impatient, tmp_path)

    assert {label: failure.kind for label, failure in failures.items()} == {"hang": "hang"}
    assert "runtime.patience" in failures["hang"].message
    assert len(outcome.built) == 1


def test_a_step_that_wants_more_memory_than_it_may_have(runtime: Runtime, tmp_path: Path) -> None:
    limited = replace(runtime, memory=1.0)
    _, failures = run({"big": ("allocate 4000", []), "small": ("allocate 10", [])}, limited, tmp_path)

    assert {label: failure.kind for label, failure in failures.items()} == {"big": "memory"}


def test_gpu_places_take_what_is_computed_and_the_cpu_place_takes_text(runtime: Runtime) -> None:
    gpu, text = slots(replace(runtime, device="auto"), ("cuda:7",))

    assert [(place.takes("finetune"), place.takes("mix")) for place in (gpu, text)] == [(True, False), (False, True)]
    assert [place.device for place in slots(replace(runtime, device="auto"), ())] == ["cpu", "cpu"]


def test_a_sweep_waits_while_another_has_the_gpu(runtime: Runtime, tmp_path: Path) -> None:
    runtime.store_path.mkdir()
    program = _GPU_SWEEP.format(root=str(Path(__file__).parents[2]), runtime=runtime, logs=str(tmp_path))
    held = claimed("cuda:7")
    assert held is not None
    other = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    time.sleep(3)
    assert not (runtime.store_path / "log").exists(), "it waits while the GPU is taken"
    held.release()
    output, _ = other.communicate(timeout=30)

    assert output.split() == ["1", "cuda:7"], "said once, however often it is tried"


_GPU_SWEEP = """
import sys
sys.path.insert(0, {root!r})
from pathlib import Path
from harness.runtime import Runtime
from sweeps.devices import Slot
from tests.sweeps.engine import *
graph = graph_of({{"a": ("sleep 0.5", [])}})
store, places = Store(Path({runtime.store!r})), [Slot("cuda:7", None)]
watcher = Watcher()
outcome = execute(graph, store, {runtime!r}, Path({logs!r}), watcher, program=FAKE, places=places)
print(len(outcome.built), *watcher.waits)
"""


def test_a_flood_of_output_is_no_event_and_no_failure(runtime: Runtime, tmp_path: Path) -> None:
    outcome, failures = run({"flood": ("flood 20", []), "after": ("write", ["flood"])}, runtime, tmp_path)

    assert not failures
    assert len(outcome.built) == 2


def test_two_workers_work_at_the_same_time(runtime: Runtime, tmp_path: Path) -> None:
    run({"warm": ("write", [])}, runtime, tmp_path)
    started = time.monotonic()
    run({name: ("sleep 1.5", []) for name in "abcd"}, runtime, tmp_path)

    assert time.monotonic() - started < 6.0, "one after the other they sleep for 6 seconds"


def test_two_sweeps_at_once_build_each_step_once(runtime: Runtime, tmp_path: Path) -> None:
    steps: Steps = {name: ("sleep 0.4", []) for name in "abc"}
    runtime.store_path.mkdir(exist_ok=True)
    outcomes: list[Outcome] = []
    program = f"""
import json, sys
sys.path.insert(0, {str(Path(__file__).parents[2])!r})
from pathlib import Path
from harness.runtime import Runtime
from tests.sweeps.engine import *
outcome, failures = run({steps!r}, {runtime!r}, Path({str(tmp_path / "sweep")!r} + sys.argv[1]))
print(json.dumps([len(outcome.built), len(failures)]))
"""
    processes = [subprocess.Popen([sys.executable, "-c", program, str(i)], stdout=subprocess.PIPE, text=True) for i in range(3)]
    results = [json.loads(process.communicate(timeout=60)[0]) for process in processes]

    assert outcomes == []
    assert sum(built for built, _ in results) == 3
    assert all(failed == 0 for _, failed in results)
    assert sorted(log_of(runtime)) == ["a", "b", "c"]


def _parent(steps: Steps, runtime: Runtime, tmp_path: Path) -> "subprocess.Popen[str]":
    runtime.store_path.mkdir(exist_ok=True)
    program = f"""
import sys
sys.path.insert(0, {str(Path(__file__).parents[2])!r})
from pathlib import Path
from harness.runtime import Runtime
from tests.sweeps.engine import *
outcome, failures = run({steps!r}, {runtime!r}, Path({str(tmp_path)!r}))
print(len(outcome.built), outcome.interrupted)
"""
    process = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 30
    while not (runtime.store_path / "log").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    return process


def _workers_of(process: "subprocess.Popen[str]") -> list[psutil.Process]:
    return [
        child for child in psutil.Process(process.pid).children(recursive=True) if "fake_worker" in " ".join(child.cmdline())
    ]


def test_one_interrupt_finishes_the_step_at_hand_and_a_rerun_continues(runtime: Runtime, tmp_path: Path) -> None:
    steps: Steps = {"a": ("sleep 1", []), "b": ("sleep 1", ["a"]), "c": ("write", ["b"])}
    process = _parent(steps, runtime, tmp_path)
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=30)

    assert output.split() == ["1", "True"]
    assert len(run(steps, runtime, tmp_path)[0].built) == 2


def test_workers_end_when_their_parent_is_killed(runtime: Runtime, tmp_path: Path) -> None:
    process = _parent({"a": ("sleep 60", []), "b": ("sleep 60", [])}, runtime, tmp_path)
    workers = _workers_of(process)
    assert workers, "premise: there are workers"
    process.kill()
    process.communicate()
    _, alive = psutil.wait_procs(workers, timeout=10)

    assert alive == []


def test_two_interrupts_end_the_workers_at_once(runtime: Runtime, tmp_path: Path) -> None:
    process = _parent({"a": ("sleep 60", [])}, runtime, tmp_path)
    workers = _workers_of(process)
    for _ in range(2):
        process.send_signal(signal.SIGINT)
        time.sleep(0.5)
    process.communicate(timeout=20)
    _, alive = psutil.wait_procs(workers, timeout=10)

    assert alive == []
    assert process.returncode != 0
    assert not list((runtime.store_path / "fake").glob("*/record.json"))


def test_a_worker_that_is_killed_from_outside_is_replaced(runtime: Runtime, tmp_path: Path) -> None:
    def kill_soon() -> None:
        for _ in range(200):
            time.sleep(0.05)
            if (runtime.store_path / "log").exists():
                break
        for child in psutil.Process(os.getpid()).children(recursive=True):
            with suppress(psutil.NoSuchProcess):  # a child of a child may end meanwhile
                if "fake_worker" in " ".join(child.cmdline()):
                    child.kill()

    runtime.store_path.mkdir(exist_ok=True)
    thread = threading.Thread(target=kill_soon)
    thread.start()
    _, failures = run({"a": ("sleep 2", []), "b": ("write", [])} | {"c": ("sleep 1", ["b"])}, runtime, tmp_path)
    thread.join()

    assert failures
    assert {failure.kind for failure in failures.values()} == {"killed"}
    assert run({"a": ("sleep 0.1", []), "b": ("write", [])}, runtime, tmp_path)[1] == {}
