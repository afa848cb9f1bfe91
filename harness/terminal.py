"""Tables and texts of the small commands (`harness.store`, `sweeps status`, `sweeps doctor`), safe to print.

A terminal gets a drawn table; a pipe gets aligned columns that `grep` and `awk` read. Whatever comes from outside (error
messages, arm names, folder names) is made visible first, so that no text moves a cursor or opens a link.

Not here: score tables, which are `reports`' business.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from harness.inert import visible

_MARKDOWN = re.compile(r"([\\`*_\[\]|~$<>&@#!])")


@contextmanager
def printing() -> Iterator[None]:
    """A reader that has seen enough (`| head`) ends the command, without a traceback."""
    try:
        yield
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(0) from None


def show(head: Sequence[str], rows: Sequence[Sequence[str]], title: str = "") -> None:
    """Print a table: drawn on a terminal, aligned columns elsewhere."""
    cells = [[visible(cell) for cell in row] for row in rows]
    if sys.stdout.isatty():
        _draw(head, cells, title)
        return
    if title:
        print(visible(title))
    widths = [max(len(row[column]) for row in [list(head), *cells]) for column in range(len(head))]
    for row in [list(head), *cells]:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def _draw(head: Sequence[str], cells: Sequence[Sequence[str]], title: str) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(title=Text(visible(title)) if title else None, title_justify="left")
    for name in head:
        table.add_column(name, overflow="fold")
    for row in cells:
        table.add_row(*(Text(cell) for cell in row))
    Console().print(table)


def markdown(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """The table in Markdown; no cell can end its row or turn into a link."""
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    lines += ["| " + " | ".join(_MARKDOWN.sub(r"\\\1", visible(cell)) for cell in row) + " |" for row in rows]
    return "\n".join(lines)


def size(count: float) -> str:
    """Bytes for people: `3.2 MB`, powers of 1,000."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"


def duration(seconds: float) -> str:
    """Seconds for people: `42.1 s`, `7 min 30 s`, `3 h 20 min`."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    return f"{minutes // 60} h {minutes % 60} min"
