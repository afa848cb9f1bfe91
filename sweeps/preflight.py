"""What a live generator would fail at, found out before the first step of a sweep is built."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from harness.config import ConfigError, Problem
from harness.runtime import Runtime
from harness.step import Step
from sweeps.plan import sources


def check_generators(missing: Iterable[Step], runtime: Runtime) -> None:
    """Try the server of every generation that is still to be built; raises ConfigError naming what to set."""
    problems = {message: Problem("generator", message) for step in missing if (message := _problem(step, runtime))}
    if problems:
        raise ConfigError(problems.values())


def _problem(step: Step, runtime: Runtime) -> str | None:
    if step.name != "synthesize" or step.spec.backend.kind != "openai":
        return None
    from generators.backends.exchange import ServerError
    from generators.backends.preflight import preflight
    from generators.synthesize import draws_of

    try:
        draws = draws_of(step.spec, sources(runtime))
        preflight(step.spec.backend, draws, Path(runtime.ledger).expanduser(), runtime.server)
    except (ServerError, ValueError) as error:
        return str(error)
    return None
