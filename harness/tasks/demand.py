"""How many texts a task asks an encoder for, and how long they are: what a preview counts before anything is loaded.

For our own tasks the files say it exactly. For mteb's, the catalogue holds what `of_statistics` makes of the statistics mteb
publishes: exact where a task asks for all it has, an expectation where it draws (the training rows of a classification). Texts
are counted as asked; the store of embeddings answers some of them, and equal texts are encoded once.

Not here: seconds. They depend on the model and the machine (`sweeps.throughput`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import cache
from typing import Any, NamedTuple

from harness import catalogue
from harness.tasks import TaskSpec, passkey, quick


class Demand(NamedTuple):
    """What one evaluation of a task asks for."""

    texts: int
    characters: int
    """Before any template."""


def demand(spec: TaskSpec) -> Demand | None:
    """Of a planned task, over its splits and subsets; None where mteb publishes no statistics of one of them."""
    if spec.kind == "quick":
        return _quick(spec.name)
    if spec.kind == "passkey":
        made = passkey.make(passkey.making_of(spec.revision))
        texts = (*made.documents, *made.queries)
        return Demand(len(texts), sum(map(len, texts)))
    entry = catalogue.entry(spec.name)
    parts = [_cell(entry, split, spec.subsets) for split in spec.splits]
    known = [part for part in parts if part is not None]
    if len(known) < len(parts):
        return None
    return Demand(sum(part.texts for part in known), sum(part.characters for part in known))


def _cell(entry: catalogue.Entry, split: str, subsets: tuple[str, ...]) -> Demand | None:
    """One split: subset by subset, else their share of the whole; subsets that share training rows ask for them each."""
    cells = [entry.texts.get(f"{split}/{subset}") for subset in subsets]
    known = [cell for cell in cells if cell is not None]
    if len(known) == len(cells):
        return Demand(sum(texts for texts, _ in known), sum(characters for _, characters in known))
    whole = entry.texts.get(split)
    share = len(subsets) / len(entry.subsets)
    return None if whole is None else Demand(round(whole[0] * share), round(whole[1] * share))


@cache
def _quick(name: str) -> Demand:
    """Counted in the files that ship with us."""
    task = quick.TASKS[name]
    rows = [row for file in task.files if file.endswith(".jsonl") for row in quick.read_rows(file)]
    texts = [text for row in rows for text in _TEXTS[task.task_type](row)]
    return Demand(len(texts), sum(map(len, texts)))


_TEXTS: Mapping[str, Callable[[Any], list[str]]] = {
    "Retrieval": lambda row: [row.get("title", "") + row["text"]],
    "Reranking": lambda row: [row["query"], *row["positive"], *row["negative"]],
    "STS": lambda row: [row["sentence1"], row["sentence2"]],
    "PairClassification": lambda row: [row["sentence1"], row["sentence2"]],
    "BitextMining": lambda row: [row["sentence1"], row["sentence2"]],
    "Classification": lambda row: [row["text"]],
    "Clustering": lambda row: [row["text"]],
    "Summarization": lambda row: [*row["human_summaries"], *row["machine_summaries"]],
}
"""What is encoded of a row of ours, by type of task."""


def of_statistics(task: Any, statistics: Mapping[str, Mapping[str, Any]], split: str, subset: str | None) -> Demand | None:
    """What a task of mteb asks for, from its published statistics of a split or one subset of it; None if they lack it."""
    found = _part(statistics, split, subset)
    if found is None or found.get("num_samples") is None:
        return None
    kind = task.metadata.type
    if kind in ("Classification", "MultilabelClassification"):
        trained = _part(statistics, getattr(task, "train_split", "train"), subset)
        return _add(_column(found.get("text_statistics")), _drawn(task, trained))
    columns = [value for name, value in found.items() if name.endswith("_statistics") and "total_text_length" in (value or {})]
    if kind == "Summarization":  # the source text is shown to people, never encoded
        columns = [value for value in columns if value is not found.get("text_statistics")]
    demands = [_column(value) for value in columns]
    if not demands:
        return None
    whole = demands[0]
    for other in demands[1:]:
        whole = _add(whole, other)
    return _embedded(task, whole)


def _part(statistics: Mapping[str, Mapping[str, Any]], split: str, subset: str | None) -> Mapping[str, Any] | None:
    found = statistics.get(split)
    if found is None or subset is None:
        return found
    part: Mapping[str, Any] | None = (found.get("hf_subset_descriptive_stats") or {}).get(subset)
    return part


def _column(statistics: Mapping[str, Any] | None) -> Demand | None:
    """Of a column mteb keeps the length and the mean; their ratio is how many texts it has."""
    statistics = statistics or {}
    total, mean = statistics.get("total_text_length"), statistics.get("average_text_length")
    return Demand(round(total / mean), total) if total and mean else None


def _add(first: Demand | None, second: Demand | None) -> Demand | None:
    if first is None or second is None:
        return None
    return Demand(first.texts + second.texts, first.characters + second.characters)


def _drawn(task: Any, trained: Mapping[str, Any] | None) -> Demand | None:
    """The training rows of all experiments together: each draws so many of every label, so rows are drawn more than once."""
    column = _column((trained or {}).get("text_statistics"))
    if trained is None or column is None:
        return None
    rows = sum(_union(count, task.samples_per_label, task.n_experiments) for count in _label_counts(trained))
    return Demand(round(rows), round(rows * column.characters / column.texts))


def _label_counts(statistics: Mapping[str, Any]) -> Iterator[int]:
    for name in ("label_statistics", "labels_statistics"):
        for value in ((statistics.get(name) or {}).get("labels") or {}).values():
            yield value["count"]


def _union(rows: int, drawn: int, times: int) -> float:
    """Expected number of distinct rows when `drawn` of `rows` are drawn `times` times."""
    return rows if drawn >= rows else rows * (1 - (1 - drawn / rows) ** times)


def _embedded(task: Any, whole: Demand | None) -> Demand | None:
    """A clustering embeds a part of its documents; a reranking only the candidates, which are all it has."""
    if whole is None or not hasattr(task, "max_document_to_embed"):
        return whole
    fraction, most = task.max_fraction_of_documents_to_embed, task.max_document_to_embed
    limit = int(fraction * whole.texts) if fraction is not None else most if most is not None else whole.texts
    texts = min(whole.texts, limit)
    return Demand(texts, round(whole.characters * texts / whole.texts))
