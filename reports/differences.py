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
        delta = cells[1].value - cells[0].value if cells[0].value is not None and cells[1].value is not None else None
        texts = (_effect(found[column.key], delta), _verdict(column.title, found[column.key], adjusted.get(column.key)))
        rows.append(Row(column.title, "reference", (*cells, *(Cell(None, why=text) for text in texts))))
    note = f"Interval: over {_over(found.values())}. Verdict: Holm over the {len(tested)} task types that can be tested."
    return Table(f"{other} against {base}", "", (base, other, "Δ", "verdict"), tuple(rows), (note,))


def _effect(found: Estimate | Untestable, delta: float | None) -> str:
    from reports.render import effect_text

    if isinstance(found, Untestable):
        return effect_text(Effect(delta, why="n.t.", untested=found.why))
    return effect_text(Effect(found.delta, found.half))


def _verdict(title: str, found: Estimate | Untestable, adjusted: float | None) -> str:
    if isinstance(found, Untestable):
        return f"not testable: {found.why.removeprefix(f'{title}: ')}"
    if adjusted is None:
        return "the mean over all, for orientation"
    return "differs" if adjusted < ALPHA else "not shown to differ"


def _over(found: Iterable[Estimate | Untestable]) -> str:
    kinds = {one.about for one in found if isinstance(one, Estimate)}
    return " / ".join(sorted(kinds)) or "nothing"
