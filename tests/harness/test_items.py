"""The main score follows from the items alone, as mteb computes it, and no item can change unnoticed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.items import ItemColumns, ItemError, _best_accuracy, cells, main_from_items, supported, write_table
from harness.scores import read_items, read_scores
from harness.tasks import TaskSpec, quick


def edited(table: pa.Table, row: int, value: float) -> pa.Table:
    values = table["value"].to_numpy().copy()
    values[row] = value
    return table.set_column(table.column_names.index("value"), "value", pa.array(values))


@pytest.mark.parametrize("name", quick.TASKS)
def test_main_score_follows_from_the_item_file(
    name: str, quick_specs: dict[str, TaskSpec], quick_results: dict[str, Path]
) -> None:
    spec, scores = quick_specs[name], read_scores(quick_results[name] / "scores.json")
    found = main_from_items(spec.task_type, spec.main, read_items(quick_results[name] / "items.parquet"))

    assert found.keys() == {(row.split, row.subset) for row in scores.subsets}
    for row in scores.subsets:
        assert found[row.split, row.subset] == pytest.approx(row.main, abs=1e-9)
    assert 0 < abs(scores.main) < 1, "a perfect or empty score would prove nothing"


DECISIVE = {
    "QuickRetrieval": "ndcg_at_10", "QuickReranking": "map_at_1000", "QuickSTS": "similarity",
    "QuickPairClassification": "cosine", "QuickClassification": "correct", "QuickClustering": "v_measure",
    "QuickSummarization": "spearman", "QuickBitext": "predicted",
}  # fmt: skip


@pytest.mark.parametrize("name", quick.TASKS)
def test_a_changed_item_changes_the_score(name: str, quick_specs: dict[str, TaskSpec], quick_results: dict[str, Path]) -> None:
    spec, table = quick_specs[name], read_items(quick_results[name] / "items.parquet")
    fields, values = table["field"].to_pylist(), table["value"].to_pylist()
    decisive = [row for row, field in enumerate(fields) if field == DECISIVE[name]]
    if name == "QuickBitext":  # a prediction that was right: mteb's F1 does not care which wrong one replaces another
        decisive = [row for row in decisive if values[row] == int(table["item"][row].as_py())]
    best = max(decisive, key=lambda row: values[row])
    changed = main_from_items(spec.task_type, spec.main, edited(table, best, -3.0))

    assert changed != main_from_items(spec.task_type, spec.main, table)


def test_items_have_the_documented_fields(quick_results: dict[str, Path]) -> None:
    def fields(name: str) -> set[str]:
        return set(read_items(quick_results[name] / "items.parquet")["field"].to_pylist())

    assert {"ndcg_at_10", "recall_at_100", "map_at_10", "mrr_at_10"} <= fields("QuickRetrieval")
    assert fields("QuickSTS") == {"similarity", "gold"}
    assert fields("QuickPairClassification") == {"similarity", "cosine", "manhattan", "euclidean", "dot", "gold"}
    assert fields("QuickClassification") == {"predicted", "correct", "gold"}
    assert fields("QuickClustering") == {"v_measure", "ami", "assignment_0", "gold_0"}
    assert fields("QuickSummarization") == {"spearman", "similarity", "gold"}
    assert fields("QuickBitext") == {"predicted", "gold", "correct"}


def test_clusterings_follow_from_their_assignments(quick_results: dict[str, Path]) -> None:
    """The rows mteb drew are kept, so that its V-measures can be computed again."""
    from sklearn.metrics import v_measure_score

    (cell,) = cells(read_items(quick_results["QuickClustering"] / "items.parquet"))
    gold = cell.by_item("gold_0")
    measures = cell.values("v_measure")
    found = [v_measure_score([gold[i] for i in rows], run) for rows, run in cell.by_repeat("assignment_0")]

    assert len(found) == 10
    assert found == pytest.approx(measures, abs=1e-12)
    assert len(set(measures)) > 1


def test_a_score_without_a_recipe_is_an_error() -> None:
    table = ItemColumns().table()
    with pytest.raises(ItemError, match="no recipe for 'kendalltau'"):
        main_from_items("Regression", "kendalltau", table)

    assert supported("Retrieval", "ndcg_at_10")
    assert not supported("Regression", "kendalltau")


def test_a_missing_field_names_itself() -> None:
    columns = ItemColumns()
    columns.add(("test", "default"), ["0", "1"], "gold", [0.0, 1.0])
    with pytest.raises(ItemError, match=r"test/default: no items with field 'similarity'; has \['gold'\]"):
        main_from_items("STS", "cosine_spearman", columns.table())
    with pytest.raises(ItemError, match="1 values of similarity for 2 items"):
        columns.add(("test", "default"), ["0", "1"], "similarity", [0.5])


def test_equal_items_give_equal_bytes(tmp_path: Path) -> None:
    for name in ("one", "two"):
        columns = ItemColumns()
        columns.add(("test", "de"), [str(i) for i in range(500)], "similarity", np.linspace(0, 1, 500).tolist())
        columns.add(("test", "fr"), ["a"], "gold", [1.0], repeat=3)
        write_table(tmp_path / name, columns.table())

    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()
    assert read_items(tmp_path / "one").num_rows == 501


@given(st.lists(st.tuples(st.sampled_from([0.1, 0.2, 0.3, 0.4]), st.integers(0, 1)), min_size=2, max_size=30))
def test_best_accuracy_is_mteb_s(rows: list[tuple[float, int]]) -> None:
    """Ties included: a threshold cannot part equal scores."""
    from mteb.abstasks import AbsTaskPairClassification

    scores, gold = np.array([row[0] for row in rows]), np.array([row[1] for row in rows])
    expected, _ = AbsTaskPairClassification._find_best_acc_and_threshold(None, scores.tolist(), gold, True)  # type: ignore[arg-type]

    assert _best_accuracy(scores, gold) == pytest.approx(expected, abs=1e-12)


def synthetic(fields: dict[str, list[Any]], repeats: int = 1) -> pa.Table:
    columns = ItemColumns()
    for name, values in fields.items():
        for repeat in range(repeats):
            columns.add(("test", "default"), [str(i) for i in range(len(values))], name, values, repeat)
    return columns.table()


def test_macro_f1_and_multilabel_f1_are_sklearn_s() -> None:
    from sklearn.metrics import f1_score

    gold, predicted = [0, 1, 2, 2, 1], [0, 2, 2, 2, 1]
    single = synthetic({"gold": gold, "predicted": predicted})
    both = synthetic({"gold_0000": [1, 0, 1], "gold_0001": [0, 0, 1], "predicted_0000": [1, 1, 1], "predicted_0001": [0, 0, 1]})
    expected = f1_score([[1, 0], [0, 0], [1, 1]], [[1, 0], [1, 0], [1, 1]], average="macro")

    assert main_from_items("Classification", "f1", single)["test", "default"] == f1_score(gold, predicted, average="macro")
    assert main_from_items("MultilabelClassification", "f1", both)["test", "default"] == pytest.approx(expected)


def test_paired_and_robust_rankings_group_by_query() -> None:
    columns = ItemColumns()
    queries = ["a_q1", "a_q2", "b_q1", "b_q2"]
    columns.add(("test", "default"), queries, "recall_at_1", [1.0, 1.0, 1.0, 0.0])
    columns.add(("test", "default"), queries, "ndcg_at_10", [0.9, 0.5, 0.3, 0.4])
    table = columns.table()

    assert main_from_items("Reranking", "paired_accuracy", table)["test", "default"] == 0.5
    assert main_from_items("InstructionRetrieval", "robustness_at_10", table)["test", "default"] == pytest.approx(0.4)
    assert main_from_items("Reranking", "accuracy", table)["test", "default"] == 0.75
