"""Which task types differ beyond chance between two rows: differs, not shown to differ, or not testable.

Springer et al. (arXiv 2509.06184) found that gains of synthetic data are sparse and trade task types against each other;
`reports types` asks that of the paper's own Table 17, and of our runs. Holm over the task types that can be tested.
"""

from __future__ import annotations

from collections.abc import Iterable

from reports.effects import Evidence, Untestable, compare_arms
from reports.frame import Frame
from reports.means import type_columns
from reports.statistics import ALPHA, Estimate, holm
from reports.tables import Cell, Effect, Row, Table


def types_table(frame: Frame) -> Table:
    """One row per task type: both scores, the difference with its interval, and a verdict after Holm's correction."""
    evidence = Evidence(frame)
    base, other = frame.arm_names
    columns = type_columns(frame)
    found = {column.key: compare_arms(evidence, column, other, base) for column in columns}
    tested = {key: one for key, one in found.items() if isinstance(one, Estimate) and key != columns[-1].key}
    adjusted = holm({key: one.p for key, one in tested.items()})
    rows = []
    for column in columns:
        runs = [frame.of_arm(arm) for arm in (base, other)]
        means = [[score for run in side if (score := column.score(run)) is not None] for side in runs]
        cells = tuple(Cell(sum(m) / len(m)) if m else Cell(None, why="incomplete") for m in means)
        verdict = _verdict(found[column.key], adjusted.get(column.key))
        rows.append(Row(f"{column.title}", "reference", (*cells, _cell(found[column.key]), Cell(None, why=verdict))))
    note = f"Interval: over {_over(found.values())}. Verdict: Holm over the {len(tested)} task types that can be tested."
    return Table(f"{other} against {base}", "", (base, other, "Δ", "verdict"), tuple(rows), (note,))


def _cell(found: Estimate | Untestable) -> Cell:
    from reports.render import effect_text

    if isinstance(found, Untestable):
        return Cell(None, why="n.t.")
    return Cell(None, why=effect_text(Effect(found.delta, found.half)))


def _verdict(found: Estimate | Untestable, adjusted: float | None) -> str:
    if isinstance(found, Untestable):
        return f"not testable: {found.why}"
    if adjusted is None:
        return "the mean over all, for orientation"
    return "differs" if adjusted < ALPHA else "not shown to differ"


def _over(found: Iterable[Estimate | Untestable]) -> str:
    kinds = {one.about for one in found if isinstance(one, Estimate)}
    return " / ".join(sorted(kinds)) or "nothing"
