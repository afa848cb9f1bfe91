"""An ablation: a question asked of a baseline by named arms, as data (`conf/sweep/<question>.yaml`).

An arm is a set of overrides against the baseline, one factor at a time or several coupled keys; it can be pasted on a
command line. An ad-hoc grid (`-m key=a,b`) becomes an ablation too, with its first value as baseline.

Not here: composing the overrides (`compose.py`) and planning the runs (`plan.py`).
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Annotated, Any, Literal

from annotated_types import Gt, MinLen

from harness.config import ConfigError, Problem, decode, nearest
from harness.identity import fingerprint
from sweeps.compose import choices, key_of, layered

BASELINE = "baseline"


@dataclass(frozen=True)
class Arm:
    """One arm: what it is called and what it changes."""

    overrides: Annotated[tuple[str, ...], MinLen(1)]
    description: str


@dataclass(frozen=True)
class Merge:
    """An arm made of other arms, seed by seed: judged, not trained."""

    arms: Annotated[tuple[str, ...], MinLen(2)]
    """Arms of this question, or the baseline."""
    weights: tuple[Annotated[float, Gt(0)], ...]
    """One for each, one in sum."""
    how: Literal["weights", "vectors"]
    """`weights`: one model, of averaged weights or added adapters; `vectors`: side by side, similarities are averaged."""
    description: str

    def told(self) -> str:
        """What is merged, for people."""
        parts = " + ".join(f"{weight:g} {arm}" for arm, weight in zip(self.arms, self.weights, strict=True))
        return f"{self.how} merged: {parts}" + (f"; {self.description}" if self.description else "")

    def problems(self, name: str, arms: Mapping[str, Arm]) -> Iterator[Problem]:
        """What is wrong with it in a question with these arms."""
        if name in (BASELINE, *arms):
            yield Problem(f"sweep.merges.{name}", "is the name of another arm")
        for arm in self.arms:
            if arm not in (BASELINE, *arms):
                yield Problem(f"sweep.merges.{name}.arms", f"{arm!r} is no arm{nearest(arm, [BASELINE, *arms])}")
        if len(self.weights) != len(self.arms) or abs(sum(self.weights) - 1) > 1e-6:
            yield Problem(f"sweep.merges.{name}.weights", "have to be one for each arm, and one in sum")


@dataclass(frozen=True)
class Ablation:
    """One question."""

    question: str
    baseline: tuple[str, ...]
    """Overrides of conf/run.yaml that make the baseline."""
    arms: dict[str, Arm]
    grid: dict[str, Annotated[tuple[str, ...], MinLen(1)]]
    """Further arms: every combination of these values, by key."""
    pairs: dict[str, Annotated[tuple[str, ...], MinLen(1)]]
    """Further arms: the first value of every key together, then the second, and so on (zipped)."""
    seeds: Annotated[tuple[int, ...], MinLen(1)]
    """The same in every arm: runs are paired by seed."""
    primary: str
    """What decides: `mean`, a task type, or a task."""
    family: tuple[str, ...]
    """Arms whose comparison with the baseline is confirmatory; the others are exploratory."""
    table: str
    reference: str | None
    conditional: str
    chosen_on: tuple[str, ...]
    """Tasks by which anything was selected; a reported task among them is said to be optimistic (trap 37)."""
    assumed: dict[str, str]
    """Values the source does not publish: key to the reason for the value assumed."""
    merges: dict[str, Merge] = field(default_factory=dict)
    """Further arms: merges of the others."""

    def __post_init__(self) -> None:
        """Names that refer to arms must be arms, and zipped values must match."""
        problems = []
        if len({len(values) for values in self.pairs.values()}) > 1:
            problems.append(Problem("sweep.pairs", "every key needs as many values as the others"))
        problems += [
            Problem("sweep.family", f"{name!r} is no arm{nearest(name, self.names())}")
            for name in self.family
            if name not in self.names()
        ]
        problems += [problem for name, merge in self.merges.items() for problem in merge.problems(name, self.expanded())]
        problems += [Problem("sweep.arms", f"{BASELINE!r} is the baseline's own name")] if BASELINE in self.arms else []
        problems += [Problem("sweep.seeds", "names a seed twice")] if len(set(self.seeds)) < len(self.seeds) else []
        if problems:
            raise ConfigError(problems)

    def overrides(self) -> dict[str, tuple[str, ...]]:
        """Complete overrides by arm, the baseline first."""
        arms = {name: layered(self.baseline, arm.overrides) for name, arm in self.expanded().items()}
        return {BASELINE: self.baseline, **arms}

    def expanded(self) -> dict[str, Arm]:
        """The named arms, then those of `grid`, then those of `pairs`."""
        combinations = [*itertools.product(*_singles(self.grid)), *zip(*_singles(self.pairs), strict=False)]
        return self.arms | {arm_name(chosen): Arm(chosen, "") for chosen in combinations if chosen}

    def names(self) -> tuple[str, ...]:
        """All arms but the baseline, merges last."""
        return (*self.expanded(), *self.merges)

    def only(self, names: Sequence[str]) -> Ablation:
        """The same question with some of its arms; the baseline always stays, and what a merge is made of comes along."""
        unknown = [name for name in names if name not in (BASELINE, *self.names())]
        if unknown:
            raise ConfigError(Problem("only", f"{name!r} is no arm{nearest(name, self.names())}") for name in unknown)
        merges = {name: merge for name, merge in self.merges.items() if name in names}
        kept = {*names, *(arm for merge in merges.values() for arm in merge.arms)}
        arms = {name: arm for name, arm in self.expanded().items() if name in kept}
        family = tuple(name for name in self.family if name in kept)
        return replace(self, arms=arms, merges=merges, grid={}, pairs={}, family=family)


def _singles(values: Mapping[str, Sequence[str]]) -> list[list[str]]:
    return [[f"{key}={value}" for value in chosen] for key, chosen in values.items()]


def unwritten(question: str, baseline: tuple[str, ...], arms: dict[str, Arm], seeds: tuple[int, ...]) -> Ablation:
    """An ablation nobody wrote down: a single run, or a grid from the command line."""
    return Ablation(
        question=question,
        baseline=baseline,
        arms=arms,
        grid={},
        pairs={},
        seeds=seeds,
        primary="mean",
        family=tuple(arms),
        table="task_types",
        reference=None,
        conditional="one corpus and one pre-training, shared over seeds",
        chosen_on=(),
        assumed={},
    )


def named(data: Mapping[str, Any], overrides: Sequence[str]) -> Ablation:
    """A shipped ablation from its composed YAML, with overrides of the command line under every arm."""
    ablation = decode(Ablation, data, "sweep")
    return replace(ablation, baseline=layered(ablation.baseline, overrides))


def grid(overrides: Sequence[str]) -> tuple[str, Ablation]:
    """An ad-hoc grid from swept overrides: its name, and the ablation whose baseline is the first value of each.

    `seed=0,1` are seeds, not arms. Raises ConfigError when nothing is swept.
    """
    fixed, swept = choices(overrides)
    seeds = tuple(int(text.split("=", 1)[1]) for text in swept.pop("seed", []))
    if not seeds:
        seeds = tuple(int(text.split("=", 1)[1]) for text in fixed if key_of(text) == "seed") or (0,)
    fixed = tuple(text for text in fixed if key_of(text) != "seed")
    if not swept and len(seeds) == 1:
        raise ConfigError(
            [Problem("-m", "nothing is swept; name a question (sweep=quickstart) or give a key values (key=a,b)")]
        )
    first, *rest = itertools.product(*swept.values())
    arms = {arm_name(combination): Arm(combination, "") for combination in rest}
    name = f"grid-{fingerprint([sorted(fixed), sorted(swept.items()), list(seeds)])[:8]}"
    return name, unwritten(f"What do {' and '.join(swept) or 'seeds'} do?", (*fixed, *first), arms, seeds)


def arm_name(overrides: Sequence[str]) -> str:
    """A readable name for a combination of overrides: last parts of keys with their values."""
    return "_".join(f"{key_of(text).split('.')[-1].replace('/', '_')}={text.split('=', 1)[1]}" for text in overrides)
