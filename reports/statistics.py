"""Intervals and tests for differences between arms, paired by seed and by unit.

Tasks are fixed ("on this benchmark"); seeds and items are sampled. A column's difference is a weighted mean over tasks, seeds
are shared by tasks, items are not:

    Var = seed part / seeds  +  sum over tasks of weight^2 * item part / items

Each part is estimated by mean squares of the two-way layout (seeds x items) of paired differences, and the t interval has
Satterthwaite's degrees of freedom. With few seeds the seed part is what matters and is known worst: it is pooled over the
arms of the sweep (the arm x seed mean square), unless an arm is plainly noisier than the others and then keeps its own.
The level a nominal interval really has is simulated (`calibration.py`) and printed; p-values are calibrated by the same
simulation. With one seed there is no seed part: the interval is about this checkpoint.

Metrics that are not item means come as influence values (`influence.py`). No Wilcoxon, no sign test: at thousands of items
they reject true nulls (peers.md, part 4).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from reports import calibration
from reports.influence import Array

ALPHA = 0.05
POWER = 0.80
OWN_NOISE = 0.01
"""An arm whose own seed variance would be this improbable under the pooled one keeps its own."""


@dataclass(frozen=True)
class Parts:
    """Mean squares of one block (a task's cell and factor), as contributions to the variance of its mean difference."""

    item: float
    """MS_item / (seeds * units)."""
    rest: float
    """MS_residual / (seeds * units); zero with one seed."""
    units: int
    seeds: int
    freedom: float
    """Degrees of freedom of the item part: units - 1 for normal units, fewer for heavy tails."""


def parts_of(differences: Array) -> Parts:
    """Mean squares of paired differences, shape (seeds, units)."""
    seeds, units = differences.shape
    by_unit = differences.mean(axis=0)
    item = seeds * float(by_unit.var(ddof=1)) if units > 1 else 0.0
    rest = 0.0
    if seeds > 1 and units > 1:
        residual = differences - by_unit - differences.mean(axis=1, keepdims=True) + differences.mean()
        rest = float(np.sum(residual**2)) / ((seeds - 1) * (units - 1))
    return Parts(item / (seeds * units), rest / (seeds * units), units, seeds, _freedom(by_unit))


def _freedom(values: Array) -> float:
    """Degrees of freedom of a variance, from the kurtosis of what it is the variance of.

    A few items that change much, among many that do not, say little about their own spread: without this, intervals over 50
    such items are too narrow in the tail where Holm's correction reads them.
    """
    count = len(values)
    centred = values - values.mean()
    second = float(np.mean(centred**2))
    if count < 2 or second == 0:
        return max(count - 1.0, 1.0)
    excess = max(float(np.mean(centred**4)) / second**2 - 3, 0.0)
    return 2 / (excess / count + 2 / (count - 1))


@dataclass(frozen=True)
class SeedNoise:
    """The variance over seeds of one difference, and how well it is known."""

    variance: float
    freedom: int


def pooled_seed_noise(scores: Array) -> SeedNoise | None:
    """The variance over seeds of a difference of two arms, from scores of shape (arms, seeds); None with one seed.

    Twice the arm x seed mean square: arms with equal noise are assumed, and the footnote says so.
    """
    arms, seeds = scores.shape
    if seeds < 2 or arms < 2:
        return None
    residual = scores - scores.mean(axis=1, keepdims=True) - scores.mean(axis=0, keepdims=True) + scores.mean()
    freedom = (arms - 1) * (seeds - 1)
    return SeedNoise(2 * float(np.sum(residual**2)) / freedom, freedom)


def unpaired_seed_noise(sides: Sequence[Array]) -> SeedNoise | None:
    """The variance over seeds of a difference of two arms, from the spread within each; None where neither has two seeds.

    Not paired by seed: that would halve the degrees of freedom, which with two or three seeds costs more than pairing gains.
    """
    squares = math.fsum(float(np.sum((scores - scores.mean()) ** 2)) for scores in sides if len(scores) > 1)
    freedom = sum(len(scores) - 1 for scores in sides if len(scores) > 1)
    return SeedNoise(2 * squares / freedom, freedom) if freedom else None


@dataclass(frozen=True)
class Estimate:
    """A difference in points with what is known about its error."""

    delta: float
    error: float
    """Standard error."""
    freedom: float
    level: float
    """The level the nominal 95 % interval has, by simulation."""
    p: float
    """Two-sided, calibrated, before correction; never printed without the interval."""
    about: str
    """What the interval is about: `seeds and items`, `this checkpoint`, `tasks`."""
    seed_share: float = 0.0
    """Share of the variance that comes from seeds."""
    seed_freedom: float = math.inf
    """Degrees of freedom behind the seed part; what p was calibrated by."""

    @property
    def half(self) -> float:
        """Half-width of the nominal 95 % interval."""
        return t_quantile(1 - ALPHA / 2, self.freedom) * self.error

    @property
    def detectable(self) -> float:
        """The smallest true difference found with 80 % probability by this design."""
        return (t_quantile(1 - ALPHA / 2, self.freedom) + t_quantile(POWER, self.freedom)) * self.error


def estimate(deltas: Array, blocks: Sequence[tuple[float, Parts]], pooled: SeedNoise | None) -> Estimate | None:
    """A column's mean difference from its differences per seed and its weighted blocks; None where nothing is testable.

    Deltas and blocks are in points. With one seed and no items there is no noise to judge by; with one seed and noise known
    from elsewhere (`pooled`), that noise is added to that of the items.
    """
    seeds = len(deltas)
    delta = float(np.mean(deltas))
    item = math.fsum(weight**2 * part.item for weight, part in blocks)
    rest = math.fsum(weight**2 * part.rest for weight, part in blocks)
    item_squares = math.fsum((weight**2 * p.item) ** 2 / p.freedom for weight, p in blocks if p.units > 1)
    if seeds == 1 and pooled is None:
        return _finish(delta, item, item**2 / item_squares, 0.0, math.inf, "this checkpoint") if item > 0 else None
    noise = _seed_noise(deltas, pooled)
    seed = noise.variance / seeds
    rest_squares = math.fsum(
        (weight**2 * p.rest) ** 2 / ((p.units - 1) * (seeds - 1)) for weight, p in blocks if p.units > 1 and seeds > 1
    )
    if seed < rest:  # a seed variance below what the items' own noise gives is an underestimate
        variance, squares, seed = item, item_squares, rest
    elif item <= rest:
        variance, squares = seed, seed**2 / noise.freedom
    else:
        variance = seed + item - rest
        squares = seed**2 / noise.freedom + item_squares + rest_squares
    if variance <= 0 or squares <= 0:
        return None
    return _finish(delta, variance, variance**2 / squares, min(1.0, seed / variance), noise.freedom, "seeds and items")


def _seed_noise(deltas: Array, pooled: SeedNoise | None) -> SeedNoise:
    if len(deltas) == 1 and pooled is not None:
        return pooled
    own = SeedNoise(float(np.var(deltas, ddof=1)), len(deltas) - 1)
    if pooled is None or pooled.freedom <= own.freedom:
        return own
    if pooled.variance > 0 and f_tail(own.variance / pooled.variance, own.freedom, pooled.freedom) < OWN_NOISE:
        return own
    return pooled


def _finish(delta: float, variance: float, freedom: float, share: float, seed_freedom: float, about: str) -> Estimate:
    error = math.sqrt(variance)
    nominal = two_sided_p(delta / error, freedom)
    level = 1 - calibration.actual(ALPHA, seed_freedom)
    return Estimate(delta, error, freedom, level, calibration.actual(nominal, seed_freedom), about, share, seed_freedom)


def over_tasks(deltas: Array) -> Estimate | None:
    """A mean difference from task means alone: tasks are the sample. None below `MIN_TASKS` tasks."""
    if len(deltas) < MIN_TASKS:
        return None
    error = float(np.std(deltas, ddof=1)) / math.sqrt(len(deltas))
    if error == 0:
        return None
    delta, freedom = float(np.mean(deltas)), len(deltas) - 1
    return Estimate(delta, error, freedom, 1 - ALPHA, two_sided_p(delta / error, freedom), "tasks")


MIN_TASKS = 5
"""Below five tasks a t interval over tasks rests on a normality that nobody can see."""


def holm(p_values: Mapping[str, float]) -> dict[str, float]:
    """Holm's adjusted p-values: controls the family-wise error whatever the dependence (all arms share a baseline)."""
    adjusted: dict[str, float] = {}
    running = 0.0
    for rank, (name, p) in enumerate(sorted(p_values.items(), key=lambda pair: pair[1])):
        running = max(running, min(1.0, (len(p_values) - rank) * p))
        adjusted[name] = running
    return adjusted


def t_quantile(probability: float, freedom: float) -> float:
    """Student's t quantile."""
    from scipy import special

    if math.isinf(freedom):
        return float(special.ndtri(probability))
    return float(special.stdtrit(freedom, probability))


def two_sided_p(t: float, freedom: float) -> float:
    """Two-sided p of a t value."""
    from scipy import special

    tail = special.ndtr(-abs(t)) if math.isinf(freedom) else special.stdtr(freedom, -abs(t))
    return float(min(1.0, 2 * tail))


def one_sided_p(t: float, freedom: float) -> float:
    """P(T >= t)."""
    from scipy import special

    return float(special.ndtr(-t) if math.isinf(freedom) else special.stdtr(freedom, -t))


def f_tail(ratio: float, numerator: float, denominator: float) -> float:
    """P(F >= ratio)."""
    from scipy import special

    return float(special.fdtrc(numerator, denominator, ratio))
