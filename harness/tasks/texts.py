"""The texts a task is judged on: what training data must not hold.

Of a ranking task the queries and the documents judged relevant: the rest of a corpus is everybody's Wikipedia. Of all others
every text of the evaluated split; the training rows of a classifier are not judged. Read through mteb's own loading, so that
they are the rows that are scored. Not here: whether a training pair holds one (`generators.contamination`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from harness.items import RANKING
from harness.tasks import HUB, TaskSpec
from harness.tasks.capture import Capture, split_data
from harness.tasks.isolate import isolated

COLUMNS = {
    "Classification": ("input_column_name",),
    "MultilabelClassification": ("input_column_name",),
    "Clustering": ("input_column_name",),
    "PairClassification": ("input1_column_name", "input2_column_name"),
    "Summarization": ("text_column_name", "human_summaries_column_name", "machine_summaries_column_name"),
}
"""Attributes of mteb's task classes that name the columns with texts."""


class JudgedText(NamedTuple):
    """One text of a task."""

    part: str
    """`query`, `document`, or the name of its column."""
    name: str
    """Split, subset, and its id in the data or its row."""
    text: str


def judged_texts(spec: TaskSpec, data_root: str | None) -> Iterator[JudgedText]:
    """Every text, split by split; raises what loading the task's data raises."""
    from harness.evaluate import fresh_task

    with isolated(spec.mteb, offline=spec.data != HUB):
        task = fresh_task(spec, data_root, Capture())
        task.load_data()
        for split in spec.splits:
            for subset in spec.subsets:
                yield from _cell(task, spec.task_type, split, subset)


def _cell(task: Any, task_type: str, split: str, subset: str) -> Iterator[JudgedText]:
    if task_type in RANKING:
        yield from _ranking(split_data(task, (split, subset)), f"{split}/{subset}")
        return
    if getattr(task, "parallel_subsets", False):
        data, columns = task.dataset[split], tuple(subset.split("-"))
    else:
        data, columns = split_data(task, (split, subset)), _columns(task, task_type)
    for column in columns:
        for row, value in enumerate(data[column]):
            yield from (JudgedText(column, name, text) for name, text in _flat(f"{split}/{subset}/{row}", value))


def _columns(task: Any, task_type: str) -> tuple[str, ...]:
    if task_type == "BitextMining":
        return ("sentence1", "sentence2")
    if task_type == "STS":
        return tuple(task.column_names)
    return tuple(getattr(task, name) for name in COLUMNS[task_type])


def _flat(name: str, value: Any) -> Iterator[tuple[str, str]]:
    """The texts in a cell: one, or a list (clusterings, summaries and the pairs of mteb 1 have one row of many)."""
    if isinstance(value, str):
        yield name, value
    else:
        for i, part in enumerate(value):
            yield from _flat(f"{name}:{i}", part)


def _ranking(data: Mapping[str, Any], cell: str) -> Iterator[JudgedText]:
    for row in data["queries"]:
        yield from (JudgedText("query", f"{cell}/{row['id']}", text) for text in _conversation(row["text"]))
    relevant = {document for judged in data["relevant_docs"].values() for document, grade in judged.items() if grade > 0}
    for row in data["corpus"]:
        if row["id"] in relevant:
            yield JudgedText("document", f"{cell}/{row['id']}", " ".join(filter(None, (row.get("title"), row["text"]))))


def _conversation(text: Any) -> Iterator[str]:
    """A query is a text, or the turns of a conversation."""
    for turn in [text] if isinstance(text, str) else text:
        yield turn if isinstance(turn, str) else str(turn["content"])
