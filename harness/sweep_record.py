"""`sweep.json`: what a sweep asked and which steps answer it, as both sides of the disk read it.

Written by `sweeps`, read by `reports` and `status`. Whether a step is done is not stored here: a step is done when its own
record is there. Failures are kept (`failures.json` beside it), because a failure leaves no record.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from harness.config import ConfigError, decode
from harness.record import write_json

SWEEP_FILE = "sweep.json"
FAILURES_FILE = "failures.json"


class SweepRecordError(RuntimeError):
    """A sweep that cannot be found or read; names the folder and the remedy."""


@dataclass(frozen=True)
class StepRef:
    """A step of a run: enough to find it in the store."""

    step: str
    fingerprint: str

    @property
    def key(self) -> str:
        """`step/fingerprint`, its path in the store."""
        return f"{self.step}/{self.fingerprint}"


@dataclass(frozen=True)
class RunRecord:
    """One arm with one seed. Labels are `synthesize`, `mix`, `pretrain`, `finetune`, `evaluate/<Task>` ..."""

    arm: str
    seed: int
    steps: dict[str, StepRef]

    @property
    def evaluations(self) -> dict[str, StepRef]:
        """The evaluate steps by task name, in the suite's order."""
        return {label.split("/", 1)[1]: ref for label, ref in self.steps.items() if label.startswith("evaluate/")}


@dataclass(frozen=True)
class ArmRecord:
    """An arm: overrides against the baseline, as they can be pasted on a command line."""

    name: str
    overrides: tuple[str, ...]
    description: str


@dataclass(frozen=True)
class SweepRecord:
    """A question, its arms, and the steps of every run."""

    name: str
    id: str
    """Hash of the resolved runs: the same question asked of the same steps is the same sweep."""
    question: str
    primary: str
    """The score the question is judged by: `mean`, a task type, or a task."""
    family: tuple[str, ...]
    """Arms whose comparison with the baseline is confirmatory."""
    table: str
    reference: str | None
    baseline: str
    seeds: tuple[int, ...]
    conditional: str
    """Footnote: what the intervals are conditional on (one corpus, one pre-training ...)."""
    notes: tuple[str, ...]
    """Values the paper does not publish, with the reason for the one assumed."""
    arms: tuple[ArmRecord, ...]
    runs: tuple[RunRecord, ...]
    chosen_on: tuple[str, ...] = ()
    """Tasks by which checkpoints or hyper-parameters were chosen (`eval=dev`); empty: nothing was."""

    def run(self, arm: str, seed: int) -> RunRecord:
        """The run of an arm and seed; KeyError if there is none."""
        for run in self.runs:
            if (run.arm, run.seed) == (arm, seed):
                return run
        raise KeyError(f"sweep {self.name}@{self.id} has no run of arm {arm!r} with seed {seed}")


@dataclass(frozen=True)
class Failure:
    """A step that failed: what it was, why, and the end of what it said."""

    key: str
    label: str
    kind: Literal["error", "killed", "exit", "hang", "memory", "digest", "stale", "duplicate"]
    message: str
    traceback: str
    log_tail: str


def sweep_folder(store: Path, name: str, sweep_id: str) -> Path:
    """Where a sweep lies in a store."""
    return store / "sweeps" / name / sweep_id


def write_sweep(store: Path, sweep: SweepRecord) -> Path:
    """Write `sweep.json` durably and return its folder; leaves the file alone if it says the same already."""
    folder = sweep_folder(store, sweep.name, sweep.id)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / SWEEP_FILE
    if not path.exists() or read_sweep(folder) != sweep:
        write_json(path, asdict(sweep), sort_keys=False)  # the order of steps and tasks is part of what it says
    return folder


def read_sweep(folder: Path) -> SweepRecord:
    """Read a sweep from its folder; raises SweepRecordError naming the file."""
    path = folder / SWEEP_FILE
    try:
        return decode(SweepRecord, json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        raise SweepRecordError(f"{path}: there is no such sweep") from None
    except (ValueError, ConfigError) as error:
        raise SweepRecordError(f"{path}: not a sweep of this schema ({error}); run the sweep again to rewrite it") from error


def find_sweep(store: Path, reference: str) -> Path:
    """The folder of `NAME` (its latest id) or `NAME@id` (a prefix will do); raises SweepRecordError listing what is there."""
    name, _, sweep_id = reference.partition("@")
    folder = store / "sweeps" / name
    found = [path.parent for path in folder.glob(f"{sweep_id}*/{SWEEP_FILE}")]
    if not found:
        known = sorted(path.name for path in (store / "sweeps").glob("*") if path.is_dir())
        raise SweepRecordError(f"no sweep {reference!r} in {store}; there {_are(known)}")
    if sweep_id and len(found) > 1:
        raise SweepRecordError(f"{reference!r} is not unique: {', '.join(sorted(path.name for path in found))}")
    return max(found, key=lambda path: (path / SWEEP_FILE).stat().st_mtime_ns)


def _are(names: list[str]) -> str:
    return f"are: {', '.join(names)}" if names else "are none yet"


def write_failures(folder: Path, failures: dict[str, Failure]) -> None:
    """Write the failures of a sweep by step key; without any, the file is removed."""
    path = folder / FAILURES_FILE
    if failures:
        write_json(path, {key: asdict(failure) for key, failure in failures.items()})
    else:
        path.unlink(missing_ok=True)


def read_failures(folder: Path) -> dict[str, Failure]:
    """The failures of a sweep by step key."""
    path = folder / FAILURES_FILE
    if not path.exists():
        return {}
    data = json.loads(path.read_text(encoding="utf-8"))
    return {key: decode(Failure, value) for key, value in data.items()}
