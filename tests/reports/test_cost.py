"""What `reports compare` says a run cost."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from harness.sweep_record import ArmRecord, RunRecord, StepRef, SweepRecord
from reports.cost import work
from reports.frame import Frame, Run

GIB = 2**30


def put(store: Path, step: str, key: str, measured: dict[str, Any], training: dict[str, Any] | None = None) -> StepRef:
    """A step as far as its costs are concerned."""
    (store / step / key / "payload").mkdir(parents=True)
    (store / step / key / "measured.json").write_text(json.dumps(measured))
    if training is not None:
        (store / step / key / "payload" / "training.json").write_text(json.dumps(training))
    return StepRef(step, key)


@pytest.fixture
def frames(tmp_path: Path) -> tuple[Frame, Frame]:
    """Two arms that share a corpus and a pre-training; the second was trained with two seeds, and judged with one so far."""
    shared = {
        "synthetic": put(tmp_path, "synthesize", "s", {"draws": 1200, "accepted": 1110}),
        "pretrain": put(tmp_path, "pretrain", "p", {"seconds": 10.0, "peak_memory_bytes": 3 * GIB},
                        {"tokens": 5000, "steps": 60, "trainable_parameters": 9000}),
    }  # fmt: skip

    def tuned(name: str, tokens: int) -> dict[str, StepRef]:
        said = {"tokens": tokens, "steps": 12, "trainable_parameters": 400}
        return {"finetune": put(tmp_path, "finetune", name, {"seconds": 10.0, "peak_memory_bytes": GIB}, said)}

    judged = {"evaluate/A": put(tmp_path, "evaluate", "a", {"texts": 30, "texts_asked": 50, "tokens": 700})}
    runs = (
        RunRecord("base", 0, {**shared, **tuned("b0", 1000), **judged}),
        RunRecord("other", 0, {**shared, **tuned("o0", 3000), **judged}),
        RunRecord("other", 1, {**shared, **tuned("o1", 5000), "evaluate/A": StepRef("evaluate", "not yet")}),
    )
    arms = (ArmRecord("base", (), ""), ArmRecord("other", (), ""))
    sweep = SweepRecord("quick", "abc", "?", "mean", ("other",), "task_types", None, "base", (0, 1), "", (), arms, runs)

    def frame(arm: str) -> Frame:
        return Frame(sweep, tmp_path, tuple(Run(r.arm, r.seed, {}, {}, frozenset(), {}, "") for r in runs if r.arm == arm))

    return frame("base"), frame("other")


def test_work_is_a_mean_over_seeds_and_counts_what_is_shared_for_each(frames: tuple[Frame, Frame]) -> None:
    assert list(work(*frames)) == [
        ("answers of language models", "1,200", "1,200"),
        ("pairs accepted of them", "1,110", "1,110"),
        ("parameters trained last", "400", "400"),
        ("training steps", "72", "72"),
        ("tokens trained on", "6,000", "9,000"),
        ("training tokens a second", "300", "450"),
        ("peak memory of training, GiB", "3", "3"),
        ("texts asked for", "50", "50"),
        ("texts encoded", "30", "30"),
        ("tokens encoded", "700", "700"),
    ]


def test_what_neither_run_did_is_left_out(frames: tuple[Frame, Frame], tmp_path: Path) -> None:
    for path in tmp_path.glob("*/*/measured.json"):
        path.write_text('{"seconds": 1.0}')

    assert [name for name, *_ in work(*frames)] == [
        "parameters trained last", "training steps", "tokens trained on", "training tokens a second"
    ]  # fmt: skip
