"""Different specifications that end in the same bytes fail the sweep."""

import json
from pathlib import Path

from harness.identity import combine_digests
from harness.store import Store
from harness.sweep_record import ArmRecord, RunRecord, StepRef, SweepRecord
from sweeps.equality import suspicious_equalities


def record(store: Path, step: str, fingerprint: str, files: dict[str, str]) -> StepRef:
    folder = store / step / fingerprint
    folder.mkdir(parents=True, exist_ok=True)
    data = {
        "step": step, "version": 1, "fingerprint": fingerprint, "spec": {}, "inputs": {}, "files": files,
        "digest": combine_digests(files),
    }  # fmt: skip
    (folder / "record.json").write_text(json.dumps(data))
    return StepRef(step, fingerprint)


def sweep_of(*runs: RunRecord) -> SweepRecord:
    arms = tuple(ArmRecord(run.arm, (), "") for run in runs)
    return SweepRecord("s", "id", "?", "mean", (), "task_types", None, runs[0].arm, (0,), "", (), arms, runs)


def run(store: Path, arm: str, weights: str, items: dict[str, str], *, suffix: str = "") -> RunRecord:
    steps = {"finetune": record(store, "finetune", f"f-{arm}", {"adapter_model.safetensors": weights, "log": arm})}
    for task, digest in items.items():
        steps[f"evaluate/{task}"] = record(store, "evaluate", f"e-{arm}{suffix}-{task}", {"items.parquet": digest, "x": arm})
    return RunRecord(arm, 0, steps)


def test_different_steps_with_different_bytes_are_no_suspicion(tmp_path: Path) -> None:
    runs = [run(tmp_path, arm, f"w-{arm}", {"A": f"i-{arm}", "B": "same"}) for arm in "ab"]

    assert suspicious_equalities(sweep_of(*runs), Store(tmp_path)) == []


def test_trap_25_equal_weights_from_different_specs(tmp_path: Path) -> None:
    runs = [run(tmp_path, arm, "same", {"A": f"i-{arm}"}) for arm in "ab"]
    (message,) = suspicious_equalities(sweep_of(*runs), Store(tmp_path))

    assert message.startswith("a:0 and b:0 have different training steps and equal weights")


def test_trap_28_equal_scores_on_every_task_from_different_weights(tmp_path: Path) -> None:
    runs = [run(tmp_path, arm, f"w-{arm}", {"A": "same", "B": "same too"}) for arm in "ab"]
    (message,) = suspicious_equalities(sweep_of(*runs), Store(tmp_path))

    assert "a:0 and b:0 have different evaluations and equal scores" in message


def test_the_same_steps_under_two_names_are_no_suspicion(tmp_path: Path) -> None:
    one = run(tmp_path, "a", "w", {"A": "i"})

    assert suspicious_equalities(sweep_of(one, RunRecord("b", 0, one.steps)), Store(tmp_path)) == []


def test_unfinished_runs_are_not_judged(tmp_path: Path) -> None:
    whole = run(tmp_path, "a", "w-a", {"A": "same"})
    part = RunRecord("b", 0, {"evaluate/A": StepRef("evaluate", "missing")})

    assert suspicious_equalities(sweep_of(whole, part), Store(tmp_path)) == []
