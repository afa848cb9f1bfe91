"""What each shipped ablation would still need on this machine: models, data folders, keys.

Every arm is composed, decoded and pinned as for a preview (`needs.py`). What fails while composing or decoding is a broken
configuration; the rest is something this machine lacks.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from harness.config import ConfigError, Problem
from harness.runtime import Runtime
from sweeps.ablation import Ablation, named
from sweeps.compose import Composer
from sweeps.needs import look
from sweeps.spec import Composed, RunSpec

SHOWN = 4  # needs that are spelled out in a message


@dataclass(frozen=True)
class Readiness:
    """One shipped ablation."""

    name: str
    verdict: Literal["ok", "needs", "broken"]
    arms: int
    seeds: int
    problems: tuple[Problem, ...]
    """What is broken, or missing; said once, however many arms need it."""

    @property
    def message(self) -> str:
        """One line for people."""
        if not self.problems:
            return f"{self.arms} arms x {self.seeds} seeds: ready"
        more = f" (and {len(self.problems) - SHOWN} more)" if len(self.problems) > SHOWN else ""
        return "; ".join(str(problem) for problem in self.problems[:SHOWN]) + more


def runtime_of(conf: Path, overrides: Sequence[str]) -> Runtime:
    """How things are run under some overrides; raises ConfigError with all that is wrong with them."""
    composer = Composer(conf)
    problems = composer.check(overrides, sweeps=False)
    if problems:
        raise ConfigError(problems)
    return Composed.of(composer.compose(overrides)).decode_runtime()


def readiness(conf: Path, overrides: Sequence[str], cache: Path | None) -> list[Readiness]:
    """Every ablation of `conf/sweep`, by name, with overrides of the command line under every arm."""
    composer = Composer(conf, cache)
    names = sorted(path.stem for path in (conf / "sweep").glob("*.yaml"))
    return [_ready(name, composer, overrides) for name in names]


def _ready(name: str, composer: Composer, overrides: Sequence[str]) -> Readiness:
    try:
        ablation = named(composer.compose([f"sweep={name}"])["sweep"], overrides)
        arms = _decoded(composer, ablation)
    except ConfigError as error:
        return Readiness(name, "broken", 0, 0, error.problems)
    lacking: dict[str, Problem] = {}
    for spec, runtime in arms.values():
        for problem in _lacks(spec, runtime):
            lacking.setdefault(str(problem), problem)
    return Readiness(name, "needs" if lacking else "ok", len(arms), len(ablation.seeds), tuple(lacking.values()))


def _decoded(composer: Composer, ablation: Ablation) -> Mapping[str, tuple[RunSpec, Runtime]]:
    """Every arm typed; raises ConfigError with the problems of all arms."""
    arms: dict[str, tuple[RunSpec, Runtime]] = {}
    problems: dict[str, Problem] = {}
    for arm, overrides in ablation.overrides().items():
        try:
            composed = Composed.of(composer.compose(overrides))
            arms[arm] = composed.decode_run(), composed.decode_runtime()
        except ConfigError as error:
            for problem in error.problems:
                problems.setdefault(str(problem), Problem(f"{arm}: {problem.path}", problem.message))
    if problems:
        raise ConfigError(problems.values())
    return arms


def _lacks(spec: RunSpec, runtime: Runtime) -> tuple[Problem, ...]:
    """What one arm needs that is not there."""
    found = look(spec, runtime)
    return (*found.wrong, *found.needs)
