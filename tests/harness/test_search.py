"""Search is exact: it equals sorting every similarity, whatever the blocks, ties by row."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness import search
from harness.search import SearchError, nearest_rows, unit
from harness.tasks.adapter import document_texts


def brute(queries: np.ndarray, corpus: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    scores = unit(queries) @ unit(corpus).T
    order = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    return order, np.take_along_axis(scores, order, axis=1)


@given(
    seed=st.integers(0, 10_000),
    documents=st.integers(1, 60),
    k=st.integers(1, 20),
    block=st.integers(1, 25),
    levels=st.sampled_from([1, 2, 1000]),
)
def test_blocks_change_nothing(seed: int, documents: int, k: int, block: int, levels: int) -> None:
    """With one or two levels a coordinate nearly everything ties."""
    generator = np.random.default_rng(seed)
    corpus = generator.integers(0, levels, size=(documents, 4)).astype(np.float32) + 1
    queries = np.eye(4, dtype=np.float32)[:3]
    found = nearest_rows(queries, (corpus[i : i + block] for i in range(0, documents, block)), k)
    rows, scores = brute(queries, corpus, k)

    assert np.array_equal(found.rows, rows)
    assert np.array_equal(found.scores, scores)


def test_queries_are_sliced_to_bound_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = np.random.default_rng(0)
    queries, corpus = generator.normal(size=(23, 8)), generator.normal(size=(100, 8))
    whole = nearest_rows(queries, [corpus], 7)
    monkeypatch.setattr(search, "SCORE_CELLS", 200)
    sliced = nearest_rows(queries, [corpus], 7)

    assert np.array_equal(whole.rows, sliced.rows)
    assert np.allclose(whole.scores, sliced.scores, atol=1e-6)


def test_trap_23_similarities_that_tie_in_half_precision_are_told_apart() -> None:
    query = np.array([[1.0, 0.0]], dtype=np.float32)
    corpus = np.array([[1.0, 1.0], [1.0, 1.0003], [1.0, 0.9997]], dtype=np.float32)
    half = unit(query).astype(np.float16) @ unit(corpus).astype(np.float16).T
    found = nearest_rows(query, [corpus], 3)

    assert len(set(half[0].tolist())) == 1
    assert found.rows[0].tolist() == [2, 0, 1]
    assert len(set(found.scores[0].tolist())) == 3


def test_scale_does_not_matter_and_zero_is_near_nothing() -> None:
    queries, corpus = np.array([[1.0, 0.0]]), np.array([[0.0, 0.0], [-5.0, 0.1], [1e-6, 0.0]])
    found = nearest_rows(queries, [corpus], 3)

    assert found.rows[0].tolist() == [2, 0, 1]
    assert found.scores[0, 0] == pytest.approx(1.0)


def test_other_dimensions_are_refused() -> None:
    with pytest.raises(SearchError, match="queries have 3 dimensions, documents 4"):
        nearest_rows(np.ones((1, 3)), [np.ones((2, 4))], 1)


def test_documents_read_as_in_mteb() -> None:
    from mteb._create_dataloaders import _corpus_to_dict

    rows = [
        {"id": "a", "title": "T", "text": " body "},
        {"id": "b", "title": "", "text": " x "},
        {"id": "c", "title": " ", "text": "y"},
    ]
    columns = {key: [row[key] for row in rows] for key in ("id", "title", "text")}

    assert document_texts(columns) == [_corpus_to_dict(row)["text"] for row in rows] == ["T  body", "x", "y"]
    assert document_texts({"text": ["a ", "b"]}) == ["a", "b"]
