"""Intervals and tests: identities with textbook tests, and simulated coverage and family-wise error."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from reports.calibration import actual
from reports.statistics import (
    Parts,
    estimate,
    holm,
    one_sided_p,
    over_tasks,
    parts_of,
    pooled_seed_noise,
    t_quantile,
    two_sided_p,
)


def test_one_checkpoint_is_the_paired_t_test() -> None:
    """With one seed and one task the interval is scipy's paired t interval over items."""
    rng = np.random.default_rng(1)
    mine, base = rng.random(80), rng.random(80)
    delta = mine.mean() - base.mean()
    found = estimate(np.array([delta]), [(1.0, parts_of((mine - base)[None, :]))], None)
    reference = stats.ttest_rel(mine, base)

    assert found is not None
    assert found.about == "this checkpoint"
    assert (found.p, found.freedom) == (pytest.approx(reference.pvalue), pytest.approx(79))
    low, high = reference.confidence_interval(0.95)
    assert (found.delta - found.half, found.delta + found.half) == pytest.approx((low, high))


def test_without_items_it_is_the_t_test_over_seeds() -> None:
    deltas = np.array([1.0, 2.0, 1.5, 0.5, 1.2])
    found = estimate(deltas, [], None)
    reference = stats.ttest_1samp(deltas, 0)

    assert found is not None
    assert two_sided_p(found.delta / found.error, found.freedom) == pytest.approx(reference.pvalue)


def test_pooled_noise_is_the_block_design_of_the_textbook() -> None:
    """Pooled variance over arms is twice the residual mean square of the two-way analysis of variance."""
    scores = np.random.default_rng(2).normal(size=(6, 4))
    pooled = pooled_seed_noise(scores)
    residual = scores - scores.mean(0) - scores.mean(1, keepdims=True) + scores.mean()

    assert pooled is not None
    assert (pooled.freedom, pooled.variance) == (15, pytest.approx(2 * (residual**2).sum() / 15))
    two = pooled_seed_noise(scores[:2])
    assert two is not None
    assert two.variance == pytest.approx(np.var(scores[1] - scores[0], ddof=1))


def test_parts_are_unbiased() -> None:
    """The variance of the mean is recovered on average: seed 1, item 4 over 50 units, residual 2."""
    rng = np.random.default_rng(3)
    found = []
    for _ in range(3000):
        noise = rng.normal(0, 2, 50) + rng.normal(0, 1, (3, 1)) + rng.normal(0, math.sqrt(2), (3, 50))
        part = parts_of(noise - noise.mean(axis=1, keepdims=True))
        found.append((np.var(noise.mean(axis=1), ddof=1) / 3 + part.item - part.rest, noise.mean()))
    estimated, means = np.array(found).T

    truth = 1 / 3 + 4 / 50 + 2 / 150
    assert np.var(means) == pytest.approx(truth, rel=0.08)
    assert estimated.mean() == pytest.approx(truth, rel=0.05)


def test_holm_is_the_textbook_example() -> None:
    assert holm({"a": 0.01, "b": 0.04, "c": 0.03, "d": 0.005}) == pytest.approx({"d": 0.02, "a": 0.03, "c": 0.06, "b": 0.06})


def test_tails_and_quantiles_are_scipys() -> None:
    assert two_sided_p(2.1, 7.3) == pytest.approx(2 * stats.t.sf(2.1, 7.3))
    assert one_sided_p(1.3, 4) == pytest.approx(stats.t.sf(1.3, 4))
    assert t_quantile(0.975, 9.5) == pytest.approx(stats.t.ppf(0.975, 9.5))
    assert t_quantile(0.975, math.inf) == pytest.approx(1.959964, abs=1e-6)


def test_nothing_is_testable_without_noise_or_tasks() -> None:
    assert estimate(np.array([1.0]), [], None) is None
    assert estimate(np.array([1.0, 1.0]), [], None) is None
    assert over_tasks(np.arange(4.0)) is None


def test_calibration_never_lowers_a_p_and_fades_with_freedom() -> None:
    grid = [1e-8, 1e-5, 1e-3, 0.01, 0.05, 0.3, 1.0]
    for p in grid:
        values = [actual(p, freedom) for freedom in (1, 2, 4, 10, 30, math.inf)]
        assert values == sorted(values, reverse=True)
        assert values[-1] == pytest.approx(p)
    for freedom in (1, 3, 10):
        values = [actual(p, freedom) for p in grid]
        assert values == sorted(values)


def test_heavy_tails_cost_degrees_of_freedom() -> None:
    """Normal items have units - 1; the variance of a variance of few large changes is that of so many fewer."""
    rng = np.random.default_rng(5)
    assert parts_of(rng.random((1, 80))).freedom == pytest.approx(79)
    rare = np.where(rng.random((4000, 200)) < 0.05, 10.0, 0.0) + rng.normal(0, 1, (4000, 200))
    variances = rare.var(axis=1, ddof=1)
    freedom = float(np.median([parts_of(row[None, :]).freedom for row in rare]))

    assert freedom == pytest.approx(2 * variances.mean() ** 2 / variances.var(), rel=0.25)
    assert freedom < 50


def test_parts_of_a_single_unit_have_no_variance() -> None:
    assert parts_of(np.zeros((2, 1))) == Parts(0.0, 0.0, 1, 2, 1.0)
