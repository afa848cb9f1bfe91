"""Line 7.5: the quickstart's baseline beats the backbone it was trained from; whatever else moved is printed as it fell.

    python -m tests.acceptance.trained [STORE]

A store that has the quickstart already spares its training.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from reports.effects import Evidence, compare_arms
from reports.load import load
from reports.means import MEAN, Column, task_columns
from reports.statistics import Estimate
from tests.acceptance.quickstart import harness, require


def main() -> None:
    """Run the sweep, read the difference from its records."""
    with tempfile.TemporaryDirectory(prefix="trained-") as folder:
        store = Path(sys.argv[1]).resolve() if len(sys.argv) > 1 else Path(folder) / "store"
        harness("-m", "sweep=trained", store=store)
        (frame,) = load(store, ["trained"], with_baseline=True)
        evidence = Evidence(frame)
        found = {column.heading: compare_arms(evidence, column, "trained", frame.sweep.baseline)
                 for column in (*task_columns(frame), Column(MEAN, "mean of eight tasks", frame.suite))}  # fmt: skip
        for name, effect in found.items():
            if isinstance(effect, Estimate):
                low, high = effect.delta - effect.half, effect.delta + effect.half
                print(f"{name}: trained minus untrained {effect.delta:+.2f}, interval {low:+.2f} to {high:+.2f}")
        primary = found[frame.sweep.primary]
        require(isinstance(primary, Estimate) and primary.delta - primary.half > 0, f"{frame.sweep.primary} excludes zero")


if __name__ == "__main__":
    main()
