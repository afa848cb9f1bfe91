"""W&B as a projection: whole runs only, each once, offline without a server, and a dead server costs a bounded wait."""

import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from harness.identity import combine_digests
from harness.record import write_json
from harness.scores import SubsetScore, TaskScores, write_scores
from harness.sweep_record import ArmRecord, RunRecord, StepRef, SweepRecord, write_sweep
from harness.tracker import complete, configuration, curves, project, projections, summary
from harness.tracker_server import PROBE_SECONDS, unequal
from tests.harness.wandb_server import fake_server

CANARY = "canary-key-7f3a"


def step(store: Path, name: str, fingerprint: str) -> StepRef:
    folder = store / name / fingerprint
    (folder / "payload").mkdir(parents=True)
    write_json(folder / "record.json", {
        "step": name, "version": 1, "fingerprint": fingerprint, "spec": {"rank": 4}, "inputs": {}, "files": {},
        "digest": combine_digests({}),
    })  # fmt: skip
    return StepRef(name, fingerprint)


@pytest.fixture
def sweep(tmp_path: Path) -> tuple[SweepRecord, Path, Path]:
    store = tmp_path / "store"
    tuned = step(store, "finetune", "f1")
    rows = [{"step": i + 1, "loss": 1.0 / (i + 1)} for i in range(3)]
    (store / "finetune/f1/payload/metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    refs = {}
    for i, task in enumerate(("A", "B")):
        refs[f"evaluate/{task}"] = step(store, "evaluate", f"e{i}")
        subset = SubsetScore("test", "default", ("eng-Latn",), 0.25 * (i + 1), {}, 5)
        write_scores(store / f"evaluate/e{i}/payload/scores.json", TaskScores(task, "STS", "main", "1", "r", (subset,)))
    whole = RunRecord("baseline", 0, {"finetune": tuned, **refs})
    part = RunRecord("baseline", 1, {"finetune": tuned, **refs, "evaluate/C": StepRef("evaluate", "missing")})
    record = SweepRecord(
        "s", "id", "?", "mean", (), "task_types", None, "baseline", (0, 1), "", (), (ArmRecord("baseline", ("seed=0",), ""),),
        (whole, part),
    )  # fmt: skip
    return record, write_sweep(store, record), store


def test_what_a_run_is_told_about_itself(sweep: tuple[SweepRecord, Path, Path]) -> None:
    record, _, store = sweep
    whole, part = record.runs

    assert [complete(run, store) for run in record.runs] == [True, False]
    assert summary(whole, store) == {"scores/A": 25.0, "scores/B": 50.0, "scores/mean": 37.5}
    assert "scores/mean" not in summary(part, store), "no mean over missing tasks"
    assert dict(curves(whole, store))["finetune"][2] == {"step": 3, "loss": pytest.approx(1 / 3)}
    assert configuration(whole, record, store)["specs"] == {"finetune": {"rank": 4}}


def _history(folder: Path) -> str:
    (run,) = (folder / "wandb").glob("offline-run-*/run-*.wandb")
    done = subprocess.run(
        [str(Path(sys.executable).with_name("wandb")), "leet", "inspect", "--json", str(run)],
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_offline_projection_holds_curve_scores_and_no_secret(
    sweep: tuple[SweepRecord, Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_API_KEY", CANARY)
    monkeypatch.setenv("OPENAI_API_KEY", CANARY)
    _, folder, store = sweep

    assert project(folder, store, "offline", "test") == 1
    (made,) = projections(folder).values()
    assert (made.path, made.checked, bool(made.run)) == ("", False, True)
    assert project(folder, store, "offline", "test") == 0, "a second projection has nothing to do"
    history = _history(folder)
    assert "finetune/loss" in history
    assert "scores/mean" in history
    for path in folder.rglob("*"):
        if path.is_file():
            assert CANARY.encode() not in path.read_bytes(), path


def tracker(address: str, *arguments: str, code: str = "") -> tuple[subprocess.CompletedProcess[str], float]:
    """`python -m harness.tracker ARGUMENTS` against a server, in a process of its own; and how long it took."""
    environment = os.environ | {"WANDB_BASE_URL": address, "WANDB_API_KEY": "x" * 40}
    started = time.monotonic()
    command = [sys.executable, "-c", code] if code else [sys.executable, "-m", "harness.tracker", *arguments]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=150, env=environment, check=False, cwd=Path(__file__).parents[2]
    )
    return done, time.monotonic() - started


@contextmanager
def bad_server(kind: str) -> Iterator[str]:
    """An address that nobody listens on, that accepts and stays silent, or that answers 403 to everything."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        if kind != "unreachable":
            listener.listen()
            threading.Thread(target=_answer, args=(listener, kind), daemon=True).start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"


def _answer(listener: socket.socket, kind: str) -> None:
    kept = []
    while True:
        try:
            connection, _ = listener.accept()
        except OSError:
            return
        kept.append(connection)
        if kind == "refusing":
            connection.recv(65536)
            connection.sendall(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
            connection.close()


def test_sync_uploads_once_and_what_the_server_has_is_read_back(sweep: tuple[SweepRecord, Path, Path]) -> None:
    _, folder, store = sweep
    project(folder, store, "offline", "test")
    with fake_server() as server:
        done, _ = tracker(server.address, "sync", "s", "--store", str(store))
        assert done.returncode == 0, done.stderr
        assert "1 runs are on the server with the values of their records; 0 left" in done.stdout
        (run,) = server.runs
        assert {name: server.summaries[run][name] for name in ("scores/A", "scores/B", "scores/mean")} == {
            "scores/A": 25.0, "scores/B": 50.0, "scores/mean": 37.5,
        }  # fmt: skip
        assert [row["finetune/loss"] for row in server.history[run]] == [1.0, 0.5, pytest.approx(1 / 3)]
        assert projections(folder)["baseline:0"].path == f"team/test/{run}"
        asked = server.probes
        assert tracker(server.address, "sync", str(folder), "--store", str(store))[0].returncode == 0
        assert server.probes == asked, "nothing left to ask about"


def test_a_value_the_server_lost_is_said_and_not_uploaded_again(sweep: tuple[SweepRecord, Path, Path]) -> None:
    _, folder, store = sweep
    project(folder, store, "offline", "test")
    with fake_server() as server:
        server.lossy = "scores/B"
        done, spent = tracker(server.address, "sync", str(folder), "--store", str(store), "--timeout", "60")
        assert done.returncode == 1
        assert spent < 60
        assert "scores/B: 50.0 was sent, the server has 'nothing'" in done.stderr
        server.lossy, uploads = "", len(server.history)
        assert tracker(server.address, "sync", str(folder), "--store", str(store))[0].returncode == 0
        assert len(server.history) == uploads == 1


@pytest.mark.parametrize("kind", ["unreachable", "hanging", "refusing"])
def test_a_bad_server_costs_sync_a_bounded_wait_and_loses_nothing(sweep: tuple[SweepRecord, Path, Path], kind: str) -> None:
    _, folder, store = sweep
    project(folder, store, "offline", "test")
    before = {path: path.read_bytes() for path in folder.rglob("*.wandb")}
    with bad_server(kind) as address:
        done, spent = tracker(address, "sync", "s", "--store", str(store), "--timeout", "10")

    assert done.returncode == 1
    assert spent < PROBE_SECONDS + 4
    assert "left: baseline:0: http://127.0.0.1" in done.stderr
    assert {path: path.read_bytes() for path in before} == before
    with fake_server() as server:
        assert tracker(server.address, "sync", "s", "--store", str(store))[0].returncode == 0


def test_a_server_that_falls_silent_costs_sync_the_time_allowed(sweep: tuple[SweepRecord, Path, Path]) -> None:
    _, folder, store = sweep
    project(folder, store, "offline", "test")
    with fake_server() as server:
        server.silent = True
        done, spent = tracker(server.address, "sync", "s", "--store", str(store), "--timeout", "5")

    assert done.returncode == 1
    assert spent < 5 + 4
    assert "not done within" in done.stderr
    assert not projections(folder)["baseline:0"].path


@pytest.mark.parametrize("kind", ["unreachable", "hanging", "refusing"])
def test_a_bad_server_is_asked_once_for_all_runs_which_are_projected_offline(
    sweep: tuple[SweepRecord, Path, Path], kind: str
) -> None:
    """Three runs: without the one question, each would wait for the start's own time limit."""
    record, _, store = sweep
    runs = (record.runs[0], *(replace(record.runs[0], seed=seed) for seed in (2, 3)))
    folder = write_sweep(store, replace(record, id="three", runs=runs, seeds=(0, 2, 3)))
    with bad_server(kind) as address:
        done, spent = tracker(
            address, "project", str(folder), "--store", str(store), "--mode", "online", "--project", "test"
        )  # fmt: skip

    assert done.returncode == 0, done.stderr
    assert spent < PROBE_SECONDS + 20
    assert "projecting offline, sync later" in done.stderr
    assert [one.path for one in projections(folder).values()] == ["", "", ""]


@pytest.mark.timeout(180)
def test_a_server_that_stops_answering_after_the_question_is_a_fallback(sweep: tuple[SweepRecord, Path, Path]) -> None:
    _, folder, store = sweep
    code = f"""
import harness.tracker as tracker
from pathlib import Path
tracker.INIT_TIMEOUT = 2
tracker.tracker_server.probe = lambda: None
tracker.project(Path({str(folder)!r}), Path({str(store)!r}), "online", "test")
"""
    with bad_server("hanging") as address:
        done, _ = tracker(address, code=code)

    assert done.returncode == 0, done.stderr
    assert "projecting offline, sync later" in done.stderr
    assert projections(folder)["baseline:0"].path == ""


def test_online_runs_are_read_back_too(sweep: tuple[SweepRecord, Path, Path]) -> None:
    _, folder, store = sweep
    with fake_server() as server:
        done, _ = tracker(
            server.address, "project", str(folder), "--store", str(store), "--mode", "online", "--project", "test"
        )  # fmt: skip

    assert done.returncode == 0, done.stderr
    assert "1 runs are on the server with the values of their records; 0 left" in done.stdout
    (made,) = projections(folder).values()
    assert made.checked
    assert made.path == f"team/test/{made.run}"


def test_unequal_names_what_is_missing_and_what_differs() -> None:
    assert unequal({"a": 1.0, "b": 2.0, "c": 1 / 3}, {"a": 1.0, "b": 2.5, "c": 1 / 3 * (1 + 1e-15)}) == [
        "b: 2.0 was sent, the server has 2.5"
    ]
    assert unequal({"a": 1.0}, {}) == ["a: 1.0 was sent, the server has 'nothing'"]
