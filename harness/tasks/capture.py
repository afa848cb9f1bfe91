"""From what mteb computes on the way to a score to rows of `harness.items`.

A fresh task is a subclass of mteb's with two methods replaced: the one that would write predictions to a file keeps them
here, and the one mteb offers for extra retrieval scores sees the per-query values (ids equal to the query's already removed,
as the task says: trap 32). Nothing is computed twice and no score changes.

Items are counted against the data: a task that silently scores less than it has is an error (trap 43).
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from harness.items import RANKING, Cell, ItemColumns


class CountError(ValueError):
    """Fewer items were scored than the data has; names task, split, subset and both numbers."""


class RecordedDraws(random.Random):
    """A generator that continues another and remembers what it drew: mteb does not keep the rows it clusters."""

    def __init__(self, state: Any) -> None:
        super().__init__()
        self.setstate(state)
        self.kept: list[int] | None = None
        self.draws: list[list[int]] = []

    def sample(self, population: Any, k: int, **options: Any) -> list[Any]:
        """As in `random`; remembered as the rows that are embedded."""
        self.kept = super().sample(population, k, **options)
        return self.kept

    def choices(self, population: Any, *args: Any, **options: Any) -> list[Any]:
        """As in `random`; remembered as the rows of one clustering."""
        self.draws.append(super().choices(population, *args, **options))
        return self.draws[-1]

    def taken(self) -> tuple[list[int] | None, list[list[int]]]:
        """What was drawn since the last call."""
        kept, draws, self.kept, self.draws = self.kept, self.draws, None, []
        return kept, draws


@dataclass
class Capture:
    """The items of one evaluation, and how many there are in each cell."""

    columns: ItemColumns = field(default_factory=ItemColumns)
    counts: dict[Cell, int] = field(default_factory=dict)
    predictions: dict[Cell, Any] = field(default_factory=dict)
    per_query: dict[Cell, dict[str, dict[str, float]]] = field(default_factory=dict)

    def methods(self, base: type[Any]) -> dict[str, Callable[..., Any]]:
        """The methods a fresh task class of `base` gets so that it reports here."""

        def keep(_: Any, predictions: Any, *__: Any, hf_split: str, hf_subset: str, **___: Any) -> None:
            self.predictions[hf_split, hf_subset] = predictions

        def per_query(task: Any, scores: Any, qrels: Any, results: Any, hf_split: str, hf_subset: str) -> dict[str, float]:
            fields = self.per_query[hf_split, hf_subset] = query_values(task, scores, qrels, results)
            with _changes_kept(fields):
                return dict(base.task_specific_scores(task, scores, qrels, results, hf_split, hf_subset))

        def discard(*_: Any, **__: Any) -> None:
            """Rankings of a thousand documents a query, self-matches included: the per-query values say it better."""

        if hasattr(base, "task_specific_scores"):
            return {"task_specific_scores": per_query, "_save_task_predictions": discard}
        return {"_save_task_predictions": keep}

    def record(self, task: Any, cell: Cell, scores: Mapping[str, Any]) -> None:
        """Turn what was kept for a cell into rows; `scores` are mteb's for it. Raises CountError."""
        recorder = _recorder(task)
        self.counts[cell] = recorder(self, task, cell, scores)

    def expect(self, cell: Cell, task: Any, found: int, expected: int) -> int:
        """Return `found`, or raise CountError if it is not what the data has."""
        if found != expected or not found:
            name = task.metadata.name
            raise CountError(f"{name} [{cell[0]}/{cell[1]}]: {found} items were scored, the data has {expected}")
        return found


def _recorder(task: Any) -> Callable[[Capture, Any, Cell, Mapping[str, Any]], int]:
    from mteb.abstasks.clustering_legacy import AbsTaskClusteringLegacy

    if isinstance(task, AbsTaskClusteringLegacy):
        return _legacy_clustering
    recorders = {
        **dict.fromkeys(RANKING, _ranking), "STS": _sts,
        "PairClassification": _pairs, "Classification": _classification, "MultilabelClassification": _multilabel,
        "Clustering": _clustering, "Summarization": _summarization, "BitextMining": _bitext,
    }  # fmt: skip
    return recorders[task.metadata.type]


def split_data(task: Any, cell: Cell) -> Any:
    """The data of a cell as mteb finds it: a task without subsets keeps its splits at the top."""
    split, subset = cell
    return task.dataset[subset][split] if subset in task.dataset else task.dataset[split]


def rows(count: int) -> list[str]:
    """Item names of `count` rows."""
    return [str(i) for i in range(count)]


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
def _changes_kept(fields: dict[str, dict[str, float]]) -> Iterator[None]:
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


def _ranking(capture: Capture, task: Any, cell: Cell, _: Mapping[str, Any]) -> int:
    fields = capture.per_query.pop(cell)
    for name, values in fields.items():
        capture.columns.add(cell, list(values), name, list(values.values()))
    scored = len(fields["recall_at_1" if "recall_at_1" in fields else next(iter(fields))])
    return capture.expect(cell, task, scored, len(split_data(task, cell)["queries"]))


def _sts(capture: Capture, task: Any, cell: Cell, _: Mapping[str, Any]) -> int:
    gold = [task._normalize(score) for score in split_data(task, cell)["score"]]  # noqa: SLF001 - mteb's scale
    similarity = capture.predictions.pop(cell)["cosine_scores"]
    names = rows(len(similarity))
    capture.expect(cell, task, len(similarity), len(gold))
    capture.columns.add(cell, names, "similarity", similarity)
    capture.columns.add(cell, names, "gold", gold)
    return len(names)


def _pairs(capture: Capture, task: Any, cell: Cell, _: Mapping[str, Any]) -> int:
    data = split_data(task, cell)
    gold = data[task.label_column_name]
    gold = gold[0] if len(data) == 1 else gold  # mteb 1 kept all pairs in one row
    scores = capture.predictions.pop(cell)
    names = rows(len(gold))
    capture.expect(cell, task, len(scores["similarity_scores"]), len(gold))
    fields = {"similarity": "similarity_scores", "cosine": "cosine_scores", "manhattan": "manhattan_distances",
              "euclidean": "euclidean_distances", "dot": "dot_scores"}  # fmt: skip
    for name, raw in fields.items():
        capture.columns.add(cell, names, name, scores[raw])
    capture.columns.add(cell, names, "gold", gold)
    return len(names)


def _classification(capture: Capture, task: Any, cell: Cell, _: Mapping[str, Any]) -> int:
    gold = list(split_data(task, cell)[task.label_column_name])
    experiments = capture.predictions.pop(cell)
    folds = _folds(task, len(gold)) if task.is_cross_validation else [list(range(len(gold)))] * len(experiments)
    numbers = _numbers([*gold, *(label for run in experiments for label in run)])
    for i, (predicted, fold) in enumerate(zip(experiments, folds, strict=True)):
        capture.expect(cell, task, len(predicted), len(fold))
        names = [str(row) for row in fold]
        correct = [float(label == gold[row]) for label, row in zip(predicted, fold, strict=True)]
        capture.columns.add(cell, names, "predicted", [numbers[label] for label in predicted], repeat=i)
        capture.columns.add(cell, names, "correct", correct, repeat=i)
    capture.columns.add(cell, rows(len(gold)), "gold", [numbers[label] for label in gold])
    return len(gold)


def _folds(task: Any, count: int) -> list[list[int]]:
    from sklearn.model_selection import KFold

    folds = KFold(n_splits=task.n_splits, shuffle=True, random_state=task.seed).split(range(count))
    return [held_out.tolist() for _, held_out in folds]


def _numbers(labels: Sequence[Any]) -> dict[Any, float]:
    distinct = set(labels)
    if all(isinstance(label, (int, float)) for label in distinct):
        return {label: float(label) for label in distinct}
    return {label: float(i) for i, label in enumerate(sorted(distinct))}


def _multilabel(capture: Capture, task: Any, cell: Cell, _: Mapping[str, Any]) -> int:
    from sklearn.preprocessing import MultiLabelBinarizer

    names, labels = _multilabel_rows(task, cell)
    gold = MultiLabelBinarizer().fit_transform(labels)
    for i, run in enumerate(capture.predictions.pop(cell)):
        predicted = np.asarray(run)
        capture.expect(cell, task, len(predicted), len(gold))
        capture.columns.add(cell, names, "correct", (predicted == gold).all(axis=1).astype(float).tolist(), repeat=i)
        for label in range(gold.shape[1]):
            capture.columns.add(cell, names, f"predicted_{label:04d}", predicted[:, label].tolist(), repeat=i)
    for label in range(gold.shape[1]):
        capture.columns.add(cell, names, f"gold_{label:04d}", gold[:, label].tolist())
    return len(names)


def _multilabel_rows(task: Any, cell: Cell) -> tuple[list[str], list[Any]]:
    """The rows mteb scores and their labels: a long split is cut by a draw that the task's seed repeats."""
    from datasets import DatasetDict
    from mteb.abstasks.abstask import _multilabel_subsampling

    data = split_data(task, cell)
    numbered = data.select_columns([task.label_column_name]).add_column("row", list(range(len(data))))
    limit = task.max_eval_samples
    if limit is not None and len(data) > limit:
        cut = {"seed": task.seed, "splits": ["test"], "label": task.label_column_name, "n_samples": limit}
        numbered = _multilabel_subsampling(DatasetDict({"test": numbered}), **cut)["test"]
    return [str(row) for row in numbered["row"]], list(numbered[task.label_column_name])


def _clustering(capture: Capture, task: Any, cell: Cell, scores: Mapping[str, Any]) -> int:
    data = split_data(task, cell)
    labels = [label if isinstance(label, list) else [label] for label in data[task.label_column_name]]
    kept, draws = task.rng_state.taken()
    kept = list(range(len(data))) if kept is None else kept
    _enough(task, cell, len(kept), labels)
    assignments = capture.predictions.pop(cell)
    for level, (name, runs) in enumerate(assignments.items()):
        for metric, key in (("v_measure", "v_measures"), ("ami", "ami_scores")):
            for i, value in enumerate(scores[key][name]):
                capture.columns.add(cell, [name], metric, [value], repeat=i)
        gold = np.array([labels[row][level] if len(labels[row]) > level else -1 for row in kept])
        valid = [row for row, label in zip(kept, gold, strict=True) if label != -1]
        codes = np.unique(gold[[label != -1 for label in gold]], return_inverse=True)[1]
        for i, (run, drawn) in enumerate(zip(runs, draws[level * len(runs) :][: len(runs)], strict=True)):
            capture.columns.add(cell, [str(valid[place]) for place in drawn], f"assignment_{level}", run, repeat=i)
        capture.columns.add(cell, [str(row) for row in valid], f"gold_{level}", codes.tolist())
    return len(kept)


def _enough(task: Any, cell: Cell, embedded: int, labels: list[list[Any]]) -> None:
    """By default mteb embeds 4 % of the documents: of 30 it is one, and the V-measure of one document is 1.0 (trap 43)."""
    distinct = len({str(row[0]) for row in labels})
    if embedded < len(labels) and embedded < 2 * distinct:
        raise CountError(
            f"{task.metadata.name} [{cell[0]}/{cell[1]}]: {embedded} of {len(labels)} documents were embedded for "
            f"{distinct} labels; set max_fraction_of_documents_to_embed=None on the task"
        )


def _legacy_clustering(capture: Capture, task: Any, cell: Cell, scores: Mapping[str, Any]) -> int:
    sets = split_data(task, cell)[task.label_column_name]
    runs = iter(capture.predictions.pop(cell))
    capture.expect(cell, task, len(scores["v_measures"]), len(sets))
    capture.columns.add(cell, rows(len(sets)), "v_measure", scores["v_measures"])
    for i, labels in enumerate(sets):
        names = [f"{i}:{row}" for row in range(len(labels))]
        capture.columns.add(cell, names, "gold_0", np.unique(labels, return_inverse=True)[1].tolist())
        if len(set(labels)) > 1:  # mteb does not cluster a set of one label
            capture.columns.add(cell, names, "assignment_0", next(runs))
    return sum(len(labels) for labels in sets)


def _summarization(capture: Capture, task: Any, cell: Cell, _: Mapping[str, Any]) -> int:
    from mteb._evaluators.text.summarization_evaluator import DeprecatedSummarizationEvaluator
    from scipy.stats import spearmanr

    span = task.max_score - task.min_score
    gold = [((np.array(row) - task.min_score) / span).tolist() for row in split_data(task, cell)[task.relevancy_column_name]]
    scores = capture.predictions.pop(cell)
    texts = scored_texts(gold, scores["human_scores"])
    for text, similarity in zip(texts, scores["cosine_scores"], strict=True):
        result = spearmanr(gold[text], similarity)
        # mteb's first SummEval averages the correlation *and its p-value* (its issue 1156); the score is what it is
        deprecated = issubclass(task.evaluator, DeprecatedSummarizationEvaluator)
        share = float(np.mean(result) if deprecated else result.statistic)
        capture.columns.add(cell, [str(text)], "spearman", [share])
        names = [f"{text}:{i}" for i in range(len(similarity))]
        capture.columns.add(cell, names, "similarity", similarity)
        capture.columns.add(cell, names, "gold", gold[text])
    return len(texts)


def scored_texts(gold: list[list[float]], scored: list[list[float]]) -> list[int]:
    """Which texts mteb scored: it skips those whose grades, or whose similarities, are all equal, and keeps no index.

    The scored grades are a subsequence of the texts'; raises CountError if it can be placed in more than one way.
    """
    first = _places(gold, scored)
    last = [len(gold) - 1 - place for place in reversed(_places(gold[::-1], scored[::-1]))]
    if first != last and len(scored) != sum(len(set(row)) > 1 for row in gold):
        raise CountError(f"{len(scored)} of {len(gold)} summaries were scored and cannot be told apart by their grades")
    return first


def _places(gold: list[list[float]], scored: list[list[float]]) -> list[int]:
    candidates = iter(enumerate(gold))
    return [next(i for i, grades in candidates if grades == row and len(set(grades)) > 1) for row in scored]


def _bitext(capture: Capture, task: Any, cell: Cell, _: Mapping[str, Any]) -> int:
    split, subset = cell
    parallel = (split, "parallel") in capture.predictions
    found = capture.predictions[(split, "parallel") if parallel else cell]
    data = task.dataset[split] if parallel else split_data(task, cell)
    neighbours = found[subset] if parallel else found["sentence1-sentence2"]
    gold = [pair[1] for pair in data["gold"]] if isinstance(data, dict) and "gold" in data else range(len(data))
    predicted = [neighbour["corpus_id"] for neighbour in neighbours]
    capture.expect(cell, task, len(predicted), len(gold))
    names = rows(len(predicted))
    capture.columns.add(cell, names, "predicted", predicted)
    capture.columns.add(cell, names, "gold", list(gold))
    capture.columns.add(cell, names, "correct", [float(a == b) for a, b in zip(predicted, gold, strict=True)])
    return len(names)
