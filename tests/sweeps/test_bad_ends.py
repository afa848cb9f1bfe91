"""Steps that end badly in every way we know: each is reported as what it is, fails alone, and blocks what waits for it."""

import json
import os
import re
import subprocess
import sys
import threading
import time
import tracemalloc
from collections.abc import Callable
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path

import psutil
import pytest

from harness.runtime import Runtime
from harness.store import Store
from harness.sweep_record import ArmRecord, RunRecord, StepRef, SweepRecord, read_failures
from sweeps import executor, session
from sweeps.output import FILE_BYTES, TAIL_BYTES
from sweeps.run import Planned
from tests.sweeps.engine import FAKE, REPOSITORY, log_of, run
from tests.sweeps.fake_worker import Steps, make

ENDS: Steps = {
    "grows": ("grow 600", []),
    "hangs": ("hang", []),
    "floods": ("flood 100", []),
    "meddles": ("meddle", []),
    "exits": ("exit 0", []),
    "leaves": ("os_exit 0", []),
}
SOUND: Steps = {"first": ("write", []), "second": ("sleep 0.2", ["first"]), "flooded": ("write", ["floods"])}
BLOCKED: Steps = {f"after_{name}": ("write", [name]) for name in ENDS if name != "floods"}


def kill_who_holds(megabytes: int, stop: threading.Event) -> None:
    """What the kernel does when memory runs out: SIGKILL to the largest."""
    while not stop.wait(0.05):
        for child in psutil.Process(os.getpid()).children():
            try:
                if child.memory_info().rss > megabytes << 20:
                    child.kill()
            except psutil.NoSuchProcess:
                continue


def planned(runtime: Runtime, steps: Steps) -> Planned:
    made = make(steps)
    refs = {label: StepRef(step.name, step.fingerprint) for label, step in made.items()}
    record = SweepRecord(
        "ends", "0123456789ab", "Which?", "mean", (), "task_types", None, "baseline", (0,), "", (),
        (ArmRecord("baseline", (), ""),), (RunRecord("baseline", 0, refs),),
    )  # fmt: skip
    config = {"steps": [[name, act, inputs] for name, (act, inputs) in steps.items()]}
    return Planned(record, (("baseline:0", made, config),), runtime, Store(runtime.store_path))


def test_a_sweep_reports_each_bad_end_as_what_it_is_and_finishes_the_rest(
    runtime: Runtime, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A worker that allocates until killed, hangs, floods, changes its payload, leaves: the sitting of a real sweep."""
    steps = {**ENDS, **SOUND, **BLOCKED}
    asked = planned(replace(runtime, patience=2.5), steps)
    runtime.store_path.mkdir()
    stop = threading.Event()
    killer = threading.Thread(target=kill_who_holds, args=(400, stop))
    monkeypatch.setattr(session, "execute", partial(executor.execute, program=FAKE))
    killer.start()
    try:
        code = session.build(asked, retry=None, started=time.monotonic())
    finally:
        stop.set()
        killer.join()
    said = re.sub(r"\s+", " ", capsys.readouterr().out)
    folder = runtime.store_path / "sweeps" / "ends" / asked.record.id
    failures = {failure.label.split()[0]: failure for failure in read_failures(folder).values()}
    labels = {step.label: step for step in make(steps).values()}

    assert code == 1
    assert {label: failure.kind for label, failure in failures.items()} == {
        "grows": "killed", "hangs": "hang", "meddles": "digest", "exits": "exit", "leaves": "exit",
    }  # fmt: skip
    assert "killed by SIGKILL (out of memory? it held 0." in failures["grows"].message
    assert "no sign of life for 2.5 s (runtime.patience)" in failures["hangs"].message
    assert "late changed after its body returned" in failures["meddles"].message
    assert "left with exit code 0 without finishing" in failures["exits"].message
    assert "left with exit code 0 without finishing" in failures["leaves"].message
    for label, failure in failures.items():
        assert f"{failure.kind} {label} (baseline:0): {failure.message}; 1 steps wait for it" in said
    assert {label for label, step in labels.items() if asked.store.done(step)} == {"floods", *SOUND}
    assert sorted(log_of(runtime)) == sorted({*ENDS, *SOUND}), "each was begun once, what is blocked never"
    assert not list(runtime.store_path.glob("fake/*.partial"))
    assert f"{len(SOUND) + 1} built" in said


def test_a_flood_neither_blocks_the_worker_nor_fills_disk_or_memory(runtime: Runtime, tmp_path: Path) -> None:
    tracemalloc.start()
    started = time.monotonic()
    _, failures = run({"flood": ("flood 100", []), "after": ("exit 3", ["flood"])}, replace(runtime, workers=1), tmp_path)
    _, drowned = run({"drowned": ("flood_and_raise 100", [])}, replace(runtime, workers=1), tmp_path)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    logs = sorted((tmp_path / "logs").glob("worker-*"))

    assert set(failures) == {"after"}
    assert "x" not in failures["after"].log_tail, "the flood of one step is not the tail of another"
    assert drowned["drowned"].message == "ValueError: after the flood"
    assert drowned["drowned"].log_tail.endswith("the end of the flood\n"), "the last lines are kept"
    assert len(drowned["drowned"].log_tail) <= TAIL_BYTES
    assert [log.name for log in logs] == ["worker-0.log", "worker-0.log.1"]
    assert all(log.stat().st_size <= FILE_BYTES for log in logs)
    assert peak < 8 << 20, "bytes of the parent"
    assert time.monotonic() - started < 60


@pytest.mark.parametrize("act", ["numpy 4000", "torch 4000", "mmap 4000", "hoard 4000"])
def test_memory_that_runs_out_is_told_as_that_with_its_remedy_and_the_next_step_is_built(
    runtime: Runtime, tmp_path: Path, act: str
) -> None:
    limited = replace(runtime, memory=3.0, workers=1)
    outcome, failures = run({"big": (act, []), "after": ("write", ["big"]), "small": ("write", [])}, limited, tmp_path)

    assert {label: failure.kind for label, failure in failures.items()} == {"big": "memory"}
    assert "a worker may use 3 GiB: raise runtime.memory" in failures["big"].message
    assert ", in act\n" in failures["big"].traceback
    assert len(outcome.built) == 1, "by another worker: this one was never given the next step"


@pytest.mark.parametrize(("act", "told"), [("hang", "in act"), ("hang_in_c", "in _hang_in_c")])
def test_a_hang_is_ended_after_the_patience_asked_for_and_says_where_it_hung(
    runtime: Runtime, tmp_path: Path, act: str, told: str
) -> None:
    started = time.monotonic()
    _, failures = run({"hangs": (act, [])}, replace(runtime, patience=1.5), tmp_path)

    assert failures["hangs"].kind == "hang"
    assert "no sign of life for 1.5 s" in failures["hangs"].message
    assert told in failures["hangs"].log_tail
    assert 1.5 < time.monotonic() - started < 10


def test_a_step_whose_child_works_does_not_hang(runtime: Runtime, tmp_path: Path) -> None:
    outcome, failures = run({"waits": ("wait_for_child 4", [])}, replace(runtime, patience=1.5), tmp_path)

    assert failures == {}
    assert len(outcome.built) == 1


def test_a_worker_whose_child_outlives_it_is_seen_to_have_left(runtime: Runtime, tmp_path: Path) -> None:
    """The child holds the pipe of events open: its end alone would never be seen."""
    _, failures = run({"leaves": ("leave_a_child", []), "other": ("sleep 0.5", [])}, runtime, tmp_path)

    assert {label: (failure.kind, failure.message) for label, failure in failures.items()} == {
        "leaves": ("exit", "its worker process left with exit code 5 without finishing")
    }
    assert not [child for child in psutil.Process().children(recursive=True) if "fake_worker" in " ".join(child.cmdline())]


def damage_bytes(store: Store, label: str, steps: Steps) -> None:
    (store.payload(make(steps)[label]) / "out").write_text("other bytes")


def damage_record(store: Store, label: str, steps: Steps) -> None:
    path = store.folder(make(steps)[label]) / "record.json"
    record = json.loads(path.read_text())
    record["files"]["out"] = "0" * 64
    path.write_text(json.dumps(record))


@pytest.mark.parametrize("damage", [damage_bytes, damage_record])
def test_a_payload_that_fails_its_digest_fails_who_reads_it_and_nobody_else(
    runtime: Runtime, tmp_path: Path, damage: Callable[[Store, str, Steps], None]
) -> None:
    store = Store(runtime.store_path)
    sources: Steps = {"bad": ("write", []), "good": ("write", [])}
    run(sources, runtime, tmp_path)
    damage(store, "bad", sources)
    steps = {**sources, "reads": ("write", ["bad"]), "after": ("write", ["reads"]), "other": ("write", ["good"])}
    outcome, failures = run(steps, runtime, tmp_path)

    assert {label: failure.kind for label, failure in failures.items()} == {"reads": "digest"}
    assert str(store.folder(make(steps)["bad"])) in failures["reads"].message
    assert "move" in failures["reads"].message
    assert outcome.built == [make(steps)["other"].key]


def test_a_payload_changed_after_it_was_finished_fails_who_reads_it(runtime: Runtime, tmp_path: Path) -> None:
    steps = {"source": ("damage_later", []), "pause": ("sleep 0.5", []), "reads": ("write", ["source", "pause"])}
    outcome, failures = run(steps, replace(runtime, workers=1), tmp_path)

    assert len(outcome.built) == 2, "premise: it was finished, its digest was right"
    assert {label: failure.kind for label, failure in failures.items()} == {"reads": "digest"}
    assert "its bytes are not those of the record" in failures["reads"].message


def test_an_error_that_carries_a_document_is_cut_in_the_middle(runtime: Runtime, tmp_path: Path) -> None:
    _, failures = run({"verbose": ("raise " + "a" * 300_000 + "z", [])}, runtime, tmp_path)

    assert len(failures["verbose"].message) < 20_000
    assert failures["verbose"].message.startswith("ValueError: aaa")
    assert failures["verbose"].message.endswith("az")
    assert len(failures["verbose"].traceback) < 20_000


def test_workers_left_alone_by_a_killed_parent_end_even_where_no_python_runs(runtime: Runtime, tmp_path: Path) -> None:
    runtime.store_path.mkdir()
    program = f"""
import sys
sys.path.insert(0, {str(REPOSITORY)!r})
from pathlib import Path
from harness.runtime import Runtime
from tests.sweeps.engine import *
run({{"hangs": ("hang_in_c", [])}}, {runtime!r}, Path({str(tmp_path)!r}))
"""
    with subprocess.Popen([sys.executable, "-c", program]) as parent:
        deadline = time.monotonic() + 30
        while not (runtime.store_path / "log").exists() and time.monotonic() < deadline:
            time.sleep(0.05)
        workers = psutil.Process(parent.pid).children()
        assert workers, "premise: there is one"
        time.sleep(0.2)
        parent.kill()
    _, alive = psutil.wait_procs(workers, timeout=5)

    assert alive == []


def test_a_worker_whose_parent_died_while_it_started_builds_nothing(runtime: Runtime) -> None:
    runtime.store_path.mkdir()
    parent = subprocess.Popen([sys.executable, "-c", ""])
    parent.wait()
    job = {
        "key": make({"a": ("sleep 5", [])})["a"].key,
        "config": {"steps": [["a", "sleep 5", []]]},
        "runtime": asdict(runtime),
    }
    reader, writer = os.pipe()
    worker = subprocess.Popen([*FAKE, str(writer), str(parent.pid)], stdin=subprocess.PIPE, pass_fds=(writer,))
    worker.communicate(json.dumps(job).encode() + b"\n", timeout=30)
    os.close(reader)
    os.close(writer)

    assert worker.returncode == 1
    assert not list(runtime.store_path.glob("fake/*/record.json"))
