"""W&B as a projection: whole runs only, each once, offline without a server, and a dead server costs a bounded wait."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from harness.identity import combine_digests
from harness.record import write_json
from harness.scores import SubsetScore, TaskScores, write_scores
from harness.sweep_record import ArmRecord, RunRecord, StepRef, SweepRecord, write_sweep
from harness.tracker import complete, configuration, curves, project, summary

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
    assert json.loads((folder / "projected.json").read_text()) == {"baseline:0": "offline"}
    assert project(folder, store, "offline", "test") == 0, "a second projection has nothing to do"
    history = _history(folder)
    assert "finetune/loss" in history
    assert "scores/mean" in history
    for path in folder.rglob("*"):
        if path.is_file():
            assert CANARY.encode() not in path.read_bytes(), path


@pytest.mark.timeout(180)
def test_a_server_that_never_answers_is_a_warning_and_the_run_is_projected_offline(
    sweep: tuple[SweepRecord, Path, Path],
) -> None:
    _, folder, store = sweep
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        program = f"""
import harness.tracker as tracker
from pathlib import Path
tracker.INIT_TIMEOUT = 2
tracker.project(Path({str(folder)!r}), Path({str(store)!r}), "online", "test")
"""
        environment = os.environ | {"WANDB_BASE_URL": f"http://127.0.0.1:{silent.getsockname()[1]}", "WANDB_API_KEY": "x" * 40}
        done = subprocess.run(
            [sys.executable, "-c", program], capture_output=True, text=True, timeout=150, env=environment, check=False,
            cwd=Path(__file__).parents[2],
        )  # fmt: skip

    assert done.returncode == 0, done.stderr
    assert "projecting offline, sync later" in done.stderr
    assert json.loads((folder / "projected.json").read_text()) == {"baseline:0": "offline"}
