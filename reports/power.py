"""`reports power`: how many seeds and how many items a wanted effect needs, from the noise a sweep has shown.

The seed part of the variance falls with seeds only, the item part with items; both come from the sweep's own estimates of the
primary score (the median over its arms). Degrees of freedom are those of a sweep with as many arms.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from reports.effects import Evidence, find
from reports.frame import Frame
from reports.layouts import known_columns
from reports.load import RunError
from reports.statistics import ALPHA, POWER, Estimate, one_sided_p, t_quantile

SEEDS = (1, 2, 3, 5, 8, 12)
ITEMS = (1, 2, 4, 8)


@dataclass(frozen=True)
class Noise:
    """Variance of one arm's difference: from seeds (for one seed) and from items (as many as there are now)."""

    seed: float
    item: float
    arms: int


def noise_of(frame: Frame) -> Noise:
    """The noise of the primary score; raises RunError where the sweep has too little to estimate it."""
    columns = tuple(column for column in known_columns(frame) if column.key == frame.sweep.primary)
    found = [one for one in find(Evidence(frame), columns).estimates.values() if isinstance(one, Estimate)]
    found = [one for one in found if one.about == "seeds and items"]
    if not found:
        raise RunError(f"{frame.sweep.name}: noise needs an arm, a baseline, two seeds and per-item values; run more seeds")
    seeds = len(frame.sweep.seeds)
    seed = float(np.median([one.error**2 * one.seed_share * seeds for one in found]))
    item = float(np.median([one.error**2 * (1 - one.seed_share) for one in found]))
    return Noise(seed, item, len(frame.arm_names))


def power_of(noise: Noise, effect: float, seeds: int, items: float) -> float:
    """Chance that a true difference of `effect` points is found (two-sided 5 %, uncorrected) with `items` times the items."""
    variance = noise.seed / seeds + noise.item / items
    freedom = math.inf
    if seeds > 1 and noise.seed > 0:
        freedom = (noise.arms - 1) * (seeds - 1) * (variance / (noise.seed / seeds)) ** 2
    critical = t_quantile(1 - ALPHA / 2, freedom)
    return 1 - one_sided_p(effect / math.sqrt(variance) - critical, freedom) if variance > 0 else 1.0


def power_text(frame: Frame, effect: float) -> str:
    """A small table of power by seeds and multiples of the items, and the least design with 80 %."""
    noise = noise_of(frame)
    lines = [f"Chance to find a true difference of {effect:g} points on {frame.sweep.primary} (two-sided 5 %, uncorrected):"]
    lines.append("seeds   " + "".join(f"{f'items x{items}':>10}" for items in ITEMS))
    for seeds in SEEDS:
        chances = [power_of(noise, effect, seeds, items) for items in ITEMS]
        lines.append(f"{seeds:5}   " + "".join(f"{100 * chance:9.0f}%" for chance in chances))
    enough = [
        (seeds * items, seeds, items) for seeds in SEEDS for items in ITEMS if power_of(noise, effect, seeds, items) >= POWER
    ]
    if enough:
        _, seeds, items = min(enough)
        lines.append(f"Least work for {100 * POWER:.0f} %: {seeds} seeds with {items} times the items of this sweep.")
    else:
        lines.append(f"No design up to {SEEDS[-1]} seeds and {ITEMS[-1]} times the items reaches {100 * POWER:.0f} %.")
    share = noise.seed / (noise.seed + noise.item)
    lines.append(f"Seeds make {100 * share:.0f} % of the variance at one seed; one seed alone cannot show that noise.")
    return "\n".join(lines) + "\n"
