"""The words behind item names of a task, read through mteb's own loading, so that they are those that were scored.

A program of its own (`python -m harness.item_texts`, request and answer as JSON): `reports.texts` asks it, because reports
import neither mteb nor torch. Data that are not the bytes the scores came from are refused: other rows would put other words
beside a number. Not here: the quick benchmark's texts, which reports read themselves.
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.config import ConfigError, decode
from harness.identity import folder_digest
from harness.items import RANKING
from harness.tasks import HUB, TaskSpec

MARK = "item texts: "
BETWEEN = " | "


class ItemTextsError(RuntimeError):
    """The texts cannot be had; says why."""


@dataclass(frozen=True)
class Asked:
    """Items of one task, each as `split/subset/item`."""

    task: dict[str, Any]
    """`TaskSpec` as the evaluate step's record holds it."""
    data: str
    """The folder that was `runtime.data`."""
    items: tuple[str, ...]


def find(asked: Asked) -> dict[str, str]:
    """The texts of the items asked for; raises ItemTextsError where the data are not those that were scored."""
    from harness.tasks.texts import judged_texts

    spec = decode(TaskSpec, asked.task)
    if spec.data != HUB:
        folder = Path(asked.data) / spec.dataset
        if not folder.is_dir():
            raise ItemTextsError(f"{folder} does not exist")
        if folder_digest(folder) != spec.data:
            raise ItemTextsError(f"{folder} holds other data than those that were scored")
    wanted, found = set(asked.items), dict[str, list[str]]()
    positions: dict[tuple[str, str], int] = {}
    for text in judged_texts(spec, asked.data):
        cell, _, name = text.name.rpartition("/")
        if spec.task_type in RANKING:
            named = f"{cell}/{name}" if text.part == "query" else ""
        else:  # items are counted; data of mteb 1 have one row that holds them all, so rows cannot be counted
            position = positions[cell, text.part] = positions.get((cell, text.part), -1) + 1
            named = f"{cell}/{position}" if spec.task_type != "Summarization" or text.part == "text" else ""
        if named in wanted:
            found.setdefault(named, []).append(text.text)
    return {name: BETWEEN.join(texts) for name, texts in found.items()}


def main() -> int:
    """Answer one request on stdin."""
    try:
        found = find(decode(Asked, json.loads(sys.stdin.read())))
    except (ItemTextsError, ConfigError) as error:
        print(str(error).replace("\n", "; "), file=sys.stderr)
        return 1
    print(MARK + json.dumps(found))
    return 0


if __name__ == "__main__":
    sys.exit(main())
