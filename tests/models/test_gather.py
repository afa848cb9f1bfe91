"""Vectors of chunks come together as if there had been one chunk: no label moves, no gradient is scaled or lost.

Peers gather vectors across processes and lose labels or gradients there (traps 13, 14). Here one process holds a step's whole
batch, and what is gathered is the chunks of the gradient cache; it is held to the same standard, against a loop over pairs that
knows neither batch nor chunks.
"""

from __future__ import annotations

import random
from collections.abc import Sequence

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.functional import cosine_similarity

from harness.instructions import NoInstruction
from harness.pairs import Pair
from models.batches import Batch, assemble
from models.gradcache import Activations, backward
from models.losses import InfoNce, loss

SPEC = InfoNce("info_nce", 0.05, (), "joint", None, ())


def pairs_of(negatives: Sequence[int]) -> list[Pair]:
    """A pair for every count of hard negatives: interleaved in the file, uneven in the batch."""
    return [Pair("sts", "English", "English", "s", "", f"q{i}", f"p{i}", tuple(f"n{i}.{k}" for k in range(count)))
            for i, count in enumerate(negatives)]  # fmt: skip


class Table(torch.nn.Module):
    """A stand-in for a backbone: every text has features, one matrix is trained."""

    def __init__(self, texts: Sequence[str]) -> None:
        super().__init__()
        draw = torch.Generator().manual_seed(0)
        self.features = dict(zip(texts, torch.randn(len(texts), 6, dtype=torch.float64, generator=draw), strict=True))
        self.matrix = torch.nn.Parameter(torch.randn(6, 4, dtype=torch.float64, generator=draw))

    def forward(self, texts: Sequence[str]) -> torch.Tensor:
        found: torch.Tensor = torch.stack([self.features[text] for text in texts]) @ self.matrix
        return found


def by_hand(table: Table, pairs: Sequence[Pair]) -> tuple[float, torch.Tensor]:
    """Loss and gradient of a loop over pairs: every other pair's positive and all hard negatives oppose a query."""
    table.zero_grad()
    terms = []
    for pair in pairs:
        documents = [pair.positive, *(other.positive for other in pairs if other is not pair),
                     *(text for other in pairs for text in other.negatives)]  # fmt: skip
        query = table([pair.query])[0]
        scores = torch.stack([cosine_similarity(query, table([text])[0], dim=0) for text in documents]) / SPEC.temperature
        terms.append(torch.logsumexp(scores, 0) - scores[0])
    value = torch.stack(terms).mean()
    value.backward()  # type: ignore[no-untyped-call]
    assert table.matrix.grad is not None
    return float(value.detach()), table.matrix.grad.clone()


def chunked(
    table: Table, batch: Batch, chunks: Sequence[Sequence[int]], activations: Activations
) -> tuple[float, torch.Tensor]:
    """The same through a batch, cut as told."""
    table.zero_grad()
    queries, documents = torch.tensor(batch.queries), torch.tensor(batch.documents)

    def objective(vectors: torch.Tensor) -> torch.Tensor:
        return loss(SPEC, vectors[queries], vectors[documents], batch.candidates("cpu")).loss

    value = backward(lambda chunk: table([batch.texts[i] for i in chunk]), chunks, objective, activations, "cpu")
    assert table.matrix.grad is not None
    return float(value), table.matrix.grad.clone()


@settings(max_examples=40)
@given(st.lists(st.integers(0, 3), min_size=2, max_size=6), st.randoms(use_true_random=False), st.integers(1, 7))
@pytest.mark.parametrize("activations", ["keep", "recompute"])
def test_trap_13_labels_stay_with_their_queries_however_the_batch_is_cut(
    activations: Activations, negatives: list[int], order: random.Random, size: int
) -> None:
    """Uneven numbers of hard negatives, chunks in any order: where peers interleave, labels slip."""
    pairs = pairs_of(negatives)
    batch = assemble(pairs, 3, NoInstruction("none"), ())
    texts = list(range(len(batch.texts)))
    order.shuffle(texts)
    table = Table(batch.texts)
    expected = by_hand(table, pairs)
    found = chunked(table, batch, [texts[start : start + size] for start in range(0, len(texts), size)], activations)

    assert found[0] == pytest.approx(expected[0], rel=1e-12)
    torch.testing.assert_close(found[1], expected[1], rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("activations", ["keep", "recompute"])
def test_trap_14_gradients_are_neither_scaled_nor_lost_in_any_number_of_chunks(activations: Activations) -> None:
    """One chunk, a chunk a text, and everything between: the same gradient, from queries and documents alike."""
    pairs = pairs_of([1, 0, 2, 1])
    batch = assemble(pairs, 3, NoInstruction("none"), ())
    table = Table(batch.texts)
    _, expected = by_hand(table, pairs)
    for count in range(1, len(batch.texts) + 1):
        chunks = [list(range(start, len(batch.texts), count)) for start in range(count)]
        _, found = chunked(table, batch, chunks, activations)
        assert float(found.norm() / expected.norm()) == pytest.approx(1, rel=1e-12)
        torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-12)


def test_premise_a_label_that_slips_and_a_side_that_is_detached_show() -> None:
    pairs = pairs_of([1, 0, 2, 1])
    batch = assemble(pairs, 3, NoInstruction("none"), ())
    table = Table(batch.texts)
    value, gradient = by_hand(table, pairs)
    queries, documents = torch.tensor(batch.queries), torch.tensor(batch.documents)
    vectors = table(batch.texts)
    who = batch.candidates("cpu")
    slipped = loss(SPEC, vectors[queries], vectors[documents], who._replace(positive=who.positive.roll(1))).loss
    table.zero_grad()
    loss(SPEC, vectors[queries], vectors[documents].detach(), who).loss.backward()  # type: ignore[no-untyped-call]

    assert float(slipped.detach()) != pytest.approx(value, rel=1e-3)
    assert table.matrix.grad is not None
    assert (table.matrix.grad - gradient).abs().max() > 1e-3
