"""Single texts and their labels: what every experiment predicted, which rows every clustering drew and where it put them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from harness.items import Cell
from harness.tasks.capture import Capture, CountError, rows, split_data


def record_classification(capture: Capture, task: Any, cell: Cell, _: Mapping[str, Any]) -> int:
    """Predictions of every experiment, and the labels."""
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


def record_multilabel(capture: Capture, task: Any, cell: Cell, _: Mapping[str, Any]) -> int:
    """Predicted and true labels of every experiment."""
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


def record_clustering(capture: Capture, task: Any, cell: Cell, scores: Mapping[str, Any]) -> int:
    """V-measures, and the assignments of the rows that were drawn."""
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


def record_legacy_clustering(capture: Capture, task: Any, cell: Cell, scores: Mapping[str, Any]) -> int:
    """V-measure and assignment of every set."""
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
