"""Rankings: what each query is worth, by every metric mteb averages."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from harness.items import Cell
from harness.tasks.capture import Capture, split_data

PYTREC = {
    "ndcg_cut_": "ndcg_at_",
    "map_cut_": "map_at_",
    "recall_": "recall_at_",
    "P_": "precision_at_",
    "success_": "hit_rate_at_",
}


def query_values(task: Any, scores: Any, qrels: Any, results: Any) -> dict[str, dict[str, float]]:
    """Values by field and query id, in the order mteb averages them."""
    from mteb._evaluators.retrieval_metrics import mrr

    queries = list(scores)
    fields: dict[str, dict[str, float]] = {}
    for raw in scores[queries[0]]:
        old = next(prefix for prefix in PYTREC if raw.startswith(prefix))
        fields[PYTREC[old] + raw.removeprefix(old)] = {query: scores[query][raw] for query in queries}
    if task.skip_first_result:
        results = {key: dict(sorted(found.items(), key=lambda hit: hit[1], reverse=True)[1:]) for key, found in results.items()}
    for raw, values in mrr(qrels, results, list(task.k_values)).items():
        fields[raw.replace("MRR@", "mrr_at_")] = dict(zip(results, values, strict=True))
    if task.metadata.main_score.startswith("max_over_subqueries_"):
        fields[task.metadata.main_score] = _merged_values(task, qrels, results)
    return fields


@contextmanager
def changes_kept(fields: dict[str, dict[str, float]]) -> Iterator[None]:
    """FollowIR: mteb averages how changed instructions move documents (p-MRR); keep each query's share of it."""
    from mteb._evaluators import retrieval_metrics

    whole = retrieval_metrics.calculate_pmrr

    def kept(before: Any, after: Any, changed: Mapping[str, list[str]]) -> float:
        judged = {query: rows for query, rows in changed.items() if f"{query}-og" in before and f"{query}-changed" in after}
        fields["p-MRR"] = {query: float(whole(before, after, {query: rows})) for query, rows in judged.items() if rows}
        return float(whole(before, after, changed))

    retrieval_metrics.calculate_pmrr = kept
    try:
        yield
    finally:
        retrieval_metrics.calculate_pmrr = whole


def _merged_values(task: Any, qrels: Any, results: Any) -> dict[str, float]:
    """MindSmall: a document's score for a query is its best over the query's parts (`max_over_subqueries` in mteb)."""
    from mteb._evaluators.retrieval_metrics import calculate_retrieval_scores

    merged: dict[str, dict[str, float]] = {}
    relevant: dict[str, Any] = {}
    for part in qrels:
        query = "_".join(part.split("_")[:-1])
        best = merged.setdefault(query, {})
        for document, score in results[part].items():
            best[document] = max(score, best.get(document, score))
        relevant[query] = qrels[part]
    scores = calculate_retrieval_scores(merged, relevant, list(task.k_values)).all_scores
    raw = task.metadata.main_score.removeprefix("max_over_subqueries_").replace("_at_", "_cut_")
    return {query: values[raw] for query, values in scores.items()}


def record_ranking(capture: Capture, task: Any, cell: Cell, _: Mapping[str, Any]) -> int:
    """Per-query values; every query of the data must have been scored."""
    fields = capture.per_query.pop(cell)
    for name, values in fields.items():
        capture.columns.add(cell, list(values), name, list(values.values()))
    scored = len(fields["recall_at_1" if "recall_at_1" in fields else next(iter(fields))])
    return capture.expect(cell, task, scored, len(split_data(task, cell)["queries"]))
