"""Samplers are seeded streams without duplicates; a batch knows which texts oppose which."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from itertools import islice
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.instructions import Natural, NoInstruction
from harness.kinds import members
from harness.pairs import TASK_TYPES, Pair
from models.batches import Homogeneous, Mixed, Sampler, assemble, sample

SAMPLERS = [Mixed("mixed"), Homogeneous("homogeneous", "task_type"), Homogeneous("homogeneous", "source")]
FEW = st.sampled_from(["tide", "moon", "sea", "sun", "rain"])  # few texts, many collisions
PAIRS = st.builds(
    Pair, st.sampled_from(TASK_TYPES[:3]), st.just("English"), st.just("English"), st.sampled_from(["a", "b"]),
    st.just("Find."), FEW, FEW, st.lists(FEW, max_size=3).map(tuple),
)  # fmt: skip


def test_samplers_under_test_are_all_there_are() -> None:
    assert {type(sampler) for sampler in SAMPLERS} == set(members(Sampler))


@given(st.lists(PAIRS, min_size=2, max_size=30), st.sampled_from(SAMPLERS), st.integers(2, 6), st.integers(0, 99))
@settings(max_examples=150, deadline=None)
def test_trap_17_no_text_twice_on_its_side_of_a_batch(pairs: list[Pair], spec: Any, size: int, seed: int) -> None:
    if len({pair.query for pair in pairs}) < 2:
        return
    try:
        batches = list(islice(sample(spec, pairs, size, seed), 12))
    except ValueError:
        assert isinstance(spec, Homogeneous)
        return
    for batch in batches:
        assert 1 <= len(batch) <= size
        assert len({pairs[i].query for i in batch}) == len(batch) == len({pairs[i].positive for i in batch})


@given(st.lists(PAIRS, min_size=2, max_size=12), st.integers(0, 3), st.sampled_from([(), TASK_TYPES]))
@settings(max_examples=200, deadline=None)
def test_trap_12_no_answer_of_a_query_is_its_negative(pairs: list[Pair], negatives: int, alone: tuple[str, ...]) -> None:
    """The positive among its own negatives, another row's equal positive, the query's own words: never opposed."""
    batch = assemble(pairs, negatives, NoInstruction("none"), alone)
    for row, pair in enumerate(pairs):
        answers = {pair.query, *(other.positive for other in pairs if other.query == pair.query)}
        for column, (text, owner) in enumerate(zip(batch.documents, batch.owners, strict=True)):
            opposed = batch.texts[text] not in answers and (owner == row or not alone)
            assert batch.negative[row, column] == opposed


def test_documents_are_positives_then_hard_negatives(make_pairs: Callable[..., list[Pair]]) -> None:
    pairs = make_pairs(4)
    batch = assemble(pairs, 2, Natural("natural"), ())

    assert {len(pair.negatives) for pair in pairs} == {1, 2}
    assert next(batch.texts[i] for i in batch.queries) == f"Instruct: Find the answer.\nQuery: {pairs[0].query}"
    expected = [("Instruct: Find the answer.\nQuery: " if p.task_type == "sts" else "") + p.positive for p in pairs]
    assert [batch.texts[i] for i in batch.documents][:4] == expected
    assert batch.owners == (0, 1, 2, 3, 0, 1, 1, 2, 3, 3)


@pytest.mark.parametrize(("negatives", "expected"), [(0, 7), (1, 15)])
def test_trap_16_negatives_per_query_are_counted(negatives: int, expected: int, make_pairs: Callable[..., list[Pair]]) -> None:
    """Batch 8 with one hard negative each: 7 other positives, 8 hard negatives."""
    batch = assemble(make_pairs(8), negatives, NoInstruction("none"), ())

    assert batch.negatives_per_query == expected


def test_trap_19_a_task_type_keeps_to_its_own_negatives(make_pairs: Callable[..., list[Pair]]) -> None:
    pairs = make_pairs(6, ("long_short", "short_long"))
    batch = assemble(pairs, 2, NoInstruction("none"), ("long_short",))

    for row, pair in enumerate(pairs):
        own = np.array(batch.owners) == row
        if pair.task_type == "long_short":
            assert not batch.negative[row, ~own].any()
            assert batch.negative[row, own].sum() == len(pair.negatives)
        else:
            assert batch.negative[row].sum() == len(batch.documents) - 1


@pytest.mark.parametrize("by", ["task_type", "source"])
def test_trap_20_one_group_per_batch_in_proportion(by: Any, make_pairs: Callable[..., list[Pair]]) -> None:
    pairs = make_pairs(90, TASK_TYPES)
    stream = sample(Homogeneous("homogeneous", by), pairs, 4, seed=0)
    groups = [{getattr(pairs[i], by) for i in batch} for batch in islice(stream, 600)]
    counts = Counter(next(iter(group)) for group in groups)
    sizes = Counter(getattr(pair, by) for pair in pairs)

    assert {len(group) for group in groups} == {1}
    assert {len({getattr(pairs[i], by) for i in batch}) for batch in islice(sample(Mixed("mixed"), pairs, 8, 0), 20)} != {1}
    for name, size in sizes.items():
        assert counts[name] / 600 == pytest.approx(size / 90, abs=0.07)


@pytest.mark.parametrize("spec", SAMPLERS)
def test_every_pair_is_seen_once_per_pass(spec: Any, make_pairs: Callable[..., list[Pair]]) -> None:
    pairs = make_pairs(60)
    seen: Counter[int] = Counter(i for batch in islice(sample(spec, pairs, 5, 3), 600) for i in batch)
    by_group: dict[str, list[int]] = {}
    for i, pair in enumerate(pairs):
        by_group.setdefault(getattr(pair, spec.by) if isinstance(spec, Homogeneous) else "", []).append(seen[i])

    for counts in by_group.values():
        assert min(counts) > 0
        assert max(counts) - min(counts) <= 2


def test_trap_39_the_seed_decides_the_order(make_pairs: Callable[..., list[Pair]]) -> None:
    pairs = make_pairs(40)
    runs = [list(islice(sample(Mixed("mixed"), pairs, 8, seed), 9)) for seed in (0, 0, 1)]

    assert runs[0] == runs[1] != runs[2]


def test_a_stream_resumes_by_skipping(make_pairs: Callable[..., list[Pair]]) -> None:
    pairs = make_pairs(40)

    assert list(islice(sample(SAMPLERS[1], pairs, 8, 0), 5, 9)) == list(islice(sample(SAMPLERS[1], pairs, 8, 0), 9))[5:]


def test_one_query_alone_is_an_error(make_pairs: Callable[..., list[Pair]]) -> None:
    with pytest.raises(ValueError, match="none with two different queries"):
        next(sample(Mixed("mixed"), make_pairs(1) * 3, 8, 0))
