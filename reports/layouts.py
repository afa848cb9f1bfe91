"""Which columns a table has: the paper's tables and the generic ones, one function each.

A layout is a choice of columns; rows, intervals and formats are the same for all. `conf/sweep/<question>.yaml` names one in
`table`, `reports table --layout` overrides it. Table 7 also pairs its rows (`tables.with_and_without`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from harness.config import ConfigError, Problem, nearest
from harness.tasks.passkey import PREFIX
from reports.frame import Frame
from reports.means import Column, cells_by_language, language_columns, task_columns, type_columns

HIGH = {"eng": "en", "fra": "fr", "spa": "es", "rus": "ru"}
LOW = {"tel": "te", "hin": "hi", "ben": "bn", "swa": "sw"}
"""Table 2's high- and low-resource languages, by the number of candidate documents; mteb's codes to the paper's."""
TWO_LETTERS = HIGH | LOW | {
    "ara": "ar", "deu": "de", "fas": "fa", "fin": "fi", "ind": "id", "jpn": "ja", "kor": "ko", "tha": "th", "yor": "yo",
    "zho": "zh", "cmn": "zh",
}  # fmt: skip


def bitext(frame: Frame) -> tuple[Column, ...]:
    """Table 4: one column per bitext mining task, a mean over its language pairs; BUCC by the paper's name."""
    kinds = frame.task_types
    return tuple(
        Column(task, {"BUCC.v2": "BUCC 2018"}.get(task, task), (task,))
        for task in frame.suite
        if kinds.get(task) == "BitextMining"
    )


def by_length(frame: Frame) -> tuple[Column, ...]:
    """Figure 5: top-1 accuracy by the length of the documents that hide a pass key."""
    return tuple(Column(task, task.removeprefix(PREFIX), (task,)) for task in frame.suite if task.startswith(PREFIX))


def high_and_low(frame: Frame) -> tuple[Column, ...]:
    """Table 2: retrieval by language, and the means of the high- and of the low-resource languages."""
    cells = cells_by_language(frame, "Retrieval")
    columns = []
    for name, group in (("high-resource", HIGH), ("low-resource", LOW)):
        present = {code: cells[code] for code in group if code in cells}
        columns += [Column(f"language:{code}", group[code], (), found) for code, found in present.items()]
        if present:
            columns.append(Column(name, f"{name} avg", (), tuple(cell for found in present.values() for cell in found)))
    return tuple(columns)


def every_language(frame: Frame) -> tuple[Column, ...]:
    """Table 6: retrieval in every language by nDCG@10, then by Recall@100, each with its mean."""
    cells = cells_by_language(frame, "Retrieval")
    columns = []
    for metric, short in (("ndcg_at_10", "nDCG@10"), ("recall_at_100", "R@100")):
        for code, found in cells.items():
            columns.append(Column(f"{metric}:{code}", f"{TWO_LETTERS.get(code, code)} {short}", (), found, metric))
        every = tuple(cell for found in cells.values() for cell in found)
        columns.append(Column(f"{metric}:mean", f"Avg {short}", (), every, metric))
    return tuple(columns)


LAYOUTS: Mapping[str, Callable[[Frame], tuple[Column, ...]]] = {
    "task_types": type_columns,
    "T1": type_columns,
    "T5": type_columns,
    "T7": type_columns,
    "tasks": task_columns,
    "T17": task_columns,
    "languages": language_columns,
    "bitext": bitext,
    "T4": bitext,
    "T2": high_and_low,
    "T6": every_language,
    "Fig5": by_length,
}


def heading(layout: str) -> str:
    """What a table of this layout is called: `arms by task types`, or by the paper's number."""
    kind = {"T": "Table", "Fig": "Figure"}.get(layout.rstrip("0123456789"))
    number = layout.lstrip("TFig")
    return f"arms as in the paper's {kind} {number}" if kind and number else f"arms by {layout.replace('_', ' ')}"


def columns_of(frame: Frame, layout: str) -> tuple[Column, ...]:
    """The columns of a layout, and the primary score if it has no column of its own there.

    Raises ConfigError naming the layout, or the column that no record has.
    """
    if layout not in LAYOUTS:
        raise ConfigError([Problem("table", f"{layout!r} is no layout{nearest(layout, LAYOUTS)}")])
    columns = LAYOUTS[layout](frame)
    if not columns:
        raise ConfigError([Problem("table", f"{frame.sweep.name} has no scores for layout {layout!r}")])
    if frame.sweep.primary in {column.key for column in columns}:
        return columns
    return (*columns, *(column for column in known_columns(frame) if column.key == frame.sweep.primary))


def known_columns(frame: Frame) -> tuple[Column, ...]:
    """Every column a primary may name: types, the mean, tasks, languages."""
    return (*type_columns(frame), *task_columns(frame), *language_columns(frame))
