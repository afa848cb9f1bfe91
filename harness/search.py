"""Exact nearest neighbours in bounded memory: the corpus streams by in blocks, only the best k of each query stay.

Similarities are accumulated in float32 whatever the vectors are (ties that half precision makes would reorder a ranking,
trap 23), and equal ones are ordered by row, so that neither the size of a block nor its place changes an answer.

mteb's own search keeps a heap in Python for every query and document of every chunk; on a large corpus that takes longer than
encoding does.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

SCORE_CELLS = 1 << 25  # similarities held at once: 128 MiB of float32


class SearchError(ValueError):
    """Vectors that cannot be compared; says which."""


@dataclass(frozen=True)
class Neighbours:
    """The best of each query, best first; fewer than k columns if the corpus is smaller."""

    rows: NDArray[np.int64]
    """Corpus rows, shape (queries, k)."""
    scores: NDArray[np.float32]


def unit(vectors: NDArray[np.floating]) -> NDArray[np.float32]:
    """Rows scaled to length one, in float32; a row of zeros stays, and is similar to nothing."""
    single = np.asarray(vectors, dtype=np.float32)
    norms = np.linalg.norm(single, axis=1, keepdims=True)
    scaled: NDArray[np.float32] = single / np.maximum(norms, np.float32(1e-12))
    return scaled


def nearest_rows(queries: NDArray[np.floating], blocks: Iterable[NDArray[np.floating]], k: int) -> Neighbours:
    """The `k` corpus rows of highest cosine for each query; `blocks` are the corpus, in order. Raises SearchError."""
    left = unit(queries)
    best = Neighbours(np.empty((len(left), 0), dtype=np.int64), np.empty((len(left), 0), dtype=np.float32))
    offset = 0
    for block in blocks:
        right = unit(block)
        if right.shape[1] != left.shape[1]:
            raise SearchError(f"queries have {left.shape[1]} dimensions, documents {right.shape[1]}")
        parts = [_merge(best, rows, left[rows] @ right.T, offset, k) for rows in _slices(len(left), max(1, len(right)))]
        best = Neighbours(np.concatenate([p.rows for p in parts]), np.concatenate([p.scores for p in parts]))
        offset += len(right)
    return best


def _slices(queries: int, documents: int) -> Iterator[slice]:
    step = max(1, SCORE_CELLS // documents)
    for start in range(0, queries, step):
        yield slice(start, start + step)


def _merge(best: Neighbours, rows: slice, scores: NDArray[np.float32], offset: int, k: int) -> Neighbours:
    columns = _best_columns(scores, k)
    found = np.take_along_axis(scores, columns, axis=1)
    all_rows = np.concatenate([best.rows[rows], columns + offset], axis=1)
    all_scores = np.concatenate([best.scores[rows], found], axis=1)
    order = np.lexsort((all_rows, -all_scores), axis=1)[:, :k]
    return Neighbours(np.take_along_axis(all_rows, order, axis=1), np.take_along_axis(all_scores, order, axis=1))


def _best_columns(scores: NDArray[np.float32], k: int) -> NDArray[np.int64]:
    """The k columns of highest score in each row, in any order; of equal ones at the border those further left."""
    count = scores.shape[1]
    if count <= k:
        return np.broadcast_to(np.arange(count), scores.shape)
    columns: NDArray[np.int64] = np.argpartition(scores, count - k, axis=1)[:, count - k :]
    border = np.take_along_axis(scores, columns, axis=1).min(axis=1)
    tied = np.flatnonzero((scores >= border[:, None]).sum(axis=1) > k)
    for row in tied:
        above = np.flatnonzero(scores[row] > border[row])
        equal = np.flatnonzero(scores[row] == border[row])
        columns[row] = np.concatenate([above, equal[: k - len(above)]])
    return columns
