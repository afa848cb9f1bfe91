"""Two runs side by side: what differs in configuration, what that did, which items moved, what it cost."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from harness.record import RECORD_FILE, read_record
from harness.scores import SubsetScore
from harness.sweep_record import ArmRecord
from reports import cost, inert, render
from reports.comparable import flat
from reports.effects import POINTS, Evidence, Untestable, paired_runs
from reports.frame import Frame, Run
from reports.load import RunError
from reports.means import task_columns, type_columns
from reports.notes import number
from reports.tables import Table, arms_table
from reports.texts import Name, texts_for
from reports.units import Units

MOVED = 20
EXCERPT = 240
ByCell = Mapping[tuple[str, str], tuple[Units, ...]]


@dataclass(frozen=True)
class Grid:
    """A small table of texts."""

    title: str
    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class Comparison:
    """The sections of a comparison, in order."""

    configuration: Grid
    effects: tuple[Table, ...]
    moved: Grid
    cost: tuple[Grid, ...]

    def text(self, form: str) -> str:
        """The comparison for a terminal or as Markdown."""
        grids = (self.configuration, self.moved, *self.cost)
        if form == "md":
            tables = [render.markdown(table) for table in self.effects]
            return "\n".join([_markdown(grids[0]), *tables, *(_markdown(grid) for grid in grids[1:])])
        return _terminal(grids[0]) + render.terminal_text(self.effects) + "".join(_terminal(grid) for grid in grids[1:])


def side_by_side(left: Frame, right: Frame) -> Frame:
    """One frame with two arms, the left one as baseline; raises RunError where both are the same arm of the same sweep."""
    names = [_name(frame, left.runs[0].arm == right.runs[0].arm) for frame in (left, right)]
    if names[0] == names[1]:
        raise RunError(f"{names[0]} is compared with itself")
    runs = tuple(replace(run, arm=name) for name, frame in zip(names, (left, right), strict=True) for run in frame.runs)
    arms = tuple(ArmRecord(name, (), "") for name in names)
    question = f"{names[1]} against {names[0]}"
    sweep = replace(left.sweep, baseline=names[0], family=(), arms=arms, question=question, notes=(), reference=None)
    return Frame(sweep, left.store, runs)


def _name(frame: Frame, alike: bool) -> str:  # noqa: FBT001 - read once, just above
    arm = frame.runs[0].arm
    return f"{frame.sweep.name}@{frame.sweep.id[:8]}:{arm}" if alike else arm


def compare_runs(left: Frame, right: Frame, noise: Frame | None = None, data: Path | None = None) -> Comparison:
    """Everything that `reports compare` prints; `noise` is the whole sweep where both are arms of one.

    Words of items come from `data`, the folder that was evaluated, where they do not ship with us.
    """
    both = side_by_side(left, right)
    evidence = Evidence(both, noise)
    types = arms_table(both, type_columns(both), "Effects by task type", evidence)
    tasks = replace(arms_table(both, task_columns(both), "Effects by task", evidence), question="", footnotes=())
    heads = both.arm_names
    return Comparison(
        Grid("Configuration that differs", ("where", *heads), tuple(configuration(left, right))),
        (types, tasks),
        Grid(
            f"The {MOVED} items that moved most (points, mean over seeds)",
            ("task", "item", "Δ", "text"),
            tuple(moved(evidence, data)),
        ),
        (
            Grid("Seconds by step, mean over seeds", ("step", *heads), tuple(cost.seconds(left, right))),
            Grid("Work, mean over seeds, shared steps included", ("what", *heads), tuple(cost.work(left, right))),
        ),
    )


def configuration(left: Frame, right: Frame) -> Iterator[tuple[str, str, str]]:
    """Leaves of the steps' specs that differ; a leaf that differs in all evaluations alike is said once."""
    specs = [_specs(frame) for frame in (left, right)]
    for key in sorted(specs[0].keys() | specs[1].keys()):
        a, b = specs[0].get(key), specs[1].get(key)
        if a != b:
            yield key, _shown(a), _shown(b)


def _specs(frame: Frame) -> dict[str, object]:
    first = frame.runs[0]
    run = next((one for one in frame.sweep.runs if (one.arm, one.seed) == (first.arm, first.seed)), None)
    if run is None:  # published results: how they were made is not on this machine
        return {}
    found: dict[str, object] = {}
    for label, ref in run.steps.items():
        path = frame.store / ref.step / ref.fingerprint / RECORD_FILE
        if path.is_file():
            for key, value in flat(read_record(path).spec):
                own_task = label.startswith("evaluate/") and key.startswith("task.")
                found[f"{label if own_task else label.split('/')[0]}: {key}"] = value
    return found


def _shown(value: object) -> str:
    text = "absent" if value is None else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else f"{text[:57]}..."


def moved(evidence: Evidence, data: Path | None = None) -> list[tuple[str, str, str, str]]:
    """The items whose contribution changed most, over all tasks whose items pair, with their words where they are here."""
    frame = evidence.frame
    base, other = frame.arm_names
    mine, theirs = paired_runs(frame.of_arm(other), frame.of_arm(base))
    found: list[tuple[float, str, Name]] = []
    for task in frame.suite:
        if any(task not in run.tasks for run in (*mine, *theirs)):
            continue
        sides = [[evidence.units(run.tasks[task], "") for run in runs] for runs in (mine, theirs)]
        for cell in mine[0].tasks[task].scores.subsets if mine else ():
            whole = _main(mine, task, cell) - _main(theirs, task, cell)
            changes = _changes(sides, (cell.split, cell.subset), whole)
            found += [(change, task, (cell.split, cell.subset, item)) for item, change in changes.items()]
    found.sort(key=lambda row: (-abs(row[0]), row[1:]))
    del found[MOVED:]
    texts = {
        task: texts_for(mine[0].tasks[task], [name for _, one, name in found if one == task], data)
        for task in dict.fromkeys(task for _, task, _ in found)
    }
    return [
        (task, f"{name[1]}/{name[2]}", number(change, sign=True), _excerpt(texts[task][name])) for change, task, name in found
    ]


def _excerpt(text: str) -> str:
    return text if len(text) <= EXCERPT else text[: EXCERPT - 1] + "…"


def _changes(sides: list[list[ByCell | Untestable]], cell: tuple[str, str], whole: float) -> dict[str, float]:
    """Change of every item in points, mean over seeds; empty where items do not pair or are samples.

    What an item contributes is its influence and the score itself: for a mean over items that is the item's own value.
    """
    units = []
    for side in sides:
        for one in side:
            if isinstance(one, Untestable) or cell not in one or one[cell][0].kind != "item":
                return {}
            units.append(one[cell][0])
    if any(one.names != units[0].names for one in units):
        return {}
    half = len(units) // 2
    values = [np.mean([one.values for one in part], axis=0) for part in (units[:half], units[half:])]
    return dict(zip(units[0].names, whole + POINTS * (values[0] - values[1]), strict=True))


def _main(runs: tuple[Run, ...], task: str, cell: SubsetScore) -> float:
    """A cell's main score in points, mean over seeds."""
    found = [s.main for run in runs for s in run.tasks[task].scores.subsets if (s.split, s.subset) == (cell.split, cell.subset)]
    return POINTS * sum(found) / len(found)


def _markdown(grid: Grid) -> str:
    lines = [f"**{inert.markdown(grid.title)}**", "", "| " + " | ".join(map(inert.markdown, grid.head)) + " |"]
    lines.append("|" + " --- |" * len(grid.head))
    lines += ["| " + " | ".join(map(inert.markdown, row)) + " |" for row in grid.rows]
    return "\n".join(lines) + "\n"


def _terminal(grid: Grid) -> str:
    from rich.console import Console
    from rich.table import Table as RichTable
    from rich.text import Text

    table = RichTable(title=Text(inert.visible(grid.title)), title_justify="left")
    for head in grid.head:
        table.add_column(Text(inert.visible(head)), overflow="fold")
    for row in grid.rows:
        table.add_row(*(Text(inert.visible(cell)) for cell in row))
    buffer = io.StringIO()
    Console(file=buffer, width=140).print(table)
    return buffer.getvalue() + "\n"
