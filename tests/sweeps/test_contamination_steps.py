"""Where a check for contamination stands in the graph, and what it does to training."""

import json
from pathlib import Path

import pytest

from harness.pairs import Pair, read_pairs, write_pairs
from harness.runtime import Runtime
from harness.step import Work, silent
from harness.tasks import quick
from sweeps.steps import BODIES
from tests.sweeps.test_plan import planned

CHECKS = ["contamination/weak", "contamination/mix"]


def test_a_report_is_a_leaf_and_nobody_else_changes(conf: Path, runtime: Runtime) -> None:
    plain, reported = planned(conf, runtime), planned(conf, runtime, ["contamination=report"])

    assert [label for label in reported if label not in plain] == CHECKS
    assert all(reported[label].key == step.key for label, step in plain.items())
    assert reported["contamination/mix"].inputs == {"pairs": reported["mix"]}
    assert reported["contamination/weak"].inputs == {"pairs": reported["weak"]}


@pytest.mark.parametrize("policy", ["drop", "fail"])
def test_training_reads_what_a_dropping_or_failing_check_lets_through(conf: Path, runtime: Runtime, policy: str) -> None:
    plain, steps = planned(conf, runtime), planned(conf, runtime, [f"contamination={policy}"])

    assert steps["pretrain"].inputs["pairs"] is steps["contamination/weak"]
    assert steps["finetune"].inputs["pairs"] is steps["contamination/mix"]
    assert steps["mix"].key == plain["mix"].key
    assert steps["finetune"].key != plain["finetune"].key


def test_an_arm_that_changes_what_the_encoder_is_told_shares_the_check(conf: Path, runtime: Runtime) -> None:
    base = planned(conf, runtime, ["contamination=report"])
    told = planned(conf, runtime, ["contamination=report", "model/instruction=none", "model.max_length=64"])
    fewer = planned(conf, runtime, ["contamination=report", "eval.tasks=[QuickSTS]"])

    assert [told[label].key for label in CHECKS] == [base[label].key for label in CHECKS]
    assert all(fewer[label].key != base[label].key for label in CHECKS)


def test_a_run_that_does_not_train_checks_nothing(conf: Path, runtime: Runtime) -> None:
    steps = planned(conf, runtime, ["contamination=report", "pretrain=none", "finetune=none"])

    assert not any(label.startswith("contamination") for label in steps)


def test_a_planted_test_item_is_dropped_before_training(conf: Path, runtime: Runtime, tmp_path: Path) -> None:
    leaked = quick.read_rows("sts.jsonl")[7]["sentence1"]
    pairs = [
        Pair("sts", "English", "English", "planted", "Find it", query, "An unrelated answer about the tides of the sea.", ())
        for query in (leaked.upper(), "Nobody judges anything on this sentence about a harbour.")
    ]
    step = planned(conf, runtime, ["contamination=drop", "eval.tasks=[QuickSTS]"])["contamination/mix"]
    source, out = tmp_path / "source", tmp_path / "out"
    source.mkdir()
    out.mkdir()
    write_pairs(source / "pairs.parquet", pairs)
    BODIES[step.name](step.spec, Work({"pairs": source}, out, tmp_path / "scratch", runtime, silent, measured := {}))
    counts = json.loads((out / "counts.json").read_text())

    assert read_pairs(out / "pairs.parquet") == pairs[1:]
    assert counts["tasks"]["QuickSTS"]["sources"]["planted"]["exact"] == 1
    assert measured["hit"] == {"QuickSTS": counts["tasks"]["QuickSTS"]["sources"]}
