"""Units of real item files of all eight task types, against the full bootstrap of the main score itself."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from harness.items import CellItems, ItemError, cells, main_from_items
from harness.scores import read_items, read_scores
from reports.units import units_of

ITEMS = Path(__file__).parent / "items"
TASKS = sorted(path.name for path in (ITEMS / "words").iterdir())


def test_all_eight_types_are_here() -> None:
    assert len(TASKS) == 8


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("encoder", ["words", "other_words"])
def test_units_are_named_and_centred(task: str, encoder: str) -> None:
    folder = ITEMS / encoder / task
    scores, table = read_scores(folder / "scores.json"), read_items(folder / "items.parquet")
    recomputed = main_from_items(scores.task_type, scores.main_metric, table)
    for cell in cells(table):
        found = units_of(scores.task_type, scores.main_metric, cell)
        assert found[0].kind == ("sample" if task == "QuickClustering" else "item")
        for units in found:
            assert len(set(units.names)) == len(units.names) == len(units.values)
            assert abs(units.values.mean()) < 1e-12
    means = {(cell.split, cell.subset): cell.main for cell in scores.subsets}
    assert recomputed == pytest.approx(means, abs=1e-5)


def resampled(cell: CellItems, rng: np.random.Generator) -> CellItems:
    """The cell with its items drawn anew, under new names; every field and repeat of an item comes along."""
    import pyarrow as pa

    frame = cell.table.to_pydict()
    rows: dict[str, list[int]] = {}
    for row, item in enumerate(frame["item"]):
        rows.setdefault(item, []).append(row)
    names = list(rows)
    drawn = [(new, row) for new, pick in enumerate(rng.integers(0, len(names), len(names))) for row in rows[names[pick]]]
    drawn.sort(key=lambda pair: (frame["field"][pair[1]], frame["repeat"][pair[1]], pair[0]))
    columns = {name: [values[row] for _, row in drawn] for name, values in frame.items()}
    columns["item"] = [str(new) for new, _ in drawn]
    return CellItems(pa.table(columns, schema=cell.table.schema), cell.cell)


@pytest.mark.parametrize("task", ["QuickSTS", "QuickPairClassification", "QuickRetrieval", "QuickClassification"])
def test_item_errors_equal_those_of_the_full_bootstrap(task: str) -> None:
    """The score of the resampled file, recomputed by the very function that checks it against mteb; 200 draws, error 5 %."""
    folder = ITEMS / "words" / task
    scores = read_scores(folder / "scores.json")
    fields = {"Retrieval": {"ndcg_at_10"}, "Classification": {"correct"}}.get(scores.task_type)
    (whole,) = cells(read_items(folder / "items.parquet"))
    kept = [field is None or field in fields for field in whole.table["field"].to_pylist()] if fields else None
    cell = CellItems(whole.table.filter(kept), whole.cell) if kept else whole
    rng = np.random.default_rng(3)
    draws = [main_from_items(scores.task_type, scores.main_metric, resampled(cell, rng).table)[cell.cell] for _ in range(200)]
    units = units_of(scores.task_type, scores.main_metric, cell)[0]
    linear = float(np.sqrt(units.values.var() / len(units.values)))

    assert linear == pytest.approx(float(np.std(draws)), rel=0.2)


def test_an_unknown_metric_has_no_units() -> None:
    (cell,) = cells(read_items(ITEMS / "words" / "QuickSTS" / "items.parquet"))
    with pytest.raises(ItemError, match="no influence for 'accuracy'"):
        units_of("STS", "accuracy", cell)
