"""Tables as data: rows, columns, cells and footnotes, before any format. One function per table.

A cell has a value over seeds with its range, an effect against the baseline, or a reason why it has neither. What is not
complete is shown as not complete. Formats are in `render.py`; statistics in `effects.py`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Literal

from reports import contamination, hits, notes
from reports.effects import Evidence, Findings, Untestable, compare_arms, find
from reports.frame import Frame, Run, described, differing_settings
from reports.layouts import columns_of, heading
from reports.means import Column, language_columns
from reports.reference import Published as PublishedTable
from reports.reference import read_reference
from reports.statistics import ALPHA, Estimate


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
    group: str = ""


@dataclass(frozen=True)
class Table:
    """What a renderer needs, and nothing about how it looks."""

    title: str
    question: str
    columns: tuple[str, ...]
    rows: tuple[Row, ...]
    footnotes: tuple[str, ...]
    answer: str = ""
    """To the question, in one sentence, where the table shows what it is judged by."""


def sweep_tables(frame: Frame, evidence: Evidence, *, layout: str = "", reference: str = "") -> list[Table]:
    """What `reports table` prints of a sweep: the layout asked for (or the sweep's own), languages, what training has seen."""
    layout = layout or frame.sweep.table
    columns = columns_of(frame, layout)
    main = arms_table(frame, columns, f"{frame.sweep.name}: {heading(layout)}", evidence)
    if layout == "T5":
        main = grouped(main, frame)
    if layout == "T7":
        main = with_and_without(main, frame, columns, evidence)
    name = reference or frame.sweep.reference
    if name:
        main = with_reference(main, columns, name)
    languages = language_columns(frame) if layout in ("task_types", "T1", "T5") else ()
    beside = [brief(arms_table(frame, languages, f"{frame.sweep.name}: arms by language", evidence))] if languages else []
    return [main, *beside, *contamination.tables(frame)]


def brief(table: Table) -> Table:
    """A second table of the same sweep: its footnotes stand under the first."""
    return replace(table, question="", footnotes=(), answer="")


def grouped(table: Table, frame: Frame) -> Table:
    """Table 5: arms grouped by what they change, in the order of the sweep."""
    arms = described(frame)
    groups = {name: _changed(arm.overrides) for name, arm in arms.items()}
    order = list(dict.fromkeys(["", *groups.values()]))
    rows = sorted(table.rows, key=lambda row: (row.kind != "baseline", order.index(groups.get(row.label, ""))))
    return replace(table, rows=tuple(replace(row, group=groups.get(row.label, "")) for row in rows))


def _changed(overrides: tuple[str, ...]) -> str:
    """What an arm changes: the keys of its overrides."""
    return ", ".join(dict.fromkeys(override.split("=")[0] for override in overrides))


def with_and_without(table: Table, frame: Frame, columns: tuple[Column, ...], evidence: Evidence) -> Table:
    """Table 7: each arm that switches something off, below it its counterpart that differs in nothing else, and the difference.

    A counterpart shares all other overrides; the baseline is that of an arm with a single one.
    """
    arms, rows = {row.label: row for row in table.rows}, []
    overrides = {name: set(arm.overrides) for name, arm in described(frame).items()}
    for name, mine in overrides.items():
        off = {override for override in mine if override.split("=")[-1] in ("none", "false")}
        other = next((o for o, theirs in overrides.items() if off and theirs == mine - off), None)
        if name not in arms or other not in arms:
            continue
        effects = tuple(
            effect_of(compare_arms(evidence, column, other, name), difference(column, frame.of_arm(other), frame.of_arm(name)))
            for column in columns
        )
        rows += [replace(arms[name], effects=(), kind="baseline"), replace(arms[other], effects=effects, kind="arm")]
    note = "Δ in this table is that of a row to the row above, which lacks one thing."
    return replace(table, rows=tuple(rows), footnotes=(note, *table.footnotes))


def with_reference(table: Table, columns: tuple[Column, ...], name: str) -> Table:
    """The table with the rows of a published one below, matched by heading; what it does not print stays empty."""
    printed = read_reference(name).by_model()
    rows = [
        Row(label, "reference", tuple(_printed(printed, index, column) for column in columns))
        for index, label in enumerate(printed.labels())
    ]
    note = (
        f"Rows below the line: {printed.title}, as published ({printed.source}; {printed.confidence}). "
        "Other models, data and tasks: beside ours for orientation, not compared with ours."
    )
    return replace(table, rows=(*table.rows, *rows), footnotes=(*table.footnotes, note))


def _printed(printed: PublishedTable, row: int, column: Column) -> Cell:
    value = printed.value(row, column.heading)
    return Cell(value, why="" if value is not None else "not printed")


def arms_table(frame: Frame, columns: tuple[Column, ...], title: str, evidence: Evidence | None) -> Table:
    """Baseline first, arms with their differences, over any columns; intervals where there is evidence."""
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
    footnotes = [*notes.about(frame), *(notes.statistics(frame, findings) if findings else []), *notes.reasons(frame, marked)]
    footnotes += [*hits.notes(frame), *contamination.notes(frame)]
    judged = frame.sweep.family and any(column.key == frame.sweep.primary for column in columns)
    answer = notes.verdict(frame, findings) if findings and judged else ""
    return Table(title, frame.sweep.question, titles, tuple(rows), tuple(footnotes), answer)


def _effect(
    findings: Findings | None, arm: str, column: Column, runs: Iterable[Run], base: Iterable[Run], primary: str
) -> Effect:
    plain = difference(column, runs, base)
    if findings is None:
        return plain
    starred = column.key == primary and findings.adjusted.get(arm, 1.0) < ALPHA
    return effect_of(findings.estimates[arm, column.key], plain, "*" if starred else "")


def effect_of(found: Estimate | Untestable, plain: Effect, mark: str = "") -> Effect:
    """What a table shows of an estimate; the plain difference with the reason where nothing is testable."""
    if isinstance(found, Untestable):
        return plain if plain.delta is None else replace(plain, untested=found.why)
    return Effect(found.delta, found.half, mark)


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
