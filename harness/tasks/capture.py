"""From what mteb computes on the way to a score to rows of `harness.items`.

A fresh task is a subclass of mteb's with two methods replaced: the one that would write predictions to a file keeps them
here, and the one mteb offers for extra retrieval scores sees the per-query values (ids equal to the query's already removed,
as the task says: trap 32). Nothing is computed twice and no score changes. What becomes which row stands in `rankings.py`,
`pairs.py` and `labels.py`, by what a task judges.

Items are counted against the data: a task that silently scores less than it has is an error (trap 43).
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

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
        from harness.tasks import rankings

        def keep(_: Any, predictions: Any, *__: Any, hf_split: str, hf_subset: str, **___: Any) -> None:
            self.predictions[hf_split, hf_subset] = predictions

        def per_query(task: Any, scores: Any, qrels: Any, results: Any, hf_split: str, hf_subset: str) -> dict[str, float]:
            fields = self.per_query[hf_split, hf_subset] = rankings.query_values(task, scores, qrels, results)
            with rankings.changes_kept(fields):
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

    from harness.tasks import labels, pairs, rankings

    if isinstance(task, AbsTaskClusteringLegacy):
        return labels.record_legacy_clustering
    recorders = {
        **dict.fromkeys(RANKING, rankings.record_ranking),
        "STS": pairs.record_sts,
        "PairClassification": pairs.record_pairs,
        "Summarization": pairs.record_summarization,
        "BitextMining": pairs.record_bitext,
        "Classification": labels.record_classification,
        "MultilabelClassification": labels.record_multilabel,
        "Clustering": labels.record_clustering,
    }
    return recorders[task.metadata.type]


def split_data(task: Any, cell: Cell) -> Any:
    """The data of a cell as mteb finds it: a task without subsets keeps its splits at the top."""
    split, subset = cell
    return task.dataset[subset][split] if subset in task.dataset else task.dataset[split]


def rows(count: int) -> list[str]:
    """Item names of `count` rows."""
    return [str(i) for i in range(count)]
