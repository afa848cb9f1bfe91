"""The text behind an item's name, where it can be found on this machine: the quick benchmark ships with us.

Other tasks' texts belong to others and are not stored with scores; for them a name is all there is, and that is said.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache

from harness.tasks import quick


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
