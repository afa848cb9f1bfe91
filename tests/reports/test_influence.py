"""Influence functions against the full bootstrap and against finite differences."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import spearmanr
from sklearn.metrics import average_precision_score, f1_score

from reports import influence
from reports.units import average_precision, macro_f1

ITEMS = 400
DRAWS = 1500
Scorer = Callable[..., float]


def spearman(x: np.ndarray, y: np.ndarray) -> float:
    return float(spearmanr(x, y)[0])


def sts(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Two models' similarities with ties, and gold in halves as annotators give it."""
    gold = np.round(rng.uniform(0, 5, ITEMS) * 2) / 2
    return np.round(gold / 5 + rng.normal(0, 0.3, ITEMS), 2), np.round(gold / 5 + rng.normal(0, 0.35, ITEMS), 2), gold


def pairs(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    gold = (rng.random(ITEMS) < 0.4).astype(float)
    return np.round(gold * 0.5 + rng.normal(0, 0.4, ITEMS), 1), gold * 0.5 + rng.normal(0, 0.5, ITEMS), gold


def classes(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    gold = rng.choice(6, ITEMS, p=(0.4, 0.2, 0.15, 0.1, 0.1, 0.05)).astype(float)
    noisy = [np.where(rng.random(ITEMS) < right, gold, rng.integers(0, 6, ITEMS)) for right in (0.7, 0.6)]
    return noisy[0].astype(float), noisy[1].astype(float), gold


def f1_of(predicted: np.ndarray, gold: np.ndarray, *, weighted: bool) -> float:
    """scikit-learn's F1 over six classes, fast enough for a bootstrap (checked against it below)."""
    counts = np.bincount((gold * 6 + predicted).astype(int), minlength=36).reshape(6, 6)
    scores = 2 * counts.diagonal() / (counts.sum(0) + counts.sum(1))
    return float(np.average(scores, weights=counts.sum(1)) if weighted else scores.mean())


CASES = {
    "spearman": (sts, spearman, influence.of_spearman),
    "average precision": (pairs, lambda s, g: average_precision_score(g, s), influence.of_average_precision),
    "macro f1": (classes, lambda p, g: f1_of(p, g, weighted=False), lambda p, g: influence.of_macro_f1(g, p)),
    "weighted f1": (classes, lambda p, g: f1_of(p, g, weighted=True), lambda p, g: influence.of_weighted_f1(g, p)),
}


@pytest.mark.parametrize("name", CASES)
def test_paired_error_equals_that_of_the_full_bootstrap(name: str) -> None:
    """Standard error of the difference of two models on the same items; bootstrap's own error is 1.8 % at 1,500 draws."""
    make, score, function = CASES[name]
    rng = np.random.default_rng(5)
    a, b, gold = make(rng)
    draws = []
    for _ in range(DRAWS):
        i = rng.integers(0, ITEMS, ITEMS)
        draws.append(score(a[i], gold[i]) - score(b[i], gold[i]))
    bootstrap = float(np.std(draws))
    linear = float(np.sqrt(np.var(function(a, gold) - function(b, gold)) / ITEMS))

    assert bootstrap > 0.005
    assert linear == pytest.approx(bootstrap, rel=0.08)


@pytest.mark.parametrize(("name", "tolerance"), [("average precision", 1e-3), ("macro f1", 1e-3), ("weighted f1", 1e-3)])
def test_influence_is_the_derivative(name: str, tolerance: float) -> None:
    """Moving a little weight to one item moves the score by that item's influence."""
    make, _, function = CASES[name]
    a, _, gold = make(np.random.default_rng(6))
    average = {"macro f1": "macro", "weighted f1": "weighted"}.get(name)

    def weighted(weights: np.ndarray) -> float:
        if average:
            return float(f1_score(gold, a, average=average, sample_weight=weights))
        return float(average_precision_score(gold, a, sample_weight=weights))

    step = 1e-6
    expected = function(a, gold)
    for item in range(0, ITEMS, 37):
        weights = np.full(ITEMS, (1 - step) / ITEMS)
        weights[item] += step
        assert (weighted(weights) - weighted(np.full(ITEMS, 1 / ITEMS))) / step == pytest.approx(expected[item], abs=tolerance)


@given(st.integers(0, 10_000))
@settings(max_examples=60, deadline=None)
def test_our_scores_are_scikit_learns(seed: int) -> None:
    rng = np.random.default_rng(seed)
    scores, gold = np.round(rng.normal(size=40), 1), (rng.random(40) < 0.5).astype(float)
    gold[0] = 1.0
    labels, predicted = rng.integers(0, 4, 40).astype(float), rng.integers(0, 5, 40).astype(float)

    assert average_precision(scores, gold) == pytest.approx(average_precision_score(gold, scores))
    assert macro_f1(labels, predicted) == pytest.approx(f1_score(labels, predicted, average="macro"))


def test_the_bootstraps_f1_is_scikit_learns() -> None:
    predicted, _, gold = classes(np.random.default_rng(7))
    for weighted, average in ((False, "macro"), (True, "weighted")):
        assert f1_of(predicted, gold, weighted=weighted) == pytest.approx(f1_score(gold, predicted, average=average))


def test_a_constant_side_has_no_spearman() -> None:
    with pytest.raises(ZeroDivisionError):
        influence.of_spearman(np.ones(10), np.arange(10.0))
