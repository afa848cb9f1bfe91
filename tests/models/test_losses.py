"""The loss equals two oracles: sentence-transformers, and a loop over pairs written as the formula reads."""

from __future__ import annotations

import importlib.util
import json
import math
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from torch.nn.functional import cosine_similarity

from models.losses import Candidates, InfoNce, loss

TESTS = Path(__file__).parents[1]
PLAIN = InfoNce("info_nce", 0.02, (), "joint", None, ())


def oracle() -> ModuleType:
    """The script that printed the expected numbers: its batch is drawn again here."""
    spec = importlib.util.spec_from_file_location("oracle_info_nce", TESTS / "oracles" / "info_nce.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def candidates(queries: int, negatives: int) -> Candidates:
    """The usual batch: every other row's documents and one's own hard negatives."""
    owner = torch.arange(queries).repeat(1 + negatives)
    positive = torch.arange(queries)
    negative = torch.ones(queries, len(owner), dtype=torch.bool)
    negative[positive, positive] = False
    return Candidates(owner, positive, negative)


def by_hand(q: torch.Tensor, d: torch.Tensor, who: Candidates, temperature: float) -> float:
    """InfoNCE in float64 as a loop over queries and documents."""
    total = 0.0
    for i, query in enumerate(q):
        scores = {k: float(cosine_similarity(query, doc, dim=0)) / temperature for k, doc in enumerate(d)}
        allowed = [k for k in scores if who.negative[i, k]] + [int(who.positive[i])]
        total -= scores[int(who.positive[i])] - math.log(sum(math.exp(scores[k]) for k in allowed))
    return total / len(q)


EXTRA: dict[str, Any] = {
    "pairs": {}, "one_negative": {}, "two_negatives": {},
    "symmetric": {"extra_directions": ("document_to_query",), "partition": "per_direction"},
    "both_in_one_softmax": {"extra_directions": ("document_to_query",)},
    "all_directions": {"extra_directions": ("query_to_query", "document_to_query", "document_to_document")},
}  # fmt: skip


@pytest.mark.parametrize("case", EXTRA)
def test_loss_and_gradients_equal_sentence_transformers(case: str) -> None:
    expected = json.loads((TESTS / "golden" / "info_nce.json").read_text())[case]
    module = oracle()
    negatives = module.CASES[case][0]
    columns = module.vectors(negatives)

    value = loss(replace(PLAIN, **EXTRA[case]), columns[0], torch.cat(columns[1:]), candidates(6, negatives)).loss
    value.backward()

    assert set(module.CASES) == set(EXTRA)
    assert expected["loss"] > 0.1
    assert float(value.detach()) == pytest.approx(expected["loss"], rel=1e-10)
    for column, gradient in zip(columns, expected["gradients"], strict=True):
        torch.testing.assert_close(column.grad.flatten().tolist(), gradient, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("temperature", [0.02, 0.05, 1.0])
def test_trap_21_the_temperature_reaches_the_loss(temperature: float) -> None:
    q, d, who = torch.randn(5, 8).double(), torch.randn(15, 8).double(), candidates(5, 2)

    found = loss(replace(PLAIN, temperature=temperature), q, d, who).loss

    assert float(found) == pytest.approx(by_hand(q, d, who, temperature), rel=1e-10)


def test_trap_22_lengths_of_vectors_do_not_matter() -> None:
    q, d, who = torch.randn(5, 8).double(), torch.randn(10, 8).double(), candidates(5, 1)
    scale_q, scale_d = torch.rand(5, 1).double() * 9 + 0.1, torch.rand(10, 1).double() * 9 + 0.1

    torch.testing.assert_close(loss(PLAIN, q, d, who).loss, loss(PLAIN, q * scale_q, d * scale_d, who).loss)


def test_trap_23_bfloat16_vectors_are_compared_in_float32() -> None:
    """Two documents whose cosines tie in bfloat16: the right one still wins, and the loss still tells them apart."""
    q = torch.tensor([[1.0, 0.0, 0.0]])
    d = torch.tensor([[1.0, 0.07, 0.0], [1.0, 0.08, 0.0]])
    cosine = torch.nn.functional.normalize(d, dim=1) @ q.T
    who = Candidates(torch.tensor([0, 0]), torch.tensor([0]), torch.tensor([[False, True]]))

    value = loss(PLAIN, q.bfloat16(), d.bfloat16(), who)

    assert cosine[0].bfloat16() == cosine[1].bfloat16()
    assert value.loss.dtype is torch.float32
    assert float(value.correct) == 1.0
    assert float(value.loss) < math.log(2)


def test_trap_18_the_margin_drops_false_negatives_also_below_zero() -> None:
    """Positive at cosine -0.5; negatives at -0.2 (dropped at margin 0.1), -0.45 (kept), -0.9 (kept)."""
    angles = [math.acos(c) for c in (-0.5, -0.2, -0.45, -0.9)]
    q = torch.tensor([[1.0, 0.0]], dtype=torch.float64)
    d = torch.tensor([[math.cos(a), math.sin(a)] for a in angles], dtype=torch.float64)
    who = Candidates(torch.zeros(4, dtype=torch.long), torch.tensor([0]), torch.tensor([[False, True, True, True]]))
    kept = Candidates(who.owner, who.positive, torch.tensor([[False, False, True, True]]))

    found = loss(replace(PLAIN, false_negative_margin=0.1), q, d, who).loss

    assert float(found) == pytest.approx(by_hand(q, d, kept, 0.02), rel=1e-10)
    assert float(found) < float(loss(PLAIN, q, d, who).loss)


def test_masked_documents_count_in_no_direction() -> None:
    """Trap 17 in every direction: two rows that share a positive never oppose each other."""
    spec = replace(PLAIN, extra_directions=("document_to_query", "query_to_query", "document_to_document"))
    q, d, who = torch.randn(3, 8).double(), torch.randn(3, 8).double(), candidates(3, 0)
    who.negative[0, 1] = who.negative[1, 0] = False

    found = 3 * loss(spec, q, d, who).loss

    torch.testing.assert_close(found, _row(spec, q, d, (0, 2)) + _row(spec, q, d, (1, 2)) + _row_of_two(spec, q, d))


def _row(spec: InfoNce, q: torch.Tensor, d: torch.Tensor, rows: tuple[int, int]) -> torch.Tensor:
    """The loss of the first of two rows alone."""
    i, j = rows
    positive = torch.nn.functional.cosine_similarity(q[i], d[i], dim=0)
    terms = [positive, cosine_similarity(q[i], d[j], dim=0), positive, cosine_similarity(d[i], q[j], dim=0),
             cosine_similarity(q[i], q[j], dim=0), cosine_similarity(d[i], d[j], dim=0)]  # fmt: skip
    return torch.logsumexp(torch.stack(terms) / spec.temperature, 0) - positive / spec.temperature


def _row_of_two(spec: InfoNce, q: torch.Tensor, d: torch.Tensor) -> torch.Tensor:
    """The loss of the third row, whom both others oppose."""
    positive = cosine_similarity(q[2], d[2], dim=0)
    terms = [positive, positive]
    for j in (0, 1):
        terms += [cosine_similarity(q[2], d[j], dim=0), cosine_similarity(d[2], q[j], dim=0)]
        terms += [cosine_similarity(q[2], q[j], dim=0), cosine_similarity(d[2], d[j], dim=0)]
    return torch.logsumexp(torch.stack(terms) / spec.temperature, 0) - positive / spec.temperature


def test_accuracy_counts_queries_answered_right() -> None:
    q = torch.eye(4)
    d = torch.eye(4)[[0, 1, 3, 2]]

    assert float(loss(PLAIN, q, d, candidates(4, 0)).correct) == 0.5
