"""Every sweep that ships: its layout fits the tasks it asks for, and the paper's rows stand beside ours number by number."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
import yaml

from harness import catalogue
from harness.scores import SubsetScore, TaskScores
from harness.sweep_record import ArmRecord, SweepRecord
from reports.commands import formatted
from reports.effects import Evidence
from reports.frame import Evaluated, Frame, Run
from reports.reference import read_reference
from reports.tables import Table, sweep_tables

SWEEPS = Path(__file__).parents[2] / "conf" / "sweep"
MIRACL = ["ar", "bn", "en", "es", "fa", "fi", "fr", "hi", "id", "ja", "ko", "ru", "sw", "te", "th", "zh"]
CODES = ["ara", "ben", "eng", "spa", "fas", "fin", "fra", "hin", "ind", "jpn", "kor", "rus", "swa", "tel", "tha", "zho"]


def scored(task: str, task_type: str, cells: Iterable[tuple[str, str, tuple[str, ...]]], level: float) -> Evaluated:
    metrics = {"ndcg_at_10": level, "recall_at_100": level + 0.2}
    rows = tuple(SubsetScore(split, subset, languages, level, metrics, 100) for split, subset, languages in cells)
    return Evaluated(TaskScores(task, task_type, "ndcg_at_10", "2.26.24", "r", rows), None, "", "")


def tasks(layout: str, level: float) -> dict[str, Evaluated]:
    """What a sweep of this layout is judged on, all at one level."""
    if layout == "Fig5":
        lengths = [2**power for power in range(8, 16)]
        cells = [("test", "default", ("eng-Latn",))]
        return {f"Passkey{length}": scored(f"Passkey{length}", "Retrieval", cells, level) for length in lengths}
    if layout in ("T2", "T4", "T6", "languages"):
        cells = [("dev", subset, (f"{code}-Latn",)) for subset, code in zip(MIRACL, CODES, strict=True)]
        bitext = [("test", "deu-eng", ("deu-Latn", "eng-Latn"))]
        found = {"MIRACLRetrieval": scored("MIRACLRetrieval", "Retrieval", cells, level)}
        return found | {name: scored(name, "BitextMining", bitext, level) for name in ("BUCC.v2", "Tatoeba")}
    found = {}
    for one in catalogue.benchmark("MTEB(eng, v1)"):
        cells = [(split, subset, ("eng-Latn",)) for split in one.splits for subset in one.subsets]
        found[one.task] = scored(one.task, catalogue.entry(one.task).type, cells, level)
    return found


def frame(name: str, data: dict[str, Any], layout: str) -> Frame:
    """A finished sweep of that name: arms as written and by its grid, half a point apart."""
    arms = {"baseline": ()} | {arm: tuple(one["overrides"]) for arm, one in data["arms"].items()}
    for key, values in data.get("grid", {}).items():
        arms |= {f"{key.rpartition('.')[2]}={value}": (f"{key}={value}",) for value in values}
    records = tuple(ArmRecord(arm, overrides, "") for arm, overrides in arms.items())
    seeds = tuple(data["seeds"])
    family = tuple(arm for arm in data["family"] if arm in arms)
    sweep = SweepRecord(
        name, "0" * 20, data["question"], data["primary"], family, layout, data["reference"], "baseline", seeds, "one corpus",
        (), records, (), (),
    )  # fmt: skip
    runs = tuple(
        Run(arm, seed, tasks(layout, 0.5 + 0.005 * index + 0.001 * seed), {}, frozenset(), {}, "")
        for index, arm in enumerate(arms)
        for seed in seeds
    )
    return Frame(sweep, Path("nowhere"), runs)


SHIPPED = {path.stem: yaml.safe_load(path.read_text(encoding="utf-8")) for path in sorted(SWEEPS.glob("*.yaml"))}


@pytest.mark.parametrize("name", SHIPPED)
def test_the_layout_of_every_shipped_sweep_fits_its_tasks(name: str) -> None:
    data = SHIPPED[name]
    if not data["primary"].startswith("Quick"):
        made = frame(name, data, data["table"])
        tables = sweep_tables(made, Evidence(made))
        for form in ("md", "csv", "tex", "html", "term"):
            assert formatted(tables, form)
        ours = [row for row in tables[0].rows if row.kind != "reference"]
        assert all(cell.value is not None for row in ours for cell in row.cells)


def printed_beside(layout: str, reference: str) -> tuple[Table, dict[str, dict[str, float | None]]]:
    data = SHIPPED["paper_main"] | {"reference": reference, "primary": "mean"}
    made = frame("paper", data, layout)
    (table, *_) = sweep_tables(made, Evidence(made))
    heads = [column.rpartition(" (")[0] for column in table.columns]
    rows = {
        row.label: dict(zip(heads, (cell.value for cell in row.cells), strict=True))
        for row in table.rows
        if row.kind == "reference"
    }
    return table, rows


def test_table_6_turns_languages_into_columns() -> None:
    """The paper prints a row for each language; ours has one for each model, with the same 170 numbers."""
    _, rows = printed_beside("T6", "paper:T6")
    there = read_reference("paper:T6")

    assert set(rows) == {"BM25", "mDPR", "mE5-base", "mE5-large", "E5-mistral-7b full"}
    for language in there.rows:
        for name, value in zip(there.columns[1:], language[1:], strict=True):
            model, _, metric = name.rpartition(" ")
            assert rows[model][f"{language[0]} {metric}"] == value


@pytest.mark.parametrize(
    ("layout", "reference", "headings"),
    [
        ("T1", "paper:T1", 8),
        ("T2", "paper:T2", 8),
        ("T4", "paper:T4", 2),
        ("T5", "paper:T5", 8),
        ("T7", "paper:T7", 8),
        ("Fig5", "longembed:perlength", 8),
    ],
)
def test_every_number_of_the_papers_table_finds_its_column(layout: str, reference: str, headings: int) -> None:
    table, rows = printed_beside(layout, reference)

    assert len(rows) == len(read_reference(reference).rows)
    assert {sum(value is not None for value in row.values()) for row in rows.values()} == {headings}
    assert "arms as in the paper's" in table.title


def test_table_7_of_the_shipped_sweep_pairs_both_backbones() -> None:
    made = frame("paper_pretraining", SHIPPED["paper_pretraining"], "T7")
    (table,) = sweep_tables(made, Evidence(made))

    ours = [row.label for row in table.rows if row.kind != "reference"]
    assert ours == ["mistral_not_pretrained", "baseline", "xlmr_not_pretrained", "xlmr"]


def test_table_5_of_the_shipped_sweep_groups_what_changes_the_same() -> None:
    made = frame("paper_hyperparameters", SHIPPED["paper_hyperparameters"], "T5")
    (table,) = sweep_tables(made, Evidence(made))

    groups = [row.group for row in table.rows if row.kind != "reference"]
    assert len(groups) == 9
    assert [group for group in groups if group == "model/pooling"] == ["model/pooling"] * 2
    assert groups == sorted(groups, key=groups.index)
