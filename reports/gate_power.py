"""The power a gate prints: how often its test of non-inferiority would pass an unchanged model.

A pass means something only where an unchanged model would have passed. The chance follows from the standard error of this
very comparison; with few seeds that error is known badly, so its range is printed too.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from reports import calibration
from reports.statistics import Estimate, one_sided_p, t_quantile

TAIL = 0.05
"""Each side of the range."""
RANKS = 50
"""Points over which the range averages the estimates that a repetition of the design would give."""


@dataclass(frozen=True)
class Power:
    """Chance of passing an unchanged model, and its 90 % range for what the seeds at hand leave unknown."""

    chance: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{100 * self.chance:.0f} % [{100 * self.low:.0f}, {100 * self.high:.0f}]"


def power_against(found: Estimate, margin: float, alpha: float) -> Power:
    """Power of the one-sided test at `alpha` that a model is not worse than `margin` points."""
    nominal = calibration.nominal_of(2 * alpha, found.seed_freedom) / 2
    error, freedom = _typical(found)
    chance = 1 - one_sided_p(margin / error - t_quantile(1 - nominal, freedom), freedom)
    worst, best = (_factor(found, tail) for tail in (TAIL, 1 - TAIL))
    low, high = (_passes(found, factor, margin, nominal) for factor in (worst, best))
    return Power(chance, min(low, chance), max(high, chance))


def _typical(found: Estimate) -> tuple[float, float]:
    """Standard error and freedom with the seed part at the middle of what it may be.

    A variance of few degrees of freedom is more often too small than too large: taken as found, it promised up to six points
    of power more than there were.
    """
    if math.isinf(found.seed_freedom):
        return found.error, found.freedom
    from scipy import special

    seed = found.seed_share * found.seed_freedom / float(special.chdtri(found.seed_freedom, 0.5))
    item = 1 - found.seed_share
    doubt = seed**2 / found.seed_freedom + item**2 / _item_freedom(found)
    return found.error * math.sqrt(seed + item), (seed + item) ** 2 / doubt if doubt > 0 else math.inf


def _item_freedom(found: Estimate) -> float:
    """What the seed part leaves of the doubt in Satterthwaite's sum is the item part's; a tiny part's does not matter."""
    doubt = 1 / found.freedom - found.seed_share**2 / found.seed_freedom
    return max((1 - found.seed_share) ** 2 / doubt, 1.0) if doubt > 1e-9 else math.inf


def _factor(found: Estimate, tail: float) -> float:
    """A limit of the true variance of the difference, as a multiple of the estimated one.

    Seed and item part are each an estimate over a chi-square; their sum's limits are those of Graybill and Wang (1980).
    """
    from scipy import special

    moves = [
        part * (freedom / float(special.chdtri(freedom, 1 - tail)) - 1)
        for part, freedom in ((found.seed_share, found.seed_freedom), (1 - found.seed_share, _item_freedom(found)))
        if part > 0 and math.isfinite(freedom)
    ]
    return max(1 + math.copysign(math.hypot(*moves), 0.5 - tail), 1e-6)


def _passes(found: Estimate, factor: float, margin: float, nominal: float) -> float:
    """How often an unchanged model passes, were the variance `factor` times the one found.

    Over the estimates of the seed part which a repetition of the design would give, each with its own critical value.
    """
    from scipy import special

    seed, item = found.seed_share * factor, (1 - found.seed_share) * factor
    error = math.sqrt(seed + item)
    if seed == 0:
        return 1 - one_sided_p(margin / (found.error * error) - t_quantile(1 - nominal, found.freedom), found.freedom)
    again = seed * special.chdtri(found.seed_freedom, (np.arange(RANKS) + 0.5) / RANKS) / found.seed_freedom
    freedom = found.seed_freedom * ((again + item) / again) ** 2
    critical = special.stdtrit(freedom, 1 - nominal) * np.sqrt(again + item)
    return float(np.mean(special.ndtr((margin / found.error - critical) / error)))
