"""Pairs of texts: similarities and grades, neighbours and translations, summaries and their references."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from harness.items import Cell
from harness.tasks.capture import Capture, CountError, rows, split_data


def record_sts(capture: Capture, task: Any, cell: Cell, _: Mapping[str, Any]) -> int:
    """Cosine and scaled grade of every pair."""
    gold = [task._normalize(score) for score in split_data(task, cell)["score"]]  # noqa: SLF001 - mteb's scale
    similarity = capture.predictions.pop(cell)["cosine_scores"]
    names = rows(len(similarity))
    capture.expect(cell, task, len(similarity), len(gold))
    capture.columns.add(cell, names, "similarity", similarity)
    capture.columns.add(cell, names, "gold", gold)
    return len(names)


def record_pairs(capture: Capture, task: Any, cell: Cell, _: Mapping[str, Any]) -> int:
    """Five similarities and the label of every pair."""
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


def record_summarization(capture: Capture, task: Any, cell: Cell, _: Mapping[str, Any]) -> int:
    """Each text's share of the score, and each summary's similarity and grade."""
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


def record_bitext(capture: Capture, task: Any, cell: Cell, _: Mapping[str, Any]) -> int:
    """Which row each sentence was matched with."""
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
