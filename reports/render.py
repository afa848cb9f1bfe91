"""A table in each format: terminal (rich), Markdown, CSV; LaTeX and HTML stand in `latex.py` and `html.py`.

Every text passes through `inert.py`. An arm takes two lines: its values with their range over seeds, and its differences to
the baseline with their intervals.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable
from typing import TYPE_CHECKING

from reports import inert
from reports.notes import number
from reports.tables import Cell, Effect, Row, Table

if TYPE_CHECKING:
    from rich.console import RenderableType


def cell_text(cell: Cell) -> str:
    """`61.2` or what is missing."""
    return number(cell.value) if cell.value is not None else cell.why or "n/a"


def range_text(cell: Cell) -> str:
    """`60.8…61.6`, or nothing for one seed."""
    if cell.low is None or cell.high is None or cell.low == cell.high:
        return ""
    return f"{number(cell.low)}…{number(cell.high)}"


def effect_text(effect: Effect) -> str:
    """`-0.8 ±1.1*`, `-0.8 n.t.` where no interval is testable, or why there is no difference."""
    if effect.delta is None:
        return effect.why
    half = " n.t." if effect.untested else "" if effect.half is None else f" ±{number(effect.half)}"
    return f"{number(effect.delta, sign=True)}{half}{effect.mark}"


def lines_of(row: Row) -> list[tuple[str, list[str]]]:
    """The printed lines of a row: values, range over seeds, differences; empty lines are left out."""
    label = f"{row.group}: {row.label}" if row.group else row.label
    lines = [(label + row.note, [cell_text(cell) for cell in row.cells])]
    ranges = [range_text(cell) for cell in row.cells]
    if any(ranges):
        lines.append(("  range over seeds", ranges))
    if any(effect.delta is not None for effect in row.effects):
        lines.append(("  Δ", [effect_text(effect) for effect in row.effects]))
    return lines


def terminal(table: Table) -> RenderableType:
    """A rich renderable; texts are `Text` objects, never markup."""
    from rich.console import Group
    from rich.table import Table as RichTable
    from rich.text import Text

    grid = RichTable(title=Text(inert.visible(table.title)), title_justify="left", pad_edge=False, padding=(0, 1, 0, 0))
    grid.add_column("arm", no_wrap=True)
    for column in table.columns:
        grid.add_column(Text(inert.visible(column)), justify="right")
    for position, row in enumerate(table.rows):
        following = table.rows[position + 1].kind if position + 1 < len(table.rows) else ""
        ruled = row.kind != "reference" or following != "reference"
        for index, (label, texts) in enumerate(lines_of(row)):
            style = "bold" if row.kind == "baseline" and index == 0 else "dim" if label.strip().startswith("range") else ""
            cells = [Text(inert.visible(text), style=_style(row, index, i)) for i, text in enumerate(texts)]
            grid.add_row(Text(inert.visible(label), style=style), *cells, end_section=ruled and index == len(lines_of(row)) - 1)
    notes = [Text(inert.visible(note), style="dim") for note in table.footnotes]
    head = [Text(inert.visible(text), style) for text, style in ((table.question, "italic"), (table.answer, "bold")) if text]
    return Group(*head, grid, *notes)


def _style(row: Row, line: int, column: int) -> str:
    if line == 0:
        return "bold" if row.cells[column].best else ""
    return "dim" if line == 1 and row.kind != "reference" and range_text(row.cells[column]) else ""


def terminal_text(tables: Iterable[Table], width: int | None = None) -> str:
    """What the terminal shows, as wide as the terminal, or as the table needs when it is not a terminal."""
    import shutil
    import sys

    from rich.console import Console

    buffer = io.StringIO()
    tty = sys.stdout.isatty()
    wide = width or (shutil.get_terminal_size().columns if tty else 200)
    console = Console(file=buffer, width=wide, force_terminal=tty, legacy_windows=False)
    for table in tables:
        console.print(terminal(table))
        console.print()
    return buffer.getvalue()


def markdown(table: Table) -> str:
    """GitHub's table syntax."""
    head = ["", *(inert.markdown(column) for column in table.columns)]
    lines = [f"**{inert.markdown(table.title)}**", ""]
    lines += [line for text in (table.question, table.answer) if text for line in (inert.markdown(text), "")]
    lines += [_pipe(head), _pipe(["---", *["---:"] * len(table.columns)])]
    for row in table.rows:
        for index, (label, texts) in enumerate(lines_of(row)):
            cells = [inert.markdown(text) for text in texts]
            if index == 0:
                cells = [f"**{text}**" if row.cells[i].best else text for i, text in enumerate(cells)]
            name = inert.markdown(label.strip())
            lines.append(_pipe([f"**{name}**" if row.kind == "baseline" and index == 0 else name, *cells]))
    return "\n".join([*lines, "", *(f"- {inert.markdown(note)}" for note in table.footnotes)]) + "\n"


def _pipe(cells: list[str]) -> str:
    return "| " + " | ".join(cells) + " |"


CSV_COLUMNS = ("table", "row", "kind", "column", "value", "low", "high", "delta", "half_width", "mark", "best", "note")


def as_csv(tables: Iterable[Table]) -> str:
    """Long format, one row per cell, numbers unrounded."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(CSV_COLUMNS)
    for table in tables:
        for row in table.rows:
            for index, (column, cell) in enumerate(zip(table.columns, row.cells, strict=True)):
                effect = row.effects[index] if row.effects else Effect(None)
                numbers = [cell.value, cell.low, cell.high, effect.delta, effect.half]
                names = [inert.csv(text) for text in (table.title, row.label, row.kind, column)]
                texts = ["" if value is None else f"{value:.10g}" for value in numbers]
                writer.writerow([*names, *texts, effect.mark, int(cell.best), inert.csv(cell.why or effect.why)])
    return out.getvalue()
