"""How often a nominal p arises by chance: a simulated table, and the interpolation that reads it.

With few degrees of freedom for the seed part, a small estimate of it brings many Satterthwaite degrees of freedom and too
narrow an interval. The table holds, for the worst share of seed noise, the probability of a nominal p at most that small when
there is no effect; `tests/oracles/calibration.py` prints it.
"""

from __future__ import annotations

import bisect
import math
from functools import lru_cache

import numpy as np

NOMINAL = (
    0.2, 0.1, 0.05, 0.03, 0.02, 0.01, 0.005, 0.002, 0.001, 0.0005, 0.0002, 0.0001, 3e-05, 1e-05,
)  # fmt: skip
ACTUAL = {
    1: (0.245, 0.169, 0.128, 0.109, 0.0981, 0.0833, 0.0725, 0.0624, 0.0565, 0.0516, 0.0465, 0.0433, 0.0388, 0.0353),
    2: (0.215, 0.124, 0.0789, 0.059, 0.0481, 0.0354, 0.0274, 0.0203, 0.017, 0.014, 0.011, 0.0098, 0.0078, 0.0066),
    3: (0.207, 0.112, 0.0643, 0.0446, 0.0342, 0.0225, 0.016, 0.01, 0.0077, 0.006, 0.0044, 0.0036, 0.0026, 0.002),
    4: (0.204, 0.108, 0.0587, 0.0389, 0.0286, 0.017, 0.011, 0.0066, 0.0047, 0.0033, 0.0022, 0.0017, 0.0011, 0.0008),
    5: (0.203, 0.105, 0.0557, 0.0358, 0.0255, 0.015, 0.0091, 0.0049, 0.0033, 0.0023, 0.0015, 0.0011, 0.00063, 0.00041),
    6: (0.202, 0.104, 0.0543, 0.0342, 0.0239, 0.013, 0.008, 0.0041, 0.0026, 0.0017, 0.001, 0.00071, 0.00042, 0.00027),
    8: (0.201, 0.102, 0.0526, 0.0325, 0.0223, 0.012, 0.0067, 0.0032, 0.0019, 0.0012, 0.00062, 0.00041, 0.0002, 0.00011),
    10: (0.201, 0.102, 0.0519, 0.0317, 0.0217, 0.011, 0.0061, 0.0028, 0.0016, 0.0009, 0.00041, 0.00026, 0.00012, 6.2e-05),
    12: (0.201, 0.101, 0.0513, 0.0312, 0.0211, 0.011, 0.0058, 0.0025, 0.0014, 0.0008, 0.00038, 0.00022, 8.2e-05, 3.8e-05),
    16: (0.201, 0.101, 0.0509, 0.0308, 0.0207, 0.011, 0.0055, 0.0023, 0.0012, 0.00064, 0.00031, 0.00018, 6.7e-05, 2.8e-05),
    20: (0.201, 0.101, 0.0508, 0.0308, 0.0206, 0.01, 0.0053, 0.0022, 0.0012, 0.00061, 0.00026, 0.00015, 5.4e-05, 2.2e-05),
    30: (0.201, 0.101, 0.0506, 0.0304, 0.0203, 0.01, 0.0052, 0.0021, 0.0011, 0.00056, 0.00025, 0.00013, 4.4e-05, 2e-05),
    50: (0.201, 0.1, 0.0504, 0.0304, 0.0203, 0.01, 0.0051, 0.0021, 0.0011, 0.00053, 0.00023, 0.00012, 3.6e-05, 1.5e-05),
    100: (0.201, 0.1, 0.0504, 0.0302, 0.0203, 0.01, 0.0051, 0.0021, 0.0011, 0.00053, 0.00023, 0.00011, 3.9e-05, 2.1e-05),
}  # fmt: skip


_X = np.log((1.0, *NOMINAL))[::-1]
_ROWS = {freedom: np.log((1.0, *ACTUAL[freedom]))[::-1] for freedom in sorted(ACTUAL, reverse=True)}
_INVERSE = (0.0, *(1 / freedom for freedom in _ROWS))


def actual(nominal: float, seed_freedom: float) -> float:
    """The largest simulated probability of a nominal p at most this small, given the seed part's degrees of freedom.

    Interpolated in log p and in 1 / degrees of freedom; beyond the table's smallest p the last slope continues. With no seed
    part (infinite degrees of freedom) nominal p-values are right.
    """
    if nominal <= 0:
        return 0.0
    inverse = min(1 / seed_freedom, 1.0) if seed_freedom > 0 else 1.0
    x = math.log(nominal)
    above = min(bisect.bisect_right(_INVERSE, inverse), len(_ROWS))
    low, high = _INVERSE[above - 1], _INVERSE[above]
    less, more = (_log_actual(x, position) for position in (above - 1, above))
    value = less + (more - less) * (inverse - low) / (high - low)
    return min(1.0, max(nominal, math.exp(value)))


def _log_actual(x: float, position: int) -> float:
    """Log of the actual p of a nominal log p, for one row of the table; row 0 is that of known noise."""
    if position == 0:
        return x
    y = _ROWS[round(1 / _INVERSE[position])]
    if x < _X[0]:
        return float(y[0] + (y[1] - y[0]) / (_X[1] - _X[0]) * (x - _X[0]))
    return float(np.interp(x, _X, y))


@lru_cache(maxsize=1024)
def nominal_of(actual_p: float, seed_freedom: float) -> float:
    """The nominal p whose actual probability is this: the inverse of `actual`."""
    low, high = 1e-12, actual_p
    for _ in range(60):
        middle = math.sqrt(low * high)
        low, high = (middle, high) if actual(middle, seed_freedom) < actual_p else (low, middle)
    return low
