"""Fifty queries a length: the interval is printed beside the score."""

from __future__ import annotations

import pytest

from harness.scores import SubsetScore, TaskScores
from reports.hits import interval
from reports.load import load
from reports.means import type_columns
from reports.tables import arms_table


def passkey(metric: str, shares: dict[str, float], n: int) -> TaskScores:
    cells = tuple(SubsetScore(split, "default", ("eng-Latn",), share, {metric: share}, n) for split, share in shares.items())
    return TaskScores("LEMBPasskeyRetrieval", "Retrieval", metric, "2.26.24", "r1", cells)


@pytest.mark.parametrize(("hits", "low", "high"), [(48, 86.29, 99.51), (50, 92.89, 100.0), (0, 0.0, 7.11), (25, 35.53, 64.47)])
def test_intervals_are_clopper_and_pearson_s(hits: int, low: float, high: float) -> None:
    """Expected: the quantiles of the beta distribution that define them."""
    from scipy.stats import beta

    defined = (beta.ppf(0.025, hits, 51 - hits) if hits else 0.0, beta.ppf(0.975, hits + 1, 50 - hits) if hits < 50 else 1.0)

    assert interval(hits, 50) == pytest.approx((low, high), abs=0.005)
    assert interval(hits, 50) == pytest.approx([100 * float(value) for value in defined], abs=1e-6)


def test_trap_34_passkey_scores_carry_their_binomial_interval(builder) -> None:
    for arm, shares in {"base": {"test_256": 0.96, "test_512": 0.5}, "other": {"test_256": 1.0, "test_512": 0.0}}.items():
        builder.put(arm, 0, passkey("ndcg_at_1", shares, 50))
    builder.write()
    (frame,) = load(builder.store, ["quick"], with_baseline=True)
    notes = [note for note in arms_table(frame, type_columns(frame), "types", None).footnotes if "exact 95 %" in note]

    assert notes == [
        (
            "LEMBPasskeyRetrieval, base:0, with exact 95 % intervals over its queries: test_256 96 [86, 100] of 50; "
            "test_512 50 [36, 64] of 50"
        ),
        (
            "LEMBPasskeyRetrieval, other:0, with exact 95 % intervals over its queries: test_256 100 [93, 100] of 50; "
            "test_512 0 [0, 7] of 50"
        ),
    ]


def test_scores_that_are_no_share_of_few_hits_carry_none(builder) -> None:
    builder.put("base", 0, passkey("ndcg_at_10", {"test_256": 0.96}, 50))
    builder.put("many", 0, passkey("ndcg_at_1", {"test_256": 0.96}, 5000))
    builder.write()
    (frame,) = load(builder.store, ["quick"], with_baseline=True)

    assert not [note for note in arms_table(frame, type_columns(frame), "types", None).footnotes if "exact 95 %" in note]
