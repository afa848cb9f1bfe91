"""The text behind an item's name, where it can be found on this machine.

The quick benchmark ships with us. Texts of other tasks belong to others and are not stored with scores: they are read from the
data folder that was evaluated (`--data`), by a program that loads them as mteb does; without it, that is said.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from harness.record import RECORD_FILE, read_record
from harness.tasks import quick
from reports.frame import Evaluated

SECONDS = 180
MARK = "item texts: "
Name = tuple[str, str, str]
"""Split, subset, item."""


class NoTextsError(RuntimeError):
    """The texts cannot be had; says why."""


def texts_for(done: Evaluated, names: Iterable[Name], data: Path | None) -> dict[Name, str]:
    """A text for every item of one evaluation: its words, or in brackets why they are not here."""
    task, names = done.scores.task, tuple(names)
    if task in quick.TASKS:
        return {name: texts_of(task, name[1]).get(name[2], "(no such item)") for name in names}
    if data is None or done.folder is None:
        return dict.fromkeys(names, "(its words: --data DIR, the folder that was runtime.data)")
    spec = read_record(done.folder / RECORD_FILE).spec["task"]
    try:
        found = ask(spec, data.resolve(), ("/".join(name) for name in names))
    except NoTextsError as error:
        return dict.fromkeys(names, f"({error})")
    return {name: found.get("/".join(name), "(no such item)") for name in names}


def ask(task: Mapping[str, Any], data: Path, items: Iterable[str]) -> dict[str, str]:
    """Texts by `split/subset/item` from `harness.item_texts`; raises NoTextsError with what it said."""
    request = json.dumps({"task": task, "data": str(data), "items": list(items)})
    command = [sys.executable, "-m", "harness.item_texts"]
    home = Path(__file__).parents[1]
    try:
        done = subprocess.run(
            command, input=request, capture_output=True, text=True, timeout=SECONDS, check=False, cwd=home
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        raise NoTextsError(f"loading {task.get('name')} took longer than {SECONDS} s") from None
    answer = next((line for line in done.stdout.splitlines() if line.startswith(MARK)), None)
    if answer is None:
        last = done.stderr.strip().splitlines()[-1:]
        raise NoTextsError(" ".join(last)[:200] or f"exit code {done.returncode}")
    found: dict[str, str] = json.loads(answer.removeprefix(MARK))
    return found


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
