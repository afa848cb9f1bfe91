"""What tables and gate print is what happens: arms resample real per-item files, thousands of times.

An arm's items are drawn from the per-item values of two encoders on the same items (`tests/reports/items`: ties, exact zeros
and ones, heavy tails). Two ways of having no effect: `swapped`, every arm has for each item the value of either encoder, by
a coin; `centred`, an arm changes items as one encoder changes the other, less the mean of it, which is skewed as real changes
are (files of a hundred items and more; in a small one, what is never drawn decides). So the truth is known: no arm differs
from the baseline but by chance, unless a change is added. Bounds are three standard errors of the simulation.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from harness.items import cells
from harness.scores import read_items, read_scores
from reports.effects import POINTS
from reports.gate import PASS, REGRESSION, Policy, judge, read_policy
from reports.gate_power import power_against
from reports.influence import Array
from reports.statistics import Estimate, Parts, estimate, holm, parts_of, pooled_seed_noise, unpaired_seed_noise
from reports.units import units_of

ITEMS = Path(__file__).parent / "items"
PAIRS = (("words", "other_words"), ("minilm_mean", "minilm_weighted_mean"))
SEEDS, SIZES, NOISES = (2, 3, 5), (50, 300, 2000), (0.5, 1.0, 2.0)
ALPHA = 0.05
NEAR = 0.02
"""A printed power may be this far off: of 50 heavy-tailed items an unchanged model passes in 6.8 % where 8.9 % was printed."""


@dataclass(frozen=True)
class Population:
    """Items of one task in points: what one encoder makes of them, and what another changes, with mean zero."""

    base: Array
    change: Array
    swapped: bool
    """How arms have no effect."""


def values_of(encoder: str, task: str) -> list[Array]:
    """For each cell of a task: what every item contributes to its main score, in points, as reports read it."""
    scores, found = read_scores(ITEMS / encoder / task / "scores.json"), []
    for cell in cells(read_items(ITEMS / encoder / task / "items.parquet")):
        units = units_of(scores.task_type, scores.main_metric, cell)[0]
        assert units.kind == "item"
        found.append(POINTS * units.values)
    return found


def populations() -> Iterator[Population]:
    """Every cell of every task with items, of two small encoders and of all-MiniLM-L6-v2 with two poolings."""
    for left, right in PAIRS:
        for folder in sorted((ITEMS / left).iterdir()):
            if "Clustering" not in folder.name:  # ten V-measures, no items to draw from
                for base, other in zip(*(values_of(encoder, folder.name) for encoder in (left, right)), strict=True):
                    yield Population(base, other - base, swapped=True)
                    if len(base) >= 100:
                        yield Population(base, other - base - (other - base).mean(), swapped=False)


EVERY = tuple(populations())


def test_the_populations_have_ties_and_heavy_tails() -> None:
    """The premise: many changes are exact ties, the largest are many standard deviations away, and some are skewed."""
    changes = [(one.change - one.change.mean()) / one.change.std() for one in EVERY]

    assert len(changes) >= 20
    assert sum(np.unique(one.round(9)).size < 0.5 * one.size for one in changes) >= 10
    assert sum(float((one**4).mean()) > 6 for one in changes) >= 10, "kurtosis twice that of a normal variable"
    assert min(float((one**3).mean()) for one in changes) < -1.5
    assert max(one.size for one in changes) > 3000


def draw(rng: np.random.Generator, population: Population, levels: Array, items: int) -> Array:
    """Values (sides, seeds, items): the same items everywhere, each side's own change of them, noise of every seed.

    `levels` (sides, seeds) shift whole checkpoints; side 0 is the baseline.
    """
    sides, seeds = levels.shape
    size = population.base.size
    drawn = rng.integers(0, size, items)
    if population.swapped:
        own = population.change[drawn] * rng.integers(0, 2, (sides, 1, items))
        every_seed = population.change[drawn] * rng.integers(-1, 2, (sides, seeds, items)) / 2
    else:
        own = population.change[rng.integers(0, size, (sides, 1, items))]
        own[0] = 0.0
        every_seed = population.change[rng.integers(0, size, (sides, seeds, items))] / 2
    return np.asarray(population.base[drawn] + own + every_seed + levels[:, :, None])


def three_errors(repetitions: int, share: float = ALPHA) -> float:
    """Three standard errors of a share over this many repetitions."""
    return 3 * math.sqrt(share * (1 - share) / repetitions)


@dataclass(frozen=True)
class Found:
    """What a simulated table did: coverage of the first arm's interval, the level printed, the family-wise error."""

    coverage: float
    printed: float
    family_error: float


def tables(rng: np.random.Generator, seeds: int, items: int, arms: int, noise: float, repetitions: int) -> Found:
    """Tables of null arms; each difference is estimated as `reports table` does, with noise pooled over the arms."""
    chosen = [EVERY[i] for i in rng.permutation(len(EVERY))[:3]]
    covered, levels, alarms = 0, [], 0
    for _ in range(repetitions):
        shifts = rng.normal(0, noise, (arms, seeds))
        blocks = [draw(rng, one, shifts, items) for one in chosen]
        scores = np.mean([block.mean(axis=2) for block in blocks], axis=0)
        centred = [block - block.mean(axis=2, keepdims=True) for block in blocks]
        pooled, p_values = pooled_seed_noise(scores), {}
        for arm in range(1, arms):
            parts = [(1 / len(blocks), parts_of(block[arm] - block[0])) for block in centred]
            found = estimate(scores[arm] - scores[0], parts, pooled)
            assert found is not None
            p_values[str(arm)] = found.p
            if arm == 1:
                covered += abs(found.delta) <= found.half
                levels.append(found.level)
        alarms += min(holm(p_values).values()) < ALPHA
    return Found(covered / repetitions, min(levels), alarms / repetitions)


def check(found: Found, repetitions: int) -> None:
    """The interval covers at least as often as printed; no more than 5 % of families raise an alarm."""
    assert found.coverage >= found.printed - three_errors(repetitions), found
    assert found.family_error <= ALPHA + three_errors(repetitions), found


@pytest.mark.parametrize(("seeds", "items", "noise"), [(2, 50, 1.0), (3, 300, 0.3), (2, 300, 0.0)])
def test_coverage_and_family_error_quick(seeds: int, items: int, noise: float) -> None:
    check(tables(np.random.default_rng(seeds * items), seeds, items, 6, noise, 250), 250)


@pytest.mark.slow
@pytest.mark.parametrize("seeds", [1, *SEEDS])
@pytest.mark.parametrize("items", SIZES)
def test_coverage_and_family_error(seeds: int, items: int, capsys: pytest.CaptureFixture[str]) -> None:
    """2,000 tables each, of six arms and of two; at one seed intervals are about this checkpoint, so seeds have no noise."""
    designs = [(6, 0.0), (6, 0.5), (6, 2.0), (2, 0.5)] if seeds > 1 else [(6, 0.0)]
    for arms, noise in designs:
        found = tables(np.random.default_rng([seeds, items, arms, int(10 * noise)]), seeds, items, arms, noise, 2000)
        with capsys.disabled():
            design = f"{seeds} seeds, {items:4} items, {arms} arms, seed noise {noise}"
            level = f"covers {100 * found.coverage:.1f} %, printed at least {100 * found.printed:.1f} %"
            print(f"\n{design}: {level}; family-wise error {100 * found.family_error:.1f} %", end="", flush=True)
        check(found, 2000)


@pytest.mark.slow
def test_the_printed_level_is_no_better_than_it_must_be(capsys: pytest.CaptureFixture[str]) -> None:
    """Where seed noise is its worst for few seeds, coverage is the printed level, not merely above it."""
    for arms, seeds in ((2, 2), (2, 3), (3, 2)):
        found = min(
            (
                tables(np.random.default_rng([arms, seeds, i]), seeds, 300, arms, noise, 2000)
                for i, noise in enumerate((1, 2, 4))
            ),
            key=lambda one: one.coverage,
        )
        with capsys.disabled():
            print(
                f"\n{arms} arms, {seeds} seeds, worst noise: covers {found.coverage:.3f}, printed {found.printed:.3f}", end=""
            )
        assert found.coverage == pytest.approx(found.printed, abs=0.01 + three_errors(2000, 1 - found.printed))


@dataclass(frozen=True)
class Gate:
    """One simulated gate: what was found of the mean and of each task."""

    overall: Estimate
    tasks: dict[str, Estimate]


def one_gate(rng: np.random.Generator, tasks: Sequence[Population], levels: Array, items: int) -> Gate:
    """A baseline and a candidate with checkpoints at these levels (2, seeds); estimated as `reports.gate` does."""
    blocks = [draw(rng, one, levels, items) for one in tasks]
    means = [block.mean(axis=2) for block in blocks]
    parts = [parts_of(block[1] - block[0] - (block[1] - block[0]).mean(axis=1, keepdims=True)) for block in blocks]

    overall = judged(np.mean(means, axis=0), [(1 / len(parts), part) for part in parts])
    return Gate(overall, {f"task {i}": judged(means[i], [(1.0, part)]) for i, part in enumerate(parts)})


def judged(scores: Array, weighted: list[tuple[float, Parts]]) -> Estimate:
    """Scores of shape (2, seeds)."""
    found = estimate(scores[1] - scores[0], weighted, unpaired_seed_noise(list(scores)))
    assert found is not None
    return found


def gates(rng: np.random.Generator, noise: float, change: float, seeds: int, items: int, repetitions: int) -> list[Gate]:
    """The same design many times: four tasks, seed noise, and a true change of the candidate in points."""
    tasks = [EVERY[i] for i in np.random.default_rng([seeds, items]).permutation(len(EVERY))[:4]]
    shift = np.array([[0.0], [change]])
    return [one_gate(rng, tasks, rng.normal(0, noise, (2, seeds)) + shift, items) for _ in range(repetitions)]


def test_a_truly_worse_model_rarely_passes() -> None:
    """A model worse by the margin of one point passes in at most 5 %, whatever the noise."""
    policy = read_policy("default")
    for noise in NOISES:
        rng = np.random.default_rng(int(10 * noise))
        worse = gates(rng, noise, -policy.margin, 3, 300, 200)
        passed = [judge(one.overall, one.tasks, 3, policy).code for one in worse].count(PASS)
        assert passed / 200 <= policy.alpha + three_errors(200)


@dataclass(frozen=True)
class Errors:
    """Shares over many gates."""

    alarms: float
    """An unchanged model fails."""
    worse_passes: float
    """A model one point worse passes."""
    worse_shown: float
    """Of the mean alone: a model worse by exactly the margin is called worse than the margin."""
    passes: float
    """The non-inferiority test passes an unchanged model: what the printed power is the chance of."""
    printed: float
    in_range: float
    """The true power lies in the printed range."""


def errors_of(rng: np.random.Generator, noise: float, seeds: int, items: int, policy: Policy, repetitions: int) -> Errors:
    same, worse = (gates(rng, noise, change, seeds, items, repetitions) for change in (0.0, -policy.margin))
    codes = [[judge(one.overall, one.tasks, seeds, policy).code for one in side] for side in (same, worse)]
    test_only = Policy(**{**vars(policy), "power": 1e-9})
    passes = [judge(one.overall, {}, seeds, test_only).code for one in same].count(PASS) / repetitions
    shown = [judge(one.overall, {}, seeds, policy).code for one in worse].count(REGRESSION) / repetitions
    powers = [power_against(one.overall, policy.margin, policy.alpha) for one in same]
    slack = NEAR + three_errors(repetitions, min(max(passes, 0.01), 0.99))
    return Errors(
        codes[0].count(REGRESSION) / repetitions,
        codes[1].count(PASS) / repetitions,
        shown,
        passes,
        float(np.mean([one.chance for one in powers])),
        float(np.mean([one.low - slack <= passes <= one.high + slack for one in powers])),
    )


@pytest.mark.slow
@pytest.mark.parametrize("noise", NOISES)
@pytest.mark.parametrize("items", SIZES)
def test_the_gate_errs_as_it_prints(noise: float, items: int, capsys: pytest.CaptureFixture[str]) -> None:
    """2,000 gates each: false alarms, passes of a model one point worse, and the power printed."""
    policy = read_policy("default")
    for seeds in (*SEEDS, 12):
        found = errors_of(np.random.default_rng([int(10 * noise), items, seeds]), noise, seeds, items, policy, 2000)
        with capsys.disabled():
            shares = f"false alarms {100 * found.alarms:.1f} %, one point worse passes {100 * found.worse_passes:.1f} %"
            power = f"unchanged passes {100 * found.passes:.1f} %, printed {100 * found.printed:.1f} %"
            print(
                f"\nnoise {noise}, {items:4} items, {seeds:2} seeds: {shares}; {power}, in range {found.in_range:.3f}", end=""
            )
        assert found.alarms <= policy.alpha + three_errors(2000)
        assert found.worse_passes <= policy.alpha + three_errors(2000)
        assert found.worse_shown <= policy.alpha + three_errors(2000)
        assert found.in_range >= 0.9 - three_errors(2000, 0.1)
        assert found.printed == pytest.approx(found.passes, abs=NEAR + three_errors(2000, max(found.passes, ALPHA)))
