"""Tables as data: rows, columns, cells and footnotes, before any format. One function per table.

A cell has a value over seeds with its range, an effect against the baseline, or a reason why it has neither. What is not
complete is shown as not complete. Formats are in `render.py`; statistics in `effects.py`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Literal

from reports.effects import Evidence, Findings, Untestable, find
from reports.load import Frame, Run, described, differing_settings
from reports.means import Column, language_columns, task_columns, type_columns
from reports.statistics import ALPHA, Estimate

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
    untested: str = ""
    """Why a difference has no interval."""


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


def arms_by_task_type(frame: Frame, evidence: Evidence | None = None) -> Table:
    """Baseline first, arms with their differences, task types and the mean over tasks; intervals where there is evidence."""
    return _arms(frame, type_columns(frame), f"{frame.sweep.name}: arms by task type", evidence)


def arms_by_task(frame: Frame, evidence: Evidence | None = None) -> Table:
    """The same per task, as the paper's Table 17."""
    return _arms(frame, task_columns(frame), f"{frame.sweep.name}: arms by task", evidence)


def arms_by_language(frame: Frame, evidence: Evidence | None = None) -> Table | None:
    """The languages other than English that any task scores, or None where there is none."""
    columns = language_columns(frame)
    return _arms(frame, columns, f"{frame.sweep.name}: arms by language", evidence) if columns else None


def _arms(frame: Frame, columns: tuple[Column, ...], title: str, evidence: Evidence | None) -> Table:
    marked = differing_settings(frame)
    base = frame.of_arm(frame.sweep.baseline)
    findings = find(evidence, columns) if evidence is not None else None
    rows = []
    for arm in frame.arm_names:
        runs = frame.of_arm(arm)
        kind: Literal["baseline", "arm"] = "baseline" if arm == frame.sweep.baseline else "arm"
        effects: tuple[Effect, ...] = ()
        if kind == "arm":
            effects = tuple(_effect(findings, arm, column, runs, base, frame.sweep.primary) for column in columns)
        best = findings.best if findings else frozenset()
        cells = tuple(replace(over_seeds(column, runs), best=(arm, column.key) in best) for column in columns)
        rows.append(Row(arm, kind, cells, effects, "‡" if arm in marked else ""))
    titles = tuple(column.title for column in columns)
    notes = [*_footnotes(frame), *(statistics_notes(frame, findings) if findings else []), *_reasons(frame, marked)]
    return Table(title, frame.sweep.question, titles, tuple(rows), tuple(notes))


def _effect(
    findings: Findings | None, arm: str, column: Column, runs: Iterable[Run], base: Iterable[Run], primary: str
) -> Effect:
    found = findings.estimates.get((arm, column.key)) if findings else None
    if findings is None or isinstance(found, Untestable):
        plain = difference(column, runs, base)
        return replace(plain, untested=found.why) if isinstance(found, Untestable) and plain.delta is not None else plain
    if found is None:
        return Effect(None, why="incomplete")
    starred = column.key == primary and findings.adjusted.get(arm, 1.0) < ALPHA
    return Effect(found.delta, found.half, "*" if starred else "")


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


def _footnotes(frame: Frame) -> list[str]:
    sweep = frame.sweep
    seeds = sorted({run.seed for run in frame.runs if run.seed is not None})
    notes = [
        f"{sweep.name}@{sweep.id}: points (0 to 100), mean over seeds {', '.join(map(str, seeds))} with its range.",
        f"Δ is the difference to {sweep.baseline}, paired by seed and item. Numbers in the header count data sets.",
    ]
    if any("quick" in task.lower() for task in frame.suite):
        notes.append(f"Scores are on the {QUICK}.")
    return notes


def statistics_notes(frame: Frame, findings: Findings) -> list[str]:
    """What the intervals are: level, assumptions, the family, and what the design could have found."""
    sweep = frame.sweep
    found = [e for e in findings.estimates.values() if isinstance(e, Estimate)]
    notes = []
    if found and all(e.about == "this checkpoint" for e in found):
        notes.append("± is a 95 % interval over items for this checkpoint; it says nothing about other seeds.")
    elif found:
        notes.append(
            f"± is a nominal 95 % interval over seeds and items, on this benchmark; its simulated level is at least "
            f"{100 * findings.level():.1f} %. Seed noise is taken as equal in all arms unless one is plainly noisier."
        )
    if findings.adjusted:
        notes.append(
            f"* differs from {sweep.baseline} on the primary ({sweep.primary}) after Holm's correction over the family "
            f"({', '.join(findings.adjusted)}); every other comparison is exploratory and carries no star."
        )
    primary = [e.detectable for (_, key), e in findings.estimates.items() if key == sweep.primary and isinstance(e, Estimate)]
    if primary:
        notes.append(
            f"This design finds a true difference of {min(primary):.1f} to {max(primary):.1f} points on the primary with 80 % "
            "probability (before correction); smaller ones it mostly misses."
        )
    if findings.best:
        notes.append("Bold: not distinguishable from the best arm of the column (Holm).")
    untested = {f.why for f in findings.estimates.values() if isinstance(f, Untestable) and f.why != "incomplete"}
    notes += [f"not testable: {why}" for why in sorted(untested)]
    if sweep.conditional:
        notes.append(f"Intervals are conditional on: {sweep.conditional}")
    return notes


def _reasons(frame: Frame, marked: dict[str, str]) -> list[str]:
    sweep = frame.sweep
    notes = [f"‡ {arm} ran on other: {difference}" for arm, difference in marked.items()]
    for run in frame.runs:
        if run.missing:
            reasons = "; ".join(f"{task}: {why}" for task, why in run.missing.items())
            notes.append(f"incomplete: {run.arm} seed {run.seed} lacks {len(run.missing)} of its tasks ({reasons})")
    notes += [f"assumed: {note}" if not note.startswith("assumed") else note for note in sweep.notes]
    arms = described(frame)
    notes += [f"{name}: {arms[name].description or ' '.join(arms[name].overrides)}" for name in frame.arm_names if name in arms]
    return notes
