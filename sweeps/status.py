"""How far a sweep is, read off the disk from another terminal: nothing is asked of the process that runs it.

A step is done when its record is there, running when somebody holds its lock over a `.partial` folder, failed when the sweep's
failures say so, and blocked when a failed step is among those it waits for. Neither torch nor hydra is imported, and no
payload is opened.

Not here: printing (`__main__.py`), and planning: a sweep's own record says which steps it asks for.
"""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from harness.inventory import being_built, sweep_folders
from harness.record import RECORD_FILE
from harness.store import PARTIAL
from harness.sweep_record import RunRecord, SweepRecord, read_failures, read_sweep
from sweeps.estimate import estimate

State = Literal["done", "running", "failed", "blocked", "to_do"]
STATES: tuple[State, ...] = ("done", "running", "failed", "blocked", "to_do")


@dataclass(frozen=True)
class RunState:
    """Steps of one run by state."""

    arm: str
    seed: int
    steps: dict[State, int]


@dataclass(frozen=True)
class Running:
    """A step that somebody is building now."""

    key: str
    label: str
    users: tuple[str, ...]
    """Runs (`arm:seed`) that ask for it."""
    seconds: float


@dataclass(frozen=True)
class Failed:
    """A step that failed and is not done, with how many others wait for it."""

    key: str
    label: str
    kind: str
    message: str
    blocks: int


@dataclass(frozen=True)
class Status:
    """Where a sweep stands."""

    name: str
    id: str
    question: str
    complete: bool
    steps: dict[State, int]
    """Unique steps; those of `runs` count a shared step once per run."""
    runs: tuple[RunState, ...]
    running: tuple[Running, ...]
    failures: tuple[Failed, ...]
    work_seconds: float | None
    """Left to compute, by what finished steps took; None while a kind is unknown. Failed and blocked steps do not count."""
    eta_seconds: float | None
    """The same shared by the steps that run now; None if nothing runs or a kind is unknown."""
    unknown: tuple[str, ...]
    """Kinds of steps still to come of which none has finished."""


def needs(label: str, labels: Iterable[str]) -> set[str]:
    """Labels of a run that a label reads directly: the shape of a run's graph, which a sweep's record does not repeat."""
    present = set(labels)
    members = {other for other in present if ":" in other}  # steps of arms that this run merges
    if members:
        return _needs_of_merged(label, present, members)
    if label == "pretrain":
        return present & {"weak"}
    if label == "finetune":
        return present & {"mix", "pretrain"}
    if label.startswith("evaluate/"):
        return present & {"pretrain", "finetune"}
    if label == "mix":
        return {other for other in present - {"weak", "pretrain", "mix", "finetune"} if not other.startswith("evaluate/")}
    return set()


def _needs_of_merged(label: str, present: set[str], members: set[str]) -> set[str]:
    if label in members:
        arm = label.partition(":")[0] + ":"
        own = [other.removeprefix(arm) for other in members if other.startswith(arm)]
        return {arm + other for other in needs(label.removeprefix(arm), own)}
    trained = {other for other in members if other.endswith((":pretrain", ":finetune"))}
    return trained if label == "merge" else present & {"merge"} or trained


def causes(run: RunRecord, failed: Mapping[str, object]) -> dict[str, str]:
    """Blocked labels of a run, each with the key of the failed step it waits for in the end."""
    found: dict[str, str | None] = {}

    def cause(label: str) -> str | None:  # the record's labels stand in alphabetical order, not inputs first
        if label not in found:
            key = run.steps[label].key
            waits = (cause(other) for other in sorted(needs(label, run.steps)))
            found[label] = key if key in failed else next((one for one in waits if one), None)
        return found[label]

    return {label: key for label, ref in run.steps.items() if (key := cause(label)) and ref.key not in failed}


def states(root: Path, sweep: SweepRecord, failed: Mapping[str, object]) -> tuple[dict[str, State], dict[str, str]]:
    """The state of every step by key, and the failed step of every blocked one."""
    found: dict[str, State] = {}
    for key in {ref.key for run in sweep.runs for ref in run.steps.values()}:
        place = f"{root}/{key}"
        if os.path.isfile(f"{place}/{RECORD_FILE}"):  # noqa: PTH113 - 10,000 times
            found[key] = "done"
        elif os.path.isdir(place + PARTIAL) and being_built(root, key):  # noqa: PTH112 - 10,000 times
            found[key] = "running"
        else:
            found[key] = "failed" if key in failed else "to_do"
    still = {key: failure for key, failure in failed.items() if found.get(key) == "failed"}
    waits: dict[str, str] = {}
    for run in sweep.runs:
        if not any(ref.key in still for ref in run.steps.values()):
            continue
        for label, cause in causes(run, still).items():
            key = run.steps[label].key
            if found[key] in ("to_do", "blocked"):
                found[key], waits[key] = "blocked", cause
    return found, waits


def status(root: Path, folder: Path) -> Status:
    """Where the sweep of a folder stands; raises SweepRecordError if it cannot be read."""
    sweep, failures = read_sweep(folder), read_failures(folder)
    found, waits = states(root, sweep, failures)
    running = _running(root, sweep, found)
    work, unknown = _work(root, sweep, found, running)
    waiting = Counter(waits.values())
    # What is no step (two arms with equal results) is a failure of the sweep that no rebuilt step takes back by itself.
    failed = tuple(
        Failed(key, failure.label, failure.kind, failure.message, waiting[key])
        for key, failure in failures.items()
        if found.get(key, "failed") == "failed"
    )
    counts = Counter(found.values())
    return Status(
        name=sweep.name,
        id=sweep.id,
        question=sweep.question,
        complete=counts["done"] == len(found) and not failed,
        steps={state: counts[state] for state in STATES},
        runs=tuple(_run_state(run, found) for run in sweep.runs),
        running=running,
        failures=failed,
        work_seconds=work,
        eta_seconds=None if work is None or not running else work / len(running),
        unknown=unknown,
    )


def _run_state(run: RunRecord, found: Mapping[str, State]) -> RunState:
    counts = Counter(found[ref.key] for ref in run.steps.values())
    return RunState(run.arm, run.seed, {state: counts[state] for state in STATES})


def _running(root: Path, sweep: SweepRecord, found: Mapping[str, State]) -> tuple[Running, ...]:
    users: dict[str, list[str]] = {}
    labels: dict[str, str] = {}
    for run in sweep.runs:
        for label, ref in run.steps.items():
            if found[ref.key] == "running":
                users.setdefault(ref.key, []).append(f"{run.arm}:{run.seed}")
                labels.setdefault(ref.key, label)
    return tuple(Running(key, labels[key], tuple(names), _elapsed(root, key)) for key, names in sorted(users.items()))


def _elapsed(root: Path, key: str) -> float:
    try:
        # The folder's own time: a build makes `payload` in it at once, and nothing else until it ends.
        return max(0.0, time.time() - (root / f"{key}{PARTIAL}").stat().st_mtime)
    except FileNotFoundError:
        return 0.0  # it ended this very moment


def _work(
    root: Path, sweep: SweepRecord, found: Mapping[str, State], running: Iterable[Running]
) -> tuple[float | None, tuple[str, ...]]:
    """Seconds of work left, and the kinds of which nothing is known."""
    left = {ref.key: label for run in sweep.runs for label, ref in run.steps.items() if found[ref.key] in ("to_do", "running")}
    if not left:
        return 0.0, ()
    expected = estimate(root, sweep, {key for key, state in found.items() if state == "done"})
    elapsed = {step.key: step.seconds for step in running}
    unknown, seconds = set(), 0.0
    for key, label in left.items():
        value = expected.seconds(label, key)
        if value is None:
            unknown.add(key.split("/", 1)[0])
        else:
            seconds += max(0.0, value - elapsed.get(key, 0.0))
    return (None if unknown else seconds), tuple(sorted(unknown))


def every_status(root: Path) -> list[tuple[Path, Status | str]]:
    """Every sweep of a store, the latest first; in place of one that cannot be read, why."""
    found: list[tuple[Path, Status | str]] = []
    for folder in sorted(sweep_folders(root), key=lambda path: (path / "sweep.json").stat().st_mtime_ns, reverse=True):
        try:
            found.append((folder, status(root, folder)))
        except (RuntimeError, ValueError) as error:  # SweepRecordError, or failures that do not decode
            found.append((folder, str(error)))
    return found
