"""Tables of the paper and its successors as data: `reports/reference/<table>.json`, with source and confidence.

Published numbers are cited beside ours, never mixed into a mean. The paper's per-data-set Table 17 is also a frame of its own
(`reference:paper.T17`), so that Table 1 follows from it and what does not is said.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from harness.config import decode, nearest
from harness.scores import SubsetScore, TaskScores
from reports.frame import Evaluated, Frame, Run
from reports.means import SHORT, type_columns
from reports.published import frame_of

FOLDER = Path(__file__).with_name("reference")
LONG = {short: name for name, short in SHORT.items()}
Value = str | float | int | bool | None


class UnknownReferenceError(ValueError):
    """A reference that does not exist; names the nearest."""


@dataclass(frozen=True)
class Published:
    """One table as printed (or derived, as its confidence says)."""

    table: str
    title: str
    source: str
    confidence: str
    notes: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Value, ...], ...]

    def labels(self) -> tuple[str, ...]:
        """What each row is called: its text cells before the first number."""
        return tuple(": ".join(str(cell) for cell in row[: self.first_number()] if isinstance(cell, str)) for row in self.rows)

    def first_number(self) -> int:
        """Index of the first column that holds numbers."""
        return next(i for i in range(len(self.columns)) if any(isinstance(row[i], (int, float)) for row in self.rows))

    def value(self, row: int, column: str) -> float | None:
        """A number of the table, or None where it has none; `BUCC 2018` is found as `BUCC 2018 (4 langs)`, too."""
        names = {**{name.partition(" (")[0]: index for index, name in enumerate(self.columns)}, **self._places()}
        cell = self.rows[row][names[column]] if column in names else None
        return float(cell) if isinstance(cell, (int, float)) and not isinstance(cell, bool) else None

    def _places(self) -> dict[str, int]:
        return {name: index for index, name in enumerate(self.columns)}

    def by_model(self) -> Published:
        """The table with a row for each model; one that has languages for rows (Table 6) is turned round.

        A cell in row `ar` and column `BM25 nDCG@10` becomes row `BM25`, column `ar nDCG@10`.
        """
        if self.columns[0] != "lang":
            return self
        split = [name.rpartition(" ") for name in self.columns[1:]]
        models = tuple(dict.fromkeys(model for model, _, _ in split))
        metrics = tuple(dict.fromkeys(metric for _, _, metric in split))
        columns = tuple(f"{row[0]} {metric}" for metric in metrics for row in self.rows)
        place = self._places()
        rows = tuple((model, *(row[place[f"{model} {metric}"]] for metric in metrics for row in self.rows)) for model in models)
        return replace(self, columns=("model", *columns), rows=rows)


def names() -> tuple[str, ...]:
    """Every table that is here."""
    return tuple(sorted(path.stem for path in FOLDER.glob("*.json")))


def read_reference(name: str) -> Published:
    """A table by name; `paper:T5` and `paper.T5` are the same. Raises UnknownReferenceError with the nearest name."""
    stem = name.replace(":", ".")
    if stem not in names():
        raise UnknownReferenceError(
            f"no reference table {name!r}{nearest(stem, names())}; `python -m reports reference` lists them"
        )
    data: Any = json.loads((FOLDER / f"{stem}.json").read_text(encoding="utf-8"))
    return decode(Published, data, stem)


def per_dataset_frame(name: str, store: Path) -> Frame:
    """A table of per-data-set scores (columns: dataset, category, then mixes) as a frame; the last mix is the baseline."""
    table = read_reference(name)
    if table.columns[:2] != ("dataset", "category"):
        raise UnknownReferenceError(f"{name} has no scores per data set; its columns are {', '.join(table.columns)}")
    runs = []
    for mix in reversed(table.columns[2:]):
        tasks = {}
        for index, row in enumerate(table.rows):
            main = table.value(index, mix)
            if main is not None:
                tasks[str(row[0])] = _evaluated(str(row[0]), LONG[str(row[1])], main / 100)
        runs.append(Run(mix, None, tasks, {}, frozenset(), {}, ""))
    return frame_of(name, f"{table.title} ({table.source})", runs, store)


def _evaluated(task: str, task_type: str, main: float) -> Evaluated:
    cell = SubsetScore("test", "default", ("eng-Latn",), main, {}, 0)
    return Evaluated(TaskScores(task, task_type, "main_score", "not stated", "not stated", (cell,)), None, "", "")


@dataclass(frozen=True)
class Digit:
    """A printed number that does not follow from the numbers it is the mean of."""

    row: str
    column: str
    computed: float
    printed: float

    def __str__(self) -> str:
        return (
            f"{self.row}, {self.column}: the mean is {self.computed:.2f}, so {self.computed:.1f}; printed is {self.printed:.1f}"
        )


MIXES = {
    "full data": "E5-mistral-7b + full data",
    "synthetic only": "E5-mistral-7b w/ synthetic data only",
    "synthetic + msmarco": "E5-mistral-7b w/ synthetic + msmarco",
}


def disagreements(store: Path) -> list[Digit]:
    """Where Table 1's E5-mistral rows differ in print from the means of Table 17."""
    frame, printed = per_dataset_frame("paper.T17", store), read_reference("paper.T1")
    rows = {str(row[0]): index for index, row in enumerate(printed.rows)}
    found = []
    for mix, row in MIXES.items():
        (run,) = frame.of_arm(mix)
        for column in type_columns(frame):
            computed, there = column.score(run), printed.value(rows[row], column.heading)
            if computed is not None and there is not None and _rounded(computed) != there:
                found.append(Digit(mix, column.heading, computed, there))
    return found


def _rounded(value: float) -> float:
    """Half up, as tables are rounded; decimal halves that binary puts just below are lifted."""
    return math.floor(value * 10 + 0.5 + 1e-9) / 10
