"""The text behind an item's name, where it can be found on this machine.

The quick benchmark ships with us. Texts of other tasks belong to others and are not stored with scores: they are read from the
data folder that was evaluated (`--data`), by a program that loads them as mteb does; without it, that is said.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path

from harness.item_texts import ItemTextsError, ask
from harness.record import RECORD_FILE, read_record
from harness.tasks import quick
from reports.frame import Evaluated

Name = tuple[str, str, str]
"""Split, subset, item."""


def texts_for(done: Evaluated, names: Iterable[Name], data: Path | None) -> dict[Name, str]:
    """A text for every item of one evaluation: its words, or in brackets why they are not here."""
    task, names = done.scores.task, tuple(names)
    if task in quick.TASKS:
        return {name: texts_of(task, name[1]).get(name[2], "(no such item)") for name in names}
    if data is None or done.folder is None:
        return dict.fromkeys(names, "(its words: --data DIR, the folder that was runtime.data)")
    spec = read_record(done.folder / RECORD_FILE).spec["task"]
    try:
        found = ask(spec, data, ("/".join(name) for name in names))
    except ItemTextsError as error:
        return dict.fromkeys(names, f"({error})")
    return {name: found.get("/".join(name), "(no such item)") for name in names}


@cache
def texts_of(task: str, subset: str) -> Mapping[str, str]:
    """Texts by item name of one cell of a quick task; empty for every other task."""
    if task not in quick.TASKS:
        return {}
    kind = quick.TASKS[task].task_type
    if kind == "Retrieval":
        return {row["_id"]: row["text"] for row in _rows("retrieval/queries.jsonl")}
    rows = _rows(quick.TASKS[task].files[0])
    if kind == "Reranking":
        return {f"q{i:03d}": row["query"] for i, row in enumerate(rows)}
    if kind == "Classification":
        rows = [row for row in rows if row["split"] == "test"]
    if kind == "BitextMining":
        rows = [row for row in rows if row["languages"] == subset]
    return {str(i): _text(row) for i, row in enumerate(rows)}


def _rows(name: str) -> list[dict[str, str]]:
    lines = (quick.FOLDER / name).read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines if line.strip()]


def _text(row: Mapping[str, str]) -> str:
    return row["text"] if "text" in row else f"{row['sentence1']} | {row['sentence2']}"
