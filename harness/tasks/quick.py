"""The quick benchmark: eight small tasks, one of every mteb type, as real mteb tasks over files that ship with us.

It tells arms apart in seconds and without a network; it is no substitute for MTEB. Clustering embeds every document (mteb's
default would embed 4 % of them: trap 43), classification runs mteb's ten experiments, and bitext has a subset per language
pair, so that a change of language mix has a column to show up in.

The table needs no mteb; classes are made on first use.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).with_name("quick_benchmark")
ENGLISH = {"default": ("eng-Latn",)}
PAIRS = {
    "eng-deu": ("eng-Latn", "deu-Latn"),
    "eng-fra": ("eng-Latn", "fra-Latn"),
    "eng-spa": ("eng-Latn", "spa-Latn"),
    "eng-pol": ("eng-Latn", "pol-Latn"),
    "eng-jpn": ("eng-Latn", "jpn-Jpan"),
}


@dataclass(frozen=True)
class QuickTask:
    """One row of the benchmark."""

    task_type: str
    main: str
    files: tuple[str, ...]
    """Relative to the folder of the benchmark; their digests are part of the task's identity."""
    languages: Mapping[str, tuple[str, ...]]
    """mteb's codes by subset."""
    instruction: str


TASKS: dict[str, QuickTask] = {
    "QuickRetrieval": QuickTask(
        "Retrieval", "ndcg_at_10", ("retrieval/corpus.jsonl", "retrieval/queries.jsonl", "retrieval/qrels.tsv"), ENGLISH,
        "Given a question, retrieve passages that answer the question",
    ),
    "QuickReranking": QuickTask(
        "Reranking", "map_at_1000", ("reranking.jsonl",), ENGLISH,
        "Given a request, retrieve the text that says the same in other words",
    ),
    "QuickSTS": QuickTask(
        "STS", "cosine_spearman", ("sts.jsonl",), ENGLISH, "Retrieve semantically similar text.",
    ),
    "QuickPairClassification": QuickTask(
        "PairClassification", "max_ap", ("pair_classification.jsonl",), ENGLISH,
        "Retrieve text that are semantically similar to the given text.",
    ),
    "QuickClassification": QuickTask(
        "Classification", "accuracy", ("classification.jsonl",), ENGLISH,
        "Given a message to customer support, find the corresponding intents",
    ),
    "QuickClustering": QuickTask(
        "Clustering", "v_measure", ("clustering.jsonl",), ENGLISH, "Identify the topic or theme of the given headlines",
    ),
    "QuickSummarization": QuickTask(
        "Summarization", "cosine_spearman", ("summarization.jsonl",), ENGLISH,
        "Given a news summary, retrieve other semantically similar summaries.",
    ),
    "QuickBitext": QuickTask("BitextMining", "f1", ("bitext.jsonl",), PAIRS, "Retrieve parallel sentences."),
}  # fmt: skip


def read_rows(file: str) -> list[dict[str, Any]]:
    """The rows of a JSON-lines file of the benchmark, in order."""
    return [json.loads(line) for line in (FOLDER / file).read_text(encoding="utf-8").splitlines() if line]


@cache
def task_class(name: str) -> type[Any]:
    """The mteb task class of that name; its data sets are read once a process and shared, for they cannot be changed."""
    from mteb.abstasks import (
        AbsTaskBitextMining,
        AbsTaskClassification,
        AbsTaskClustering,
        AbsTaskPairClassification,
        AbsTaskRetrieval,
        AbsTaskSTS,
        AbsTaskSummarization,
    )

    bases: dict[str, tuple[type[Any], dict[str, Any]]] = {
        "Retrieval": (AbsTaskRetrieval, {}),
        "Reranking": (AbsTaskRetrieval, {}),
        "STS": (AbsTaskSTS, {}),
        "PairClassification": (AbsTaskPairClassification, {}),
        "Classification": (AbsTaskClassification, {}),
        "Clustering": (
            AbsTaskClustering, {"max_fraction_of_documents_to_embed": None, "max_documents_per_cluster": 240},
        ),
        "Summarization": (AbsTaskSummarization, {"min_score": 1, "max_score": 5}),
        "BitextMining": (AbsTaskBitextMining, {}),
    }  # fmt: skip
    task = TASKS[name]
    base, attributes = bases[task.task_type]
    return type(name, (base,), attributes | {"metadata": _metadata(name, task), "load_data": _load_data})


def _metadata(name: str, task: QuickTask) -> Any:
    from mteb.abstasks.task_metadata import TaskMetadata

    single = task.languages == ENGLISH
    return TaskMetadata(
        name=name, type=task.task_type, main_score=task.main, description="A task of the quick benchmark.",
        prompt=task.instruction, dataset={"path": "quick_benchmark", "revision": "shipped"},
        eval_langs=list(ENGLISH["default"]) if single else {key: list(codes) for key, codes in task.languages.items()},
    )  # fmt: skip


def _load_data(self: Any, num_proc: int | None = None, **_: Any) -> None:  # noqa: ARG001 - mteb's signature
    """`load_data` of every quick task: containers are new for each instance, the immutable data sets are shared."""
    kind = self.metadata.type
    if kind in {"Retrieval", "Reranking"}:
        corpus, queries, relevant, ranked = _ranking_data(self.metadata.name)
        self.dataset = {"default": {"test": {
            "corpus": corpus, "queries": queries, "relevant_docs": {key: dict(docs) for key, docs in relevant.items()},
            "top_ranked": {key: list(docs) for key, docs in ranked.items()} or None,
        }}}  # fmt: skip
    else:
        splits = _row_data(self.metadata.name)
        self.dataset = {key: dict(value) if isinstance(value, dict) else value for key, value in splits.items()}
    self.data_loaded = True


@cache
def _row_data(name: str) -> Any:
    from datasets import Dataset, DatasetDict

    rows = read_rows(TASKS[name].files[0])
    if name == "QuickClassification":
        parts = {split: [row for row in rows if row["split"] == split] for split in ("train", "test")}
        return DatasetDict({split: Dataset.from_list(part) for split, part in parts.items()})
    if name == "QuickClustering":
        rows = [{"sentences": row["text"], "labels": row["label"]} for row in rows]
    elif name == "QuickPairClassification":
        rows = [{**row, "labels": row["label"]} for row in rows]
    elif name == "QuickBitext":
        return {pair: {"test": _pair_rows(rows, pair)} for pair in PAIRS}
    return {"test": Dataset.from_list(rows)}


def _pair_rows(rows: list[dict[str, Any]], pair: str) -> Any:
    from datasets import Dataset

    columns = ("sentence1", "sentence2")
    return Dataset.from_list([{key: row[key] for key in columns} for row in rows if row["languages"] == pair])


@cache
def _ranking_data(name: str) -> tuple[Any, Any, dict[str, dict[str, int]], dict[str, list[str]]]:
    """Corpus, queries, judgements, candidates (empty for retrieval)."""
    from datasets import Dataset

    if name == "QuickReranking":
        return _reranking_data()
    corpus, queries = (read_rows(f"retrieval/{part}.jsonl") for part in ("corpus", "queries"))
    relevant: dict[str, dict[str, int]] = {}
    for line in (FOLDER / "retrieval/qrels.tsv").read_text(encoding="utf-8").splitlines()[1:]:
        query, document, score = line.split("\t")
        relevant.setdefault(query, {})[document] = int(score)
    documents = [{"id": row["_id"], "title": row["title"], "text": row["text"]} for row in corpus]
    questions = [{"id": row["_id"], "text": row["text"]} for row in queries]
    return Dataset.from_list(documents), Dataset.from_list(questions), relevant, {}


def _reranking_data() -> tuple[Any, Any, dict[str, dict[str, int]], dict[str, list[str]]]:
    from datasets import Dataset

    documents: list[dict[str, str]] = []
    questions: list[dict[str, str]] = []
    relevant: dict[str, dict[str, int]] = {}
    ranked: dict[str, list[str]] = {}
    for i, row in enumerate(read_rows("reranking.jsonl")):
        query = f"q{i:03d}"
        questions.append({"id": query, "text": row["query"]})
        positives = [f"{query}p{j}" for j in range(len(row["positive"]))]
        negatives = [f"{query}n{j}" for j in range(len(row["negative"]))]
        texts = [*row["positive"], *row["negative"]]
        documents += [{"id": key, "text": text} for key, text in zip([*positives, *negatives], texts, strict=True)]
        relevant[query] = dict.fromkeys(positives, 1)
        ranked[query] = [*positives, *negatives]
    return Dataset.from_list(documents), Dataset.from_list(questions), relevant, ranked
