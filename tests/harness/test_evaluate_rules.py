"""What a score may depend on: not on order, batch or neighbours in the process; and what a task says of its own rules."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness import evaluate as module
from harness.items import cells
from harness.scores import read_items, read_scores
from harness.tasks import TaskSpec, quick
from harness.tasks.isolate import isolated


@pytest.fixture
def given_task(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Make evaluations use this class instead of the one a spec names."""
    return lambda base: monkeypatch.setattr(module, "task_class", lambda _: base)


def retrieval_over(documents: list[dict[str, str]], queries: list[dict[str, str]], relevant: Any, **attributes: Any) -> type:
    from datasets import Dataset

    def load_data(self: Any, **_: Any) -> None:
        data = {"corpus": Dataset.from_list(documents), "queries": Dataset.from_list(queries), "top_ranked": None}
        self.dataset = {"default": {"test": {**data, "relevant_docs": {key: dict(row) for key, row in relevant.items()}}}}
        self.data_loaded = True

    return type("Own", (quick.task_class("QuickRetrieval"),), {"load_data": load_data, **attributes})


SELF = [
    {"id": "a", "text": "the cat sat on the mat"},
    {"id": "b", "text": "the cat sat on a mat"},
    {"id": "c", "text": "stock prices fell"},
    {"id": "d", "text": "stock prices fell sharply"},
]
SELF_GOLD = {"a": {"b": 1}, "c": {"d": 1}}


@pytest.mark.parametrize(("ignores", "expected"), [(True, 1.0), (False, 0.6309)])
def test_trap_32_a_query_is_not_its_own_answer_where_the_task_says_so(
    ignores: bool,  # noqa: FBT001 - a parameter of the table above
    expected: float,
    words: Any,
    quick_specs: dict[str, TaskSpec],
    judge: Any,
    given_task: Any,
) -> None:
    """As in ArguAna and Quora: the queries are documents of the corpus, with the same ids."""
    queries = [row for row in SELF if row["id"] in SELF_GOLD]
    with isolated("2.26.24", offline=True):
        given_task(retrieval_over(SELF, queries, SELF_GOLD, ignore_identical_ids=ignores))
    folder = judge(quick_specs["QuickRetrieval"], words)
    (cell,) = cells(read_items(folder / "items.parquet"))

    assert read_scores(folder / "scores.json").main == pytest.approx(expected, abs=1e-4)
    assert cell.values("ndcg_at_10").tolist() == pytest.approx([expected] * 2, abs=1e-4)


def test_trap_35_every_experiment_of_a_classification_is_kept(quick_results: dict[str, Path]) -> None:
    """Ten classifiers on ten draws; their scores pair by index between two models."""
    (cell,) = cells(read_items(quick_results["QuickClassification"] / "items.parquet"))
    accuracies = [float(np.mean(values)) for _, values in cell.by_repeat("correct")]

    assert len(accuracies) == 10
    assert len(set(accuracies)) > 1
    assert np.mean(accuracies) == pytest.approx(read_scores(quick_results["QuickClassification"] / "scores.json").main)
    gold = cell.by_item("gold")
    for (items, right), (_, predicted) in zip(cell.by_repeat("correct"), cell.by_repeat("predicted"), strict=True):
        assert right.tolist() == [float(gold[item] == label) for item, label in zip(items, predicted, strict=True)]


def test_trap_40_the_order_of_documents_and_queries_changes_nothing(
    words: Any, quick_specs: dict[str, TaskSpec], quick_results: dict[str, Path], judge: Any, given_task: Any
) -> None:
    from harness.tasks.quick import _ranking_data

    with isolated("2.26.24", offline=True):
        corpus, queries, relevant, _ = _ranking_data("QuickRetrieval")
        order = np.random.default_rng(3).permutation
        shuffled = [list(data.select(order(len(data)).tolist())) for data in (corpus, queries)]
        given_task(retrieval_over(shuffled[0], shuffled[1], dict(reversed(relevant.items()))))
    folder = judge(quick_specs["QuickRetrieval"], words)
    found, expected = (cell_of(path).by_item("ndcg_at_10") for path in (folder, quick_results["QuickRetrieval"]))

    assert list(found) != list(expected)
    assert found == expected


def cell_of(folder: Path) -> Any:
    (cell,) = cells(read_items(folder / "items.parquet"))
    return cell


class InBatches:
    """The same model, fed so many texts at a time."""

    def __init__(self, inner: Any, size: int) -> None:
        self.inner, self.size, self.identity, self.counts = inner, size, inner.identity, inner.counts

    def encode(self, texts: Sequence[str]) -> Any:
        starts = range(0, len(texts), self.size)
        return np.concatenate([self.inner.encode(texts[start : start + self.size]) for start in starts])

    def token_ids(self, text: str) -> list[int]:
        return list(self.inner.token_ids(text))


@pytest.mark.parametrize("size", [1, 64])
def test_the_batch_size_of_a_model_that_ignores_it_changes_nothing(
    size: int, words: Any, quick_specs: dict[str, TaskSpec], quick_results: dict[str, Path], judge: Any
) -> None:
    for name in ("QuickPairClassification", "QuickBitext"):
        folder = judge(quick_specs[name], InBatches(words, size))
        assert read_scores(folder / "scores.json") == read_scores(quick_results[name] / "scores.json")


def test_tasks_in_another_order_score_the_same(
    words: Any, quick_specs: dict[str, TaskSpec], quick_results: dict[str, Path], judge: Any
) -> None:
    for name in ("QuickSummarization", "QuickClustering", "QuickReranking", "QuickSTS"):
        found = read_scores(judge(quick_specs[name], words) / "scores.json")
        assert found == read_scores(quick_results[name] / "scores.json")


def test_candidates_alone_are_encoded_for_reranking(words: Any, quick_specs: dict[str, TaskSpec], judge: Any) -> None:
    """Every document of our reranking task is a candidate; queries once, documents once."""
    judge(quick_specs["QuickReranking"], words)
    rows = quick.read_rows("reranking.jsonl")

    assert len(words.seen) == len(rows) + sum(len(row["positive"]) + len(row["negative"]) for row in rows)
