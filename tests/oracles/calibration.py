"""Prints the table of `reports/calibration.py`: how often a nominal p arises by chance under the worst share of seed noise.

Model: the estimate is normal with variance seed + item; the seed part is estimated on few degrees of freedom, the item part
(hundreds of items) is as good as known; degrees of freedom by Satterthwaite. With few, a small estimate of the seed part
comes with many degrees of freedom, so nominal p-values are too small. For every nominal p the largest simulated probability
over shares of seed noise is printed.

    python tests/oracles/calibration.py
"""

from __future__ import annotations

import numpy as np
from scipy import special

NOMINAL = (0.2, 0.1, 0.05, 0.03, 0.02, 0.01, 0.005, 0.002, 0.001, 5e-4, 2e-4, 1e-4, 3e-5, 1e-5)
RATIOS = tuple(np.geomspace(0.03, 1000, 25))  # variance of the seed part over that of the item part
DRAWS = 1_000_000


def worst_case(seed_freedom: int, rng: np.random.Generator) -> list[float]:
    """For each nominal p: the largest probability, over ratios, of a nominal p at most that small when there is no effect."""
    worst = np.zeros(len(NOMINAL))
    for ratio in RATIOS:
        effect = rng.standard_normal(DRAWS) * np.sqrt(1 + ratio)
        seed_part = ratio * rng.chisquare(seed_freedom, DRAWS) / (seed_freedom)
        variance = seed_part + 1
        freedom = seed_freedom * (variance / seed_part) ** 2
        p = 2 * special.stdtr(freedom, -np.abs(effect) / np.sqrt(variance))
        worst = np.maximum(worst, [float(np.mean(p <= x)) for x in NOMINAL])
    return [round(float(x), 7) for x in worst]


if __name__ == "__main__":
    generator = np.random.default_rng(20401)
    print("NOMINAL =", NOMINAL)
    for freedom in (1, 2, 3, 4, 5, 6, 8, 10, 12, 16, 20, 30, 50, 100):
        print(freedom, worst_case(freedom, generator), flush=True)
