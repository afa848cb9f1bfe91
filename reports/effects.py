"""From a frame to estimates: which arms differ from which, by how much, and how well that is known.

Reads the per-item values of a frame once, checks each file against its record, pairs units by name, and hands differences to
`statistics.py`. Not here: how an estimate is printed.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np

from harness.items import ItemError, cells
from harness.record import PAYLOAD
from harness.scores import ITEMS_FILE
from reports.frame import Evaluated, Frame, Run
from reports.influence import Array
from reports.load import checked_bytes
from reports.means import CellKey, Column
from reports.parts_cache import PartsCache, key_of
from reports.statistics import (
    ALPHA,
    MIN_TASKS,
    Estimate,
    Parts,
    SeedNoise,
    estimate,
    holm,
    over_tasks,
    parts_of,
    pooled_seed_noise,
)
from reports.units import Units, parse_items, units_of

POINTS = 100.0


@dataclass(frozen=True)
class Untestable:
    """Why there is no interval."""

    why: str
    delta: float | None = None
    """The difference in points where there is one; zero means that nothing differs at all."""


@dataclass
class Evidence:
    """The units of every evaluation of a frame, read when first asked for."""

    frame: Frame
    noise: Frame | None = None
    """Where seed noise is pooled, if not over the arms of `frame`: the sweep that a pair of arms was taken from."""
    cache: PartsCache = field(default_factory=lambda: PartsCache(None))
    _units: dict[tuple[str, str], Mapping[tuple[str, str], tuple[Units, ...]] | Untestable] = field(default_factory=dict)
    _scores: dict[tuple[str, str, int | None], float | None] = field(default_factory=dict)
    _parts: dict[tuple[str, str, CellKey, str, tuple[int | None, ...]], tuple[Parts, ...] | Untestable] = field(
        default_factory=dict
    )

    def units(self, done: Evaluated, metric: str) -> Mapping[tuple[str, str], tuple[Units, ...]] | Untestable:
        """Units by (split, subset) of one evaluation for a metric (empty: its main one), or why there are none."""
        if done.folder is None or not done.items_digest:
            return Untestable("no per-item values")
        key = (str(done.folder), metric or done.scores.main_metric)
        if key not in self._units:
            path = done.folder / PAYLOAD / ITEMS_FILE
            scores = done.scores
            try:
                table = parse_items(checked_bytes(path, done.items_digest))
                found = {c.cell: units_of(scores.task_type, key[1], c) for c in cells(table)}
                self._units[key] = found
            except (ItemError, ZeroDivisionError) as error:
                self._units[key] = Untestable(str(error))
        return self._units[key]

    def score(self, column: Column, run: Run) -> float | None:
        """A column's score of one run, computed once."""
        key = (column.key, run.arm, run.seed)
        if key not in self._scores:
            self._scores[key] = column.score(run)
        return self._scores[key]

    def parts(
        self, cell: CellKey, metric: str, mine: tuple[Run, ...], theirs: tuple[Run, ...]
    ) -> tuple[Parts, ...] | Untestable:
        """Mean squares of the paired differences of one cell, one per sampled factor; runs are in seed order."""
        key = (mine[0].arm, theirs[0].arm, cell, metric, tuple(run.seed for run in mine))
        if key not in self._parts:
            self._parts[key] = self._known_or_computed(cell, metric, mine, theirs)
        return self._parts[key]

    def _known_or_computed(
        self, cell: CellKey, metric: str, mine: tuple[Run, ...], theirs: tuple[Run, ...]
    ) -> tuple[Parts, ...] | Untestable:
        sides = [[run.tasks[cell.task] for run in runs] for runs in (mine, theirs)]
        scores = sides[0][0].scores
        digests = [[done.items_digest for done in side] for side in sides]
        if not all(digest for side in digests for digest in side):
            return self._differences(cell, metric, mine, theirs)
        named = (cell.task, cell.split, cell.subset, scores.task_type, metric or scores.main_metric)
        key = key_of(named, *digests)
        if key not in self.cache.known:
            found = self._differences(cell, metric, mine, theirs)
            if isinstance(found, Untestable):
                return found
            self.cache.put(key, found)
        return self.cache.known[key]

    def _differences(
        self, cell: CellKey, metric: str, mine: tuple[Run, ...], theirs: tuple[Run, ...]
    ) -> tuple[Parts, ...] | Untestable:
        sides: list[list[tuple[Units, ...]]] = []
        for runs in (mine, theirs):
            sides.append([])
            for run in runs:
                found = self.units(run.tasks[cell.task], metric)
                if isinstance(found, Untestable):
                    return Untestable(f"{cell.task}: {found.why}")
                if (cell.split, cell.subset) not in found:
                    return Untestable(f"{cell.task}: no per-item values of {cell.split}/{cell.subset}")
                sides[-1].append(found[cell.split, cell.subset])
        first = sides[0][0]
        for units in (*sides[0], *sides[1]):
            if len(units) != len(first) or not all(a.pairs_with(b) for a, b in zip(units, first, strict=True)):
                return Untestable(f"{cell.task}: arms or seeds were scored on different items, so nothing can be paired")
        return tuple(parts_of(POINTS * (_stack(sides[0], index) - _stack(sides[1], index))) for index in range(len(first)))


def _stack(runs: list[tuple[Units, ...]], index: int) -> Array:
    return np.stack([units[index].values for units in runs])


def paired_runs(mine: Iterable[Run], theirs: Iterable[Run]) -> tuple[tuple[Run, ...], tuple[Run, ...]]:
    """The runs of two arms with common seeds, in seed order."""
    left, right = ({run.seed: run for run in side} for side in (mine, theirs))
    seeds = sorted(left.keys() & right.keys(), key=lambda seed: -1 if seed is None else seed)
    return tuple(left[seed] for seed in seeds), tuple(right[seed] for seed in seeds)


def compare_arms(
    evidence: Evidence, column: Column, arm: str, base: str, noise: SeedNoise | None = None
) -> Estimate | Untestable:
    """The difference of two arms of a frame in one column; over tasks where neither items nor seeds were published.

    Noise over seeds is pooled over the arms of the frame unless given.
    """
    mine, theirs = paired_runs(evidence.frame.of_arm(arm), evidence.frame.of_arm(base))
    if not mine:
        return Untestable("no common seed")
    scores = [(evidence.score(column, a), evidence.score(column, b)) for a, b in zip(mine, theirs, strict=True)]
    if any(a is None or b is None for a, b in scores):
        return Untestable("incomplete")
    deltas = np.array([float(a or 0) - float(b or 0) for a, b in scores])
    blocks: list[tuple[float, Parts]] = []
    reasons = []
    for cell, weight in (column.weights(mine[0]) or {}).items():
        found = evidence.parts(cell, column.metric, mine, theirs)
        if isinstance(found, Untestable):
            reasons.append(found.why)
        else:
            blocks += [(weight, part) for part in found]
    if reasons and mine[0].seed is None:  # published scores: no items, no seeds, tasks are all there is
        return _over_tasks(column, mine[0], theirs[0])
    if reasons:
        return Untestable(reasons[0])
    noise = noise or seed_noise(evidence, column, tuple(run.seed for run in mine))
    result = estimate(deltas, blocks, noise)
    return result if result is not None else Untestable("no variation to judge by", float(deltas.mean()))


def _over_tasks(column: Column, mine: Run, theirs: Run) -> Estimate | Untestable:
    deltas = [POINTS * (mine.tasks[task].scores.main - theirs.tasks[task].scores.main) for task in column.tasks]
    if len(deltas) < MIN_TASKS:
        return Untestable(f"{column.title}: a test over tasks needs {MIN_TASKS} tasks")
    found = over_tasks(np.array(deltas))
    return found if found is not None else Untestable(f"{column.title}: all tasks differ by the same")


def seed_noise(evidence: Evidence, column: Column, seeds: tuple[int | None, ...]) -> SeedNoise | None:
    """Seed noise of one column pooled over the arms that are complete for these seeds."""
    rows = []
    frame = evidence.noise or evidence.frame
    for arm in frame.arm_names:
        runs = {run.seed: run for run in frame.of_arm(arm)}
        scores = [evidence.score(column, runs[seed]) for seed in seeds if seed in runs]
        if len(scores) == len(seeds) and all(score is not None for score in scores):
            rows.append([float(score or 0) for score in scores])
    return pooled_seed_noise(np.array(rows)) if len(rows) > 1 else None


@dataclass(frozen=True)
class Findings:
    """Everything a table prints about differences: estimates by (arm, column) and adjusted p of the declared family."""

    estimates: Mapping[tuple[str, str], Estimate | Untestable]
    adjusted: Mapping[str, float]
    """Holm's p for each arm of the family on the primary column."""
    best: frozenset[tuple[str, str]]
    """(arm, column) not distinguishable from the best arm of the column."""

    def level(self) -> float:
        """The lowest simulated level of any interval printed; nan without any."""
        return min((e.level for e in self.estimates.values() if isinstance(e, Estimate)), default=math.nan)


def find(evidence: Evidence, columns: tuple[Column, ...]) -> Findings:
    """Estimate every arm against the baseline in every column, and every arm against the best."""
    sweep = evidence.frame.sweep
    arms = [arm for arm in evidence.frame.arm_names if arm != sweep.baseline]
    estimates = {(arm, c.key): compare_arms(evidence, c, arm, sweep.baseline) for arm in arms for c in columns}
    family = {arm: estimates.get((arm, sweep.primary)) for arm in arms if arm in sweep.family}
    adjusted = holm({arm: found.p for arm, found in family.items() if isinstance(found, Estimate)})
    best = frozenset(pair for column in columns for pair in _best(evidence, column))
    return Findings(estimates, adjusted, best)


def _best(evidence: Evidence, column: Column) -> list[tuple[str, str]]:
    """The best arm of a column and all that cannot be told from it (Holm over the arms)."""
    means = {}
    for arm in evidence.frame.arm_names:
        scores = [evidence.score(column, run) for run in evidence.frame.of_arm(arm)]
        if scores and all(score is not None for score in scores):
            means[arm] = math.fsum(float(score or 0) for score in scores) / len(scores)
    if len(means) < 2:
        return []
    top = max(means, key=lambda arm: means[arm])
    against = {arm: compare_arms(evidence, column, arm, top) for arm in means if arm != top}
    p_values = holm({arm: found.p for arm, found in against.items() if isinstance(found, Estimate)})
    if not p_values:  # nothing in this column can be tested, so nothing is marked
        return []
    equal = [arm for arm in against if means[arm] == means[top]]
    near = [arm for arm, p in p_values.items() if p >= ALPHA]
    return [(arm, column.key) for arm in dict.fromkeys((top, *equal, *near))]
