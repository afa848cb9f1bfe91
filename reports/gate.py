"""The regression gate: whether this candidate may replace that baseline.

Order of questions: comparable and complete (else 3); different weights with the very same scores (a cache that answered for
another checkpoint: 1); shown worse than a margin (1); shown not worse than the margin by a design that would have passed an
unchanged model with the power asked for (0); else inconclusive (2, or 0 with a warning by policy). A pass is a statement
with a known error: a model truly worse by the margin passes with at most `alpha`.

Margins are policy in `conf/gate`. Training noise is estimated from the seeds of both sides and enters the standard error only.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from annotated_types import Ge, Gt, Lt

from harness.config import ConfigError, Problem, decode
from reports import calibration
from reports.comparable import differences
from reports.effects import Evidence, Untestable, compare_arms, paired_runs
from reports.frame import Frame
from reports.gate_power import Power, power_against
from reports.means import Column, task_columns, type_columns
from reports.statistics import Estimate, SeedNoise, holm, one_sided_p, unpaired_seed_noise

CONF = Path(__file__).parents[1] / "conf" / "gate"
MEAN = "mean over tasks"
PASS, REGRESSION, INCONCLUSIVE, NOT_COMPARABLE, USAGE = range(5)
NAMES = ("pass", "regression", "inconclusive", "not comparable", "usage")


@dataclass(frozen=True)
class Policy:
    """One `conf/gate/<name>.yaml`."""

    margin: Annotated[float, Gt(0)]
    task_margin: Annotated[float, Gt(0)]
    task_margins: dict[str, float]
    alpha: Annotated[float, Gt(0), Lt(0.5)]
    power: Annotated[float, Gt(0), Lt(1)]
    least_seeds: Annotated[int, Ge(1)]
    inconclusive: Literal["fail", "warn"]
    improvement: Annotated[float, Gt(0)]
    same_hardware: bool
    comparable: tuple[str, ...]


@dataclass(frozen=True)
class Judged:
    """One statement of the gate: about the mean, or about one task."""

    name: str
    outcome: Literal["pass", "regression", "inconclusive"]
    why: str
    delta: float | None
    error: float | None
    margin: float


@dataclass(frozen=True)
class Verdict:
    """What the gate found."""

    code: int
    summary: str
    reasons: tuple[str, ...]
    judged: tuple[Judged, ...]
    notices: tuple[str, ...]
    power: Power | None

    @property
    def name(self) -> str:
        """The verdict in a word."""
        return NAMES[self.code]


def read_policy(name: str) -> Policy:
    """A policy by name (`conf/gate/<name>.yaml`) or path; raises ConfigError naming what is wrong."""
    import yaml

    path = Path(name) if name.endswith((".yaml", ".yml")) else CONF / f"{name}.yaml"
    if not path.is_file():
        known = ", ".join(sorted(found.stem for found in CONF.glob("*.yaml")))
        raise ConfigError([Problem("policy", f"{path} does not exist; known: {known}")])
    data: Any = yaml.safe_load(path.read_text(encoding="utf-8"))
    if not isinstance(data, Mapping):
        raise ConfigError([Problem("policy", f"{path} is not a mapping")])
    return decode(Policy, json.loads(json.dumps(data)), str(path))


def gate(baseline: Frame, candidate: Frame, policy: Policy) -> Verdict:
    """Judge a candidate of one arm against a baseline of one arm."""
    unlike = differences(baseline, candidate, policy.comparable, same_hardware=policy.same_hardware)
    if unlike:
        return Verdict(NOT_COMPARABLE, f"{len(unlike)} differences forbid a comparison", tuple(unlike), (), (), None)
    merged = _merged(baseline, candidate)
    fault = suspected_fault(merged)
    if fault:
        return Verdict(REGRESSION, fault, (fault,), (), (), None)
    evidence = Evidence(merged)
    mean = type_columns(merged)[-1]
    overall = _estimate(evidence, mean)
    tasks = {column.key: _estimate(evidence, column) for column in task_columns(merged)}
    return judge(overall, tasks, len(baseline.runs), policy)


def _merged(baseline: Frame, candidate: Frame) -> Frame:
    sweep = replace(baseline.sweep, baseline="baseline", primary="mean", family=("candidate",))
    runs = tuple(
        replace(run, arm=name) for name, frame in (("baseline", baseline), ("candidate", candidate)) for run in frame.runs
    )
    return Frame(sweep, baseline.store, runs)


def suspected_fault(frame: Frame) -> str:
    """Different weights that score the same to the last digit on every task were not scored: text, or empty."""
    mine, theirs = paired_runs(frame.of_arm("candidate"), frame.of_arm("baseline"))
    for a, b in zip(mine, theirs, strict=True):
        equal = all(a.tasks[t].scores.subsets == b.tasks[t].scores.subsets for t in a.tasks.keys() & b.tasks.keys())
        if a.weights and b.weights and a.weights != b.weights and a.tasks and equal:
            weights = f"{a.weights[:8]} and {b.weights[:8]}"
            return f"suspected cache fault: seed {a.seed} has other weights ({weights}) and the very same scores"
    return ""


def _estimate(evidence: Evidence, column: Column) -> Estimate | Untestable:
    frame = evidence.frame
    return compare_arms(evidence, column, "candidate", "baseline", noise=within_arm_noise(frame, column))


def within_arm_noise(frame: Frame, column: Column) -> SeedNoise | None:
    """The noise of a column over seeds, from the runs of both sides."""
    scores = [[column.score(run) for run in frame.of_arm(arm)] for arm in ("baseline", "candidate")]
    return unpaired_seed_noise([np.array([score for score in side if score is not None]) for side in scores])


def judge(overall: Estimate | Untestable, tasks: Mapping[str, Estimate | Untestable], seeds: int, policy: Policy) -> Verdict:
    """The verdict from estimates: of the mean over tasks, and of every task."""
    mean, power = _judge_mean(overall, seeds, policy)
    judged = (mean, *_judge_tasks(tasks, policy))
    reasons = tuple(f"{one.name}: {one.why}" for one in judged if one.outcome != "pass")
    notices = []
    if isinstance(overall, Estimate) and overall.delta > policy.improvement:
        notices.append(f"the mean rose by {overall.delta:.1f} points, more than {policy.improvement}: look for a leak or a bug")
    if any(one.outcome == "regression" for one in judged):
        worse = ", ".join(one.name for one in judged if one.outcome == "regression")
        return Verdict(REGRESSION, f"worse than the margin: {worse}", reasons, judged, tuple(notices), power)
    if any(one.outcome == "inconclusive" for one in judged):
        undecided = ", ".join(one.name for one in judged if one.outcome == "inconclusive")
        return Verdict(INCONCLUSIVE, f"neither shown nor ruled out: {undecided}", reasons, judged, tuple(notices), power)
    said = f"not worse than the margin of {policy.margin} points, and no task is shown to be harmed"
    return Verdict(PASS, said, reasons, judged, tuple(notices), power)


def _judge_mean(found: Estimate | Untestable, seeds: int, policy: Policy) -> tuple[Judged, Power | None]:
    if isinstance(found, Untestable):
        outcome: Literal["pass", "inconclusive"] = "pass" if found.delta == 0 else "inconclusive"
        why = "identical" if found.delta == 0 else found.why
        return Judged(MEAN, outcome, why, found.delta, None, policy.margin), None
    power = power_against(found, policy.margin, policy.alpha)

    def say(outcome: Literal["pass", "regression", "inconclusive"], why: str) -> tuple[Judged, Power]:
        shown = f"{found.delta:+.2f} points, standard error {found.error:.2f} ({found.about}): {why}"
        return Judged(MEAN, outcome, shown, found.delta, found.error, policy.margin), power

    worse = calibrated_one_sided(-(found.delta + policy.margin) / found.error, found)
    not_worse = calibrated_one_sided((found.delta + policy.margin) / found.error, found)
    if worse < policy.alpha:
        return say("regression", f"worse than -{policy.margin} (p {worse:.3g})")
    if seeds < policy.least_seeds:
        return say("inconclusive", f"the baseline has {seeds} seed, {policy.least_seeds} are asked for")
    if power.chance < policy.power:
        return say("inconclusive", f"this design passes an unchanged model in {power} only; add seeds or items")
    if not_worse < policy.alpha:
        return say("pass", f"not worse than -{policy.margin} (p {not_worse:.3g}, power {power})")
    return say("inconclusive", f"neither worse nor not worse than -{policy.margin} is shown")


def _judge_tasks(tasks: Mapping[str, Estimate | Untestable], policy: Policy) -> list[Judged]:
    """Harm tests: a task fails when its Holm-corrected one-sided interval lies wholly below minus its margin."""
    margins = {name: policy.task_margins.get(name, policy.task_margin) for name in tasks}
    tested = {name: found for name, found in tasks.items() if isinstance(found, Estimate)}
    harm = holm({n: calibrated_one_sided(-(e.delta + margins[n]) / e.error, e) for n, e in tested.items()})
    judged = []
    for name, found in tasks.items():
        if isinstance(found, Untestable):
            same: Literal["pass", "inconclusive"] = "pass" if found.delta == 0 else "inconclusive"
            why = "identical" if found.delta == 0 else f"not testable: {found.why}"
            judged.append(Judged(name, same, why, found.delta, None, margins[name]))
            continue
        outcome: Literal["pass", "regression"] = "regression" if harm[name] < policy.alpha else "pass"
        verb = "harm shown" if outcome == "regression" else "no harm shown"
        why = (
            f"{found.delta:+.2f} points, standard error {found.error:.2f}: {verb} beyond -{margins[name]} (p {harm[name]:.3g})"
        )
        judged.append(Judged(name, outcome, why, found.delta, found.error, margins[name]))
    return judged


def calibrated_one_sided(t: float, found: Estimate) -> float:
    """P of a t at least this large, calibrated for few seeds as in `statistics.py`."""
    nominal = one_sided_p(t, found.freedom)
    return calibration.actual(2 * nominal, found.seed_freedom) / 2 if nominal < 0.5 else nominal
