"""What tables, comparisons and gates look at: runs with their scores, whoever produced them.

A frame holds what is there and names what is not: a missing task has a reason, and is never a zero and never left out of a
mean. Sweeps come from `load.py`, published results from `published.py`, tables of papers from `reference.py`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from harness.scores import TaskScores
from harness.sweep_record import ArmRecord, SweepRecord

SETTING = ("hardware", "torch", "transformers")


@dataclass(frozen=True)
class Evaluated:
    """One task of one run, as its step left it."""

    scores: TaskScores
    folder: Path | None
    """The step's folder with per-item values; None for results that others published."""
    digest: str
    """Of the payload; empty for published results."""
    items_digest: str
    """SHA-256 of items.parquet as the record has it; empty where there are no per-item values."""


@dataclass(frozen=True)
class Run:
    """One arm with one seed: what was scored, what is missing and why, and on what it ran."""

    arm: str
    seed: int | None
    tasks: dict[str, Evaluated]
    missing: dict[str, str]
    settings: frozenset[tuple[str, ...]]
    """(hardware, torch, transformers) of every finished step."""
    seconds: dict[str, float]
    """Seconds of every finished step by label."""
    weights: str
    """Digest of the trained weights' payload, or empty: two arms with equal scores must not differ here."""


@dataclass(frozen=True)
class Frame:
    """A sweep, or a set of published models, as tables see it."""

    sweep: SweepRecord
    store: Path
    runs: tuple[Run, ...]

    @property
    def suite(self) -> tuple[str, ...]:
        """Every task asked of any run, in the order of the first run that has it."""
        return tuple(dict.fromkeys(task for run in self.runs for task in (*run.tasks, *run.missing)))

    @property
    def task_types(self) -> dict[str, str]:
        """The type of every task that was scored anywhere."""
        return {name: done.scores.task_type for run in self.runs for name, done in run.tasks.items()}

    def of_arm(self, arm: str) -> tuple[Run, ...]:
        """The runs of an arm, by seed."""
        return tuple(run for run in self.runs if run.arm == arm)

    @property
    def arm_names(self) -> tuple[str, ...]:
        """The arms that are here, baseline first."""
        names = tuple(dict.fromkeys(run.arm for run in self.runs))
        return tuple(sorted(names, key=lambda name: name != self.sweep.baseline))


def differing_settings(frame: Frame) -> dict[str, str]:
    """Arms that did not run on what the baseline ran on, with what differs; empty when all agree."""
    base = frozenset().union(*(run.settings for run in frame.of_arm(frame.sweep.baseline)))
    found = {}
    for arm in frame.arm_names:
        mine = frozenset().union(*(run.settings for run in frame.of_arm(arm)))
        names = [
            f"{name} {', '.join(sorted({s[i] for s in mine}))} (baseline: {', '.join(sorted({s[i] for s in base}))})"
            for i, name in enumerate(SETTING)
            if base and mine and {s[i] for s in mine} != {s[i] for s in base}
        ]
        if names:
            found[arm] = "; ".join(names)
    return found


def described(frame: Frame) -> dict[str, ArmRecord]:
    """Arm records by name."""
    return {arm.name: arm for arm in frame.sweep.arms}


def only_seeds(frame: Frame, seeds: Iterable[int | None]) -> Frame:
    """The frame reduced to some seeds."""
    kept = set(seeds)
    return replace(frame, runs=tuple(run for run in frame.runs if run.seed in kept))
