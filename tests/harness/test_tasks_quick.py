"""The files of the quick benchmark say what its README says of them."""

from __future__ import annotations

from collections import Counter

from harness.tasks import quick


def test_retrieval_judgements_name_known_queries_and_documents() -> None:
    corpus = {row["_id"] for row in quick.read_rows("retrieval/corpus.jsonl")}
    queries = {row["_id"] for row in quick.read_rows("retrieval/queries.jsonl")}
    lines = (quick.FOLDER / "retrieval/qrels.tsv").read_text(encoding="utf-8").splitlines()
    judged = [line.split("\t") for line in lines[1:]]

    assert (len(corpus), len(queries), len(judged)) == (240, 120, 127)
    assert {query for query, _, _ in judged} == queries
    assert {document for _, document, _ in judged} <= corpus


def test_sizes_and_labels() -> None:
    classification = Counter((row["split"], row["label"]) for row in quick.read_rows("classification.jsonl"))
    clusters = Counter(row["label"] for row in quick.read_rows("clustering.jsonl"))
    pairs = Counter(row["label"] for row in quick.read_rows("pair_classification.jsonl"))
    bitext = Counter(row["languages"] for row in quick.read_rows("bitext.jsonl"))
    grades = [row["score"] for row in quick.read_rows("sts.jsonl")]

    assert len(classification) == 24
    assert {classification["train", label] for split, label in classification if split == "train"} == {10}
    assert {classification["test", label] for split, label in classification if split == "test"} == {14}
    assert sorted(clusters.values()) == [24] * 10
    assert pairs == {0: 80, 1: 80}
    assert bitext == dict.fromkeys(quick.PAIRS, 24)
    assert len(grades) == 150
    assert 0 <= min(grades) < max(grades) <= 5


def test_summaries_have_a_grade_each() -> None:
    rows = quick.read_rows("summarization.jsonl")

    assert len(rows) == 16
    assert all(len(row["machine_summaries"]) == len(row["relevance"]) == 4 for row in rows)
    assert all(1 <= grade <= 5 for row in rows for grade in row["relevance"])


def test_no_text_of_a_test_is_also_in_training() -> None:
    rows = quick.read_rows("classification.jsonl")
    train = {row["text"] for row in rows if row["split"] == "train"}

    assert not train & {row["text"] for row in rows if row["split"] == "test"}
