"""Tables as data: rows, columns, cells and footnotes, before any format. One function per table.

A cell has a value over seeds with its range, an effect against the baseline, or a reason why it has neither. What is not
complete is shown as not complete. Formats are in `render.py`; statistics in `effects.py`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from reports.load import Frame, Run, described, differing_settings
from reports.means import Column, language_columns, type_columns

QUICK = "quick benchmark, no substitute for MTEB"


@dataclass(frozen=True)
class Cell:
    """One value in points: the mean over seeds with its range, or why there is none."""

    value: float | None
    low: float | None = None
    high: float | None = None
    why: str = ""
    best: bool = False
    """Not distinguishable from the best arm of the column."""


@dataclass(frozen=True)
class Effect:
    """A difference to the baseline in points, paired by seed, with the half-width of its interval where there is one."""

    delta: float | None
    half: float | None = None
    mark: str = ""
    why: str = ""


@dataclass(frozen=True)
class Row:
    """A baseline, an arm or a published model."""

    label: str
    kind: Literal["baseline", "arm", "reference"]
    cells: tuple[Cell, ...]
    effects: tuple[Effect, ...] = ()
    note: str = ""


@dataclass(frozen=True)
class Table:
    """What a renderer needs, and nothing about how it looks."""

    title: str
    question: str
    columns: tuple[str, ...]
    rows: tuple[Row, ...]
    footnotes: tuple[str, ...]


def arms_by_task_type(frame: Frame) -> Table:
    """Baseline first, arms with their differences, task types and the mean over tasks."""
    return _arms(frame, type_columns(frame), f"{frame.sweep.name}: arms by task type")


def arms_by_language(frame: Frame) -> Table | None:
    """The languages other than English that any task scores, or None where there is none."""
    columns = language_columns(frame)
    return _arms(frame, columns, f"{frame.sweep.name}: arms by language") if columns else None


def _arms(frame: Frame, columns: tuple[Column, ...], title: str) -> Table:
    marked = differing_settings(frame)
    base = frame.of_arm(frame.sweep.baseline)
    rows = []
    for arm in frame.arm_names:
        runs = frame.of_arm(arm)
        kind: Literal["baseline", "arm"] = "baseline" if arm == frame.sweep.baseline else "arm"
        effects = () if kind == "baseline" else tuple(difference(column, runs, base) for column in columns)
        cells = tuple(over_seeds(column, runs) for column in columns)
        rows.append(Row(arm, kind, cells, effects, "‡" if arm in marked else ""))
    titles = tuple(column.title for column in columns)
    return Table(title, frame.sweep.question, titles, tuple(rows), tuple(_footnotes(frame, marked)))


def over_seeds(column: Column, runs: Iterable[Run]) -> Cell:
    """The mean over seeds with its range; no value unless every seed has every data set of the column."""
    runs = tuple(runs)
    scores = [column.score(run) for run in runs]
    complete = [score for score in scores if score is not None]
    if not runs or len(complete) < len(runs):
        have = min((column.present(run) for run in runs), default=0)
        return Cell(None, why=f"{have}/{column.count}")
    return Cell(math.fsum(complete) / len(complete), min(complete), max(complete))


def difference(column: Column, runs: Iterable[Run], base: Iterable[Run]) -> Effect:
    """The mean over common seeds of the differences to the baseline; none where either side is incomplete."""
    paired = {run.seed: run for run in base}
    scores = [(column.score(run), column.score(paired[run.seed])) for run in runs if run.seed in paired]
    deltas = [mine - theirs for mine, theirs in scores if mine is not None and theirs is not None]
    if not scores or len(deltas) < len(scores):
        return Effect(None, why="incomplete")
    return Effect(math.fsum(deltas) / len(deltas))


def _footnotes(frame: Frame, marked: dict[str, str]) -> list[str]:
    sweep = frame.sweep
    seeds = sorted({run.seed for run in frame.runs if run.seed is not None})
    notes = [
        f"{sweep.name}@{sweep.id}: points (0 to 100), mean over seeds {', '.join(map(str, seeds))} with its range.",
        f"Δ is the difference to {sweep.baseline}, paired by seed. Numbers in the header count data sets.",
    ]
    if any("quick" in task.lower() for task in frame.suite):
        notes.append(f"Scores are on the {QUICK}.")
    if sweep.conditional:
        notes.append(f"Intervals are conditional on: {sweep.conditional}")
    notes += [f"‡ {arm} ran on other: {difference}" for arm, difference in marked.items()]
    for run in frame.runs:
        if run.missing:
            reasons = "; ".join(f"{task}: {why}" for task, why in run.missing.items())
            notes.append(f"incomplete: {run.arm} seed {run.seed} lacks {len(run.missing)} of its tasks ({reasons})")
    notes += [f"assumed: {note}" if not note.startswith("assumed") else note for note in sweep.notes]
    arms = described(frame)
    notes += [f"{name}: {arms[name].description or ' '.join(arms[name].overrides)}" for name in frame.arm_names if name in arms]
    return notes
