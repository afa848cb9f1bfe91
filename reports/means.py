"""From task scores to the columns of a table: task types, the mean over tasks, languages.

A column is a fixed set of cells (task, split, subset) with weights that sum to one. An arm that lacks one of them has no
value in that column, never a mean over the rest (trap 36).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from reports.frame import Frame, Run

SHORT = {
    "Classification": "Class.", "Clustering": "Clust.", "PairClassification": "PairClass.", "Reranking": "Rerank",
    "Retrieval": "Retr.", "STS": "STS", "Summarization": "Summ.", "BitextMining": "Bitext",
}  # fmt: skip
ORDER = tuple(SHORT)
MEAN = "mean"
ENGLISH = "eng"


@dataclass(frozen=True, order=True)
class CellKey:
    """One scored cell: a task's (split, subset)."""

    task: str
    split: str
    subset: str


@dataclass(frozen=True)
class Column:
    """A column: its key (a task type, `mean`, a task or a language), its heading, and the tasks it means over."""

    key: str
    heading: str
    tasks: tuple[str, ...]
    subsets: tuple[tuple[str, str, str], ...] = ()
    """For a language: the (task, split, subset) cells that hold it, instead of whole tasks."""
    metric: str = ""
    """Another metric than each task's main one, in mteb's spelling."""

    @property
    def count(self) -> int:
        """How many data sets (tasks, or subsets for a language) it is a mean of."""
        return len(self.subsets) or len(self.tasks)

    @property
    def title(self) -> str:
        """Heading with the number of data sets, as in the paper's Table 1."""
        return f"{self.heading} ({self.count})"

    def weights(self, run: Run) -> Mapping[CellKey, float] | None:
        """Weight of every cell in this column for a run, or None where the run lacks one of the tasks.

        A task is the plain mean of its cells, a column the plain mean of its tasks, as mteb means them.
        """
        if self.subsets:
            share = 1 / len(self.subsets)
            wanted = {CellKey(*subset): share for subset in self.subsets}
            return wanted if wanted.keys() <= cells_of(run, self.metric).keys() else None
        weights: dict[CellKey, float] = {}
        for task in self.tasks:
            if task not in run.tasks:
                return None
            cells = run.tasks[task].scores.subsets
            weights |= {CellKey(task, c.split, c.subset): 1 / (len(cells) * len(self.tasks)) for c in cells}
        return weights

    def score(self, run: Run) -> float | None:
        """The column's value for one run in points, or None where it is incomplete."""
        weights = self.weights(run)
        if not weights:
            return None
        cells = cells_of(run, self.metric)
        if not weights.keys() <= cells.keys():
            return None
        return 100 * math.fsum(weight * cells[key] for key, weight in weights.items())

    def present(self, run: Run) -> int:
        """How many of the column's data sets a run has."""
        if self.subsets:
            return len({CellKey(*subset) for subset in self.subsets} & cells_of(run, self.metric).keys())
        return sum(task in run.tasks for task in self.tasks)


def cells_of(run: Run, metric: str = "") -> dict[CellKey, float]:
    """Main score (mteb's unit) of every cell of a run, or another metric where the cell has it."""
    return {
        CellKey(task, cell.split, cell.subset): cell.metrics[metric] if metric else cell.main
        for task, done in run.tasks.items()
        for cell in done.scores.subsets
        if not metric or metric in cell.metrics
    }


def type_columns(frame: Frame) -> tuple[Column, ...]:
    """Task types in the paper's order, then the mean over all tasks."""
    types = frame.task_types
    by_type: dict[str, list[str]] = {}
    for task in frame.suite:
        by_type.setdefault(types.get(task, "not scored"), []).append(task)
    order = sorted(by_type, key=lambda name: (ORDER.index(name) if name in ORDER else len(ORDER), name))
    columns = [Column(name, SHORT.get(name, name), tuple(by_type[name])) for name in order]
    return (*columns, Column(MEAN, "Avg", frame.suite))


def task_columns(frame: Frame) -> tuple[Column, ...]:
    """One column per task, in the suite's order."""
    return tuple(Column(task, task, (task,)) for task in frame.suite)


def language_columns(frame: Frame) -> tuple[Column, ...]:
    """One column per language other than English in any multilingual task; a pair with English counts as the other side."""
    found = cells_by_language(frame)
    return tuple(Column(f"language:{name}", name, (), cells) for name, cells in found.items() if name != ENGLISH)


def cells_by_language(frame: Frame, task_type: str = "") -> dict[str, tuple[tuple[str, str, str], ...]]:
    """The cells (task, split, subset) of each language, sorted; of one task type where it is given."""
    cells: dict[str, set[tuple[str, str, str]]] = {}
    for run in frame.runs:
        for task, done in run.tasks.items():
            if task_type and done.scores.task_type != task_type:
                continue
            for cell in done.scores.subsets:
                others = sorted({code.split("-")[0] for code in cell.languages} - {ENGLISH}) or [ENGLISH]
                cells.setdefault("+".join(others), set()).add((task, cell.split, cell.subset))
    return {name: tuple(sorted(found)) for name, found in sorted(cells.items())}
