"""Near duplicates are judged by the true share of common sequences, exactly computed here."""

import random

import pytest

from generators.duplicates import Seen, minhash
from generators.filters import likeness, normalised

WORDS = ("river", "stone", "bridge", "carpet", "letter", "engine", "window", "garden", "silver", "planet", "market", "winter")


def text(rng: random.Random, length: int = 60) -> str:
    return " ".join(rng.choice(WORDS) + str(rng.randint(0, 99)) for _ in range(length))


def test_the_sketch_estimates_the_true_share() -> None:
    """Oracle: Jaccard of the sets. 128 permutations have a standard error of at most 0.045."""
    rng = random.Random(0)
    errors = []
    for n in range(200):
        words = text(rng).split()
        other = [word if rng.random() < n / 200 else text(rng, 1) for word in words]
        left, right = " ".join(words), " ".join(other)
        errors.append(minhash(left).jaccard(minhash(right)) - likeness(normalised(left), normalised(right)))

    assert max(map(abs, errors)) < 0.18
    assert abs(sum(errors) / len(errors)) < 0.01, "the estimate leans to one side"


@pytest.mark.parametrize(("kept", "verdict"), [(1.0, "near_duplicate"), (0.99, "near_duplicate"), (0.5, None)])
def test_lightly_edited_texts_are_near_duplicates(kept: float, verdict: str | None) -> None:
    rng = random.Random(1)
    found = []
    for n in range(100):
        original = text(rng)
        edited = " ".join(word if rng.random() < kept else text(rng, 1) for word in original.split()).upper()
        seen = Seen(0.8)
        assert seen.add(f"query {n}", original) is None
        found.append(seen.add(f"query {n}", edited))

    assert found.count(verdict) >= 95


def test_sketches_do_not_depend_on_process_or_order() -> None:
    assert (
        list(minhash("a fixed text for a fixed sketch").digest())[:3]
        == list(minhash("A fixed  text for a fixed sketch").digest())[:3]
    )
    rng = random.Random(2)
    texts = [text(rng, 20) for _ in range(300)]
    seen = Seen(0.8)

    assert [seen.add("q", each) for each in texts] == [None] * 300
    assert {seen.add("q", each) for each in texts} == {"duplicate"}
    assert {seen.add("q", each.upper()) for each in texts} == {"near_duplicate"}
    assert {Seen(None).add("q", each.upper()) for each in texts} == {None}
