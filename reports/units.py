"""From the items of one evaluation to units: what was sampled, and what each unit contributes to the score.

A task's score varies with its items and, for classification, with the training subsets of its ten experiments; a clustering
score is the mean of ten V-measures on samples of its documents, and those ten are its units. Units are paired between arms
by name. Which fields an item has stands in `harness/items.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from harness.items import DIRECTIONS, RANKING, CellItems, ItemError
from harness.scores import item_schema
from reports import influence
from reports.influence import Array

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True)
class Units:
    """One sampled factor of a score: unit names and influence values (mean zero, in mteb's unit)."""

    kind: str
    """`item`, `experiment` or `sample`."""
    names: tuple[str, ...]
    values: Array

    def pairs_with(self, other: Units) -> bool:
        """Whether both are the same units in the same order."""
        return self.kind == other.kind and (self.names is other.names or self.names == other.names)


def parse_items(data: bytes) -> pa.Table:
    """Per-item values from a file's bytes; one thread, since files are small and many."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pq.ParquetFile(pa.BufferReader(data)).read(use_threads=False)
    if table.schema != item_schema():
        raise ItemError(f"not a file of per-item values: its columns are {', '.join(table.schema.names)}")
    return table


def units_of(task_type: str, main_metric: str, cell: CellItems) -> tuple[Units, ...]:
    """The sampled factors of one cell's main score; raises ItemError where items give no influence for it."""
    if task_type in RANKING:
        return (_ranking(main_metric, cell),)
    known: dict[tuple[str, str], Callable[[CellItems], tuple[Units, ...]]] = {
        ("STS", "cosine_spearman"): _sts,
        ("Summarization", "cosine_spearman"): lambda c: (_means("spearman", c),),
        ("PairClassification", "max_ap"): _pairs,
        ("Classification", "accuracy"): lambda c: _experiments("correct", c),
        ("MultilabelClassification", "accuracy"): lambda c: _experiments("correct", c),
        ("Classification", "f1"): _classified_f1,
        ("Clustering", "v_measure"): lambda c: (_samples("v_measure", c),),
        ("Clustering", "ami"): lambda c: (_samples("ami", c),),
        ("BitextMining", "f1"): _bitext,
    }
    if (task_type, main_metric) not in known:
        raise ItemError(f"no influence for {main_metric!r} of task type {task_type!r}; known: {sorted(known)}")
    return known[task_type, main_metric](cell)


_known: dict[tuple[bytes | int, ...], tuple[str, ...]] = {}


def _named(name: str, cell: CellItems) -> tuple[tuple[str, ...], Array]:
    """A field that has one value per item: names and values. The runs of a task share one tuple of names.

    Decoding two thousand names costs more than everything else that is done with an item; their bytes are compared instead.
    """
    rows = cell.rows(name)
    column = rows["item"].combine_chunks()
    buffers = (bytes(part) for part in column.buffers() if part is not None)
    key: tuple[bytes | int, ...] = (len(column), *buffers) if column.offset == 0 else ()
    if not key or key not in _known:
        names = tuple(column.to_pylist())
        if len(set(names)) < len(names):
            raise ItemError(f"{cell.cell}: items of {name!r} are not named apart")
        if not key:
            return names, np.asarray(rows["value"].to_numpy(), dtype=np.float64)
        _known[key] = names
    return _known[key], np.asarray(rows["value"].to_numpy(), dtype=np.float64)


def _means(name: str, cell: CellItems) -> Units:
    names, values = _named(name, cell)
    return Units("item", names, influence.of_mean(values))


def _ranking(main: str, cell: CellItems) -> Units:
    if main in ("paired_accuracy", "robustness_at_10"):
        field, judge = ("recall_at_1", all) if main == "paired_accuracy" else ("ndcg_at_10", min)
        groups: dict[str, list[float]] = {}
        for item, value in cell.by_item(field).items():
            groups.setdefault(item.split("_")[0], []).append(value)
        judged = np.array([float(judge(values)) for values in groups.values()])
        return Units("item", tuple(groups), influence.of_mean(judged))
    return _means("recall_at_1" if main == "accuracy" else main, cell)


def _sts(cell: CellItems) -> tuple[Units, ...]:
    names, gold = _named("gold", cell)
    return (Units("item", names, influence.of_spearman(cell.values("similarity"), gold)),)


def _pairs(cell: CellItems) -> tuple[Units, ...]:
    """The similarity with the highest AP, as mteb's max_ap chooses it."""
    names, labels = _named("gold", cell)
    best = max(
        (cell.values(name) * sign for name, sign in DIRECTIONS.items()), key=lambda scores: average_precision(scores, labels)
    )
    return (Units("item", names, influence.of_average_precision(best, labels)),)


def average_precision(scores: Array, gold: Array) -> float:
    """Average precision with equal scores as one threshold, as scikit-learn has it."""
    order = np.argsort(-scores, kind="stable")
    ordered, labels = scores[order], gold[order]
    last_equal = np.searchsorted(-ordered, -ordered, "right") - 1
    return float(np.sum(labels * np.cumsum(labels)[last_equal] / (last_equal + 1.0)) / labels.sum())


def _experiments(name: str, cell: CellItems) -> tuple[Units, ...]:
    runs = list(cell.by_repeat(name))
    items = runs[0][0]
    if any(other != items for other, _ in runs):
        raise ItemError(f"{cell.cell}: experiments of {name!r} do not score the same items in the same order")
    return _crossed(items, np.stack([values for _, values in runs]))


def _classified_f1(cell: CellItems) -> tuple[Units, ...]:
    names, labels = _named("gold", cell)
    runs = [values for _, values in cell.by_repeat("predicted")]
    by_item = np.mean([influence.of_macro_f1(labels, run) for run in runs], axis=0)
    whole = np.array([macro_f1(labels, run) for run in runs])
    return (Units("item", names, by_item), _by_experiment(whole))


def macro_f1(gold: Array, predicted: Array) -> float:
    """F1 averaged over the classes of gold and predicted."""
    classes = np.unique(np.concatenate((gold, predicted)))
    scores = [2 * np.sum((gold == c) & (predicted == c)) / (np.sum(gold == c) + np.sum(predicted == c)) for c in classes]
    return float(np.mean(scores))


def _crossed(items: list[str], table: Array) -> tuple[Units, ...]:
    """Items and experiments, from a table (experiments, items) of values whose mean is the score."""
    by_item = Units("item", tuple(items), influence.of_mean(table.mean(axis=0)))
    return (by_item, _by_experiment(table.mean(axis=1))) if len(table) > 1 else (by_item,)


def _by_experiment(values: Array) -> Units:
    return Units("experiment", tuple(str(i) for i in range(len(values))), influence.of_mean(values))


def _samples(name: str, cell: CellItems) -> Units:
    """Samples of a clustering task, levels averaged; one sample per document set where mteb keeps them (v1)."""
    runs = list(cell.by_repeat(name))
    if len(runs) == 1:
        items, values = runs[0]
        return Units("sample", tuple(items), influence.of_mean(values))
    values = np.array([part.mean() for _, part in runs])
    return Units("sample", tuple(str(i) for i in range(len(runs))), influence.of_mean(values))


def _bitext(cell: CellItems) -> tuple[Units, ...]:
    names, gold = _named("gold", cell)
    return (Units("item", names, influence.of_weighted_f1(gold, cell.values("predicted"))),)
