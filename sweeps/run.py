"""The engine behind `python -m harness` and `-m`: check, compose, plan, build what is missing, show the table.

A single run is a sweep of one arm. Every problem of every arm is found before anything is built. The parent never imports
torch: it plans from specs, and workers compute.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape

from harness.config import ConfigError, Problem, nearest
from harness.identity import canonical_json, fingerprint_of, plain
from harness.inert import visible, visible_lines
from harness.record import RecordError
from harness.runtime import Runtime
from harness.step import Step
from harness.store import Store
from harness.sweep_record import ArmRecord, RunRecord, StepRef, SweepRecord
from sweeps.ablation import BASELINE, Ablation, grid, named, unwritten
from sweeps.compose import CONTROL, Composer, key_of, layered

FLAGS_WITHOUT_RUN = ("--help", "-h", "--hydra-help", "--version", "--cfg", "-c", "--info", "-i", "--shell-completion", "-sc")
USAGE = 4  # exit code of bad input, as in the gate


@dataclass(frozen=True)
class Planned:
    """A sweep, ready to be built."""

    record: SweepRecord
    runs: tuple[tuple[str, Mapping[str, Step], Mapping[str, Any]], ...]
    """(name, steps by label, pinned specification) of every run."""
    runtime: Runtime
    store: Store
    needs: tuple[Problem, ...] = ()
    """What this machine lacks to build it; only a preview is planned all the same."""


def main(conf: Path) -> None:
    """The command line: check all overrides at once, then let Hydra take over.

    Hydra is left its own settings alone: it would apply the others to conf/run.yaml, where keys that only an ablation's
    baseline has (`-m sweep=paper_main generator.draws.size=1000`) do not exist.
    """
    import hydra

    global _conf, _asked  # noqa: PLW0603 - Hydra constructs the sweeper; this is how folder and overrides reach it
    _conf = conf
    arguments = sys.argv[1:]
    if not any(argument in FLAGS_WITHOUT_RUN for argument in arguments):
        overrides = [argument for argument in arguments if not argument.startswith("-")]
        multirun = any(argument in ("-m", "--multirun") for argument in arguments)
        _check_arguments(conf, overrides, multirun=multirun)
        _asked = tuple(overrides)
        sys.argv[1:] = [argument for argument in arguments if argument.startswith("-") or _root(argument) == "hydra"]
    hydra.main(version_base="1.3", config_path=str(conf), config_name="run")(lambda _: single(overrides))()


_conf = Path("conf")
_asked: tuple[str, ...] = ()


def _check_arguments(conf: Path, overrides: Sequence[str], *, multirun: bool) -> None:
    with reported():
        composer = Composer(conf)
        problems = composer.check(_with_baseline(composer, overrides) if multirun else overrides, sweeps=multirun)
        if not multirun and any(key_of(text) == "sweep" for text in overrides):
            problems.append(Problem("sweep", "names an ablation; add -m to run it"))
        if problems:
            raise ConfigError(problems)


def _with_baseline(composer: Composer, overrides: Sequence[str]) -> Sequence[str]:
    """The overrides on top of those of the ablation they name: which keys there are depends on its baseline."""
    for text in overrides:
        if key_of(text) == "sweep" and text.split("=", 1)[1] in composer.groups()["sweep"]:
            return layered(composer.compose([text])["sweep"]["baseline"], overrides)
    return overrides


@contextmanager
def reported() -> Iterator[None]:
    """Turns a ConfigError into a message on standard error, every problem on its line, and exit code 4."""
    try:
        yield
    except ConfigError as error:
        console = Console(stderr=True, highlight=False, soft_wrap=True)
        count = len(error.problems)
        console.print(f"[red]{count} problem{'s' * (count > 1)}, nothing was run:[/]")
        for problem in error.problems:
            console.print(f"  [bold]{escape(visible(problem.path))}[/] {escape(visible_lines(problem.message))}")
        raise SystemExit(USAGE) from None


def single(overrides: Sequence[str]) -> None:
    """One run: a sweep of the baseline alone."""
    with reported():
        seeds = tuple(int(text.split("=", 1)[1]) for text in overrides if key_of(text) == "seed") or (0,)
        fixed = tuple(text for text in _of_runs(overrides) if key_of(text) != "seed")
        execute_sweep("run", unwritten("What does this run score?", fixed, {}, seeds), overrides)


def asked_sweep() -> None:
    """What the command line asks for; called by Hydra's sweeper."""
    sweep(_asked)


def sweep(arguments: Sequence[str]) -> None:
    """A named ablation or an ad-hoc grid."""
    with reported():
        overrides, question = _of_runs(arguments), [text for text in arguments if _root(text) == "sweep"]
        if not question:
            name, ablation = grid(overrides)
        else:
            name = next(text.split("=", 1)[1] for text in question if key_of(text) == "sweep")
            ablation = named(Composer(_conf).compose(question)["sweep"], overrides)
        execute_sweep(name, ablation, arguments)


def _root(text: str) -> str:
    return key_of(text).split(".")[0].split("/")[0]


def _of_runs(arguments: Sequence[str]) -> list[str]:
    """The overrides that say what a run is or how to run it; the rest steer the command."""
    return [text for text in arguments if _root(text) not in (*CONTROL, "hydra")]


def execute_sweep(name: str, ablation: Ablation, arguments: Sequence[str]) -> None:
    """Plan, and then preview or build; leaves with exit code 1 unless all is complete."""
    from sweeps.session import build, preview

    started = time.monotonic()
    control = [text for text in arguments if _root(text) in CONTROL and _root(text) != "sweep"]
    settings = _settings(ablation, control)
    if settings[1].only is not None:
        ablation = ablation.only(settings[1].only)
    planned = plan_sweep(name, ablation, settings[0], preview=settings[1].preview)
    if settings[1].preview:
        preview(planned)
        return
    raise SystemExit(build(planned, retry=settings[1].retry, started=started))


def _settings(ablation: Ablation, control: Sequence[str]) -> tuple[Runtime, Any]:
    from sweeps.spec import Composed

    composed = Composed.of(Composer(_conf).compose([*ablation.baseline, *control]))
    return composed.decode_runtime(), composed.decode_control()


def plan_sweep(name: str, ablation: Ablation, runtime: Runtime, *, preview: bool = False) -> Planned:
    """Compose, decode, pin and plan every run; raises ConfigError with the problems of all arms.

    For a preview, what this machine lacks is no problem: it is listed in `needs`, and nothing is downloaded.
    """
    from sweeps.merging import merged_runs
    from sweeps.needs import look
    from sweeps.plan import plan, survey
    from sweeps.spec import Composed, RunSpec

    store = Store(runtime.store_path)
    composer = Composer(_conf, store.root / "composed")
    problems: dict[str, Problem] = {}
    needs: dict[str, Problem] = {}
    runs: list[tuple[str, int, Mapping[str, Step], Mapping[str, Any]]] = []
    members: dict[str, RunSpec] = {}
    for arm, overrides in ablation.overrides().items():
        try:
            _checked(composer, overrides)
            spec = Composed.of(composer.compose(overrides)).decode_run()
            found = look(spec, runtime) if preview else survey(spec, runtime)
            needs.update((str(problem), problem) for problem in found.needs)
            pinned = found.accepted(lacking=preview)
            members[arm], written = pinned, plain(pinned)
            for seed in ablation.seeds:
                runs.append((arm, seed, plan(pinned.with_seed(seed), runtime), {**written, "seed": seed}))  # noqa: PERF401
        except ConfigError as error:
            for problem in error.problems:  # what the baseline has wrong every arm has wrong: said once
                problems.setdefault(str(problem), Problem(f"{arm}: {problem.path}", problem.message))
    if not problems:
        runs += merged_runs(ablation.merges, members, ablation.seeds, runtime)
    if not problems and (wrong := _primary_problem(ablation, runs)):
        problems[wrong.path] = wrong
    if problems:
        raise ConfigError(problems.values())
    record = _record(name, ablation, runs)
    return Planned(
        record, tuple((f"{arm}:{seed}", steps, spec) for arm, seed, steps, spec in runs), runtime, store, tuple(needs.values())
    )


def _checked(composer: Composer, overrides: Sequence[str]) -> None:
    problems = composer.check(overrides, sweeps=False)
    if problems:
        raise ConfigError(problems)


def _primary_problem(ablation: Ablation, runs: Sequence[tuple[str, int, Mapping[str, Step], Any]]) -> Problem | None:
    tasks = {label.split("/", 1)[1]: step.spec.task.task_type for label, step in runs[0][2].items() if "evaluate/" in label}
    known = {"mean", *tasks, *tasks.values()}
    if ablation.primary in known:
        return None
    return Problem("sweep.primary", f"{ablation.primary!r} is no score of this suite{nearest(ablation.primary, known)}")


def _record(name: str, ablation: Ablation, runs: Sequence[tuple[str, int, Mapping[str, Step], Any]]) -> SweepRecord:
    records = tuple(
        RunRecord(arm, seed, {label: StepRef(step.name, step.fingerprint) for label, step in steps.items()})
        for arm, seed, steps, _ in runs
    )
    arms = [ArmRecord(BASELINE, _told(ablation.baseline), "")]
    arms += [ArmRecord(arm, _told(value.overrides), value.description) for arm, value in ablation.expanded().items()]
    arms += [ArmRecord(arm, (), merge.told()) for arm, merge in ablation.merges.items()]
    return SweepRecord(
        name=name,
        id=_identity(records),
        question=ablation.question,
        primary=ablation.primary,
        family=ablation.family,
        table=ablation.table,
        reference=ablation.reference,
        baseline=BASELINE,
        seeds=ablation.seeds,
        conditional=ablation.conditional,
        notes=tuple(f"{key}: {reason}" for key, reason in ablation.assumed.items()),
        arms=tuple(arms),
        runs=records,
        chosen_on=ablation.chosen_on,
    )


def _identity(runs: Sequence[RunRecord]) -> str:
    """Twelve digits of the fingerprint of all runs with their steps."""
    steps = [{label: {"fingerprint": ref.fingerprint, "step": ref.step} for label, ref in run.steps.items()} for run in runs]
    told = [{"arm": run.arm, "seed": run.seed, "steps": found} for run, found in zip(runs, steps, strict=True)]
    return fingerprint_of(canonical_json(told))[:12]


def _told(overrides: Sequence[str]) -> tuple[str, ...]:
    """What a record tells of an arm: what it computes, not where or on what."""
    return tuple(text for text in overrides if _root(text) != "runtime")


def stale_steps(planned: Planned) -> list[str]:
    """Messages about finished steps that must not be used: corrupt records, or inputs rebuilt to other bytes."""
    unique = {step.key: step for _, steps, _ in planned.runs for step in steps.values()}
    messages = []
    for step in unique.values():
        if not planned.store.done(step):
            continue
        try:
            planned.store.fresh(step)
        except FileNotFoundError:
            continue  # a collection took it this moment: it is built again
        except RecordError as error:
            messages.append(str(error))
    return messages
