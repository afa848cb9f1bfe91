"""Every renderer: intervals and stars are there, what does not pair is not tested, numbers are printed as they should be."""

from __future__ import annotations

import re
from pathlib import Path

from reports import inert
from reports.effects import Evidence, find
from reports.frame import Frame
from reports.load import load
from reports.means import type_columns
from reports.notes import number, verdict
from reports.tables import Table, sweep_tables


def tables_of(store: Path) -> tuple[Frame, list[Table]]:
    (frame,) = load(store, ["quick"], with_baseline=True)
    return frame, sweep_tables(frame, Evidence(frame))


def test_the_worse_arm_is_starred_and_the_others_are_not(rich) -> None:
    rich.write()
    _, (table,) = tables_of(rich.store)

    average = table.columns.index("Avg (4)")
    marks = {row.label: row.effects[average].mark for row in table.rows if row.effects}
    assert marks == {"rank_4": "", "rank_64": "", "mean_pooling": "", "english": "", "no_instruction": "*"}
    assert all(effect.half is not None for row in table.rows for effect in row.effects)
    assert all(not effect.mark for row in table.rows for effect in row.effects[:average]), "only the primary carries stars"
    best = {row.label for row in table.rows if row.cells[average].best}
    assert "no_instruction" not in best
    assert len(best) >= 4


def test_one_seed_is_about_this_checkpoint(rich, reports) -> None:
    rich.write()
    code, out, _ = reports("table", "quick:no_instruction:1", "--format", "md")

    assert code == 0
    assert "for this checkpoint; it says nothing about other seeds" in out


def test_the_verdict_is_one_sentence(rich) -> None:
    rich.write()
    (frame,) = load(rich.store, ["quick"], with_baseline=True)
    text = verdict(frame, find(Evidence(frame), type_columns(frame)))

    assert text.startswith("Of 5 arms 1 differs from base on mean after correction: no_instruction (")
    assert text.count(".") - len(re.findall(r"\d\.\d", text)) == 1


def test_edited_items_are_refused(rich, reports) -> None:
    rich.write()
    path = next(rich.store.glob("evaluate/*/payload/items.parquet"))
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    code, _, err = reports("table", "quick")

    assert code == 4
    assert str(path) in err


def test_items_that_do_not_pair_are_not_tested(rich) -> None:
    scores, items = rich.scores["rank_4", 0, "QuickRetrieval"], rich.items["rank_4", 0, "QuickRetrieval"]
    rich.put("rank_4", 0, scores, items[::-1])
    rich.write()
    frame, (table,) = tables_of(rich.store)

    retrieval = table.columns.index("Retr. (1)")
    effects = {row.label: row.effects[retrieval] for row in table.rows if row.effects}
    assert "different items" in effects["rank_4"].untested
    assert effects["rank_64"].half is not None
    assert frame.sweep.baseline == "base"


def test_markdown_keeps_plain_text_plain() -> None:
    assert inert.markdown("lora_4 (+1.2, 8 tasks): fine") == r"lora\_4 (+1.2, 8 tasks): fine"


def test_zero_has_no_sign() -> None:
    assert (number(-0.04, sign=True), number(-1.25), number(2, sign=True)) == (
        "0.0",
        "\N{MINUS SIGN}1.2",
        "+2.0",
    )
