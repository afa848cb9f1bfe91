"""A finished training run as its records tell it: what was trained, on what, and how it was judged.

A run is named as everywhere, `SWEEP[@id][:arm[:seed]]` (the baseline and its first seed when left out), or by the folder of a
`finetune` or `pretrain` step. Payloads are checked against their records before they are believed.

Not here: tensors, and what is written of them (`export.py`, `card.py`).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.config import ConfigError, decode
from harness.record import PAYLOAD, RECORD_FILE, InputRead, Record, read_record
from harness.scores import SCORES_FILE, TaskScores, read_scores
from harness.store import payload_problems
from harness.sweep_record import RunRecord, StepRef, SweepRecordError, find_sweep, read_sweep
from models.train import TrainingSpec

STAGES = ("pretrain", "finetune")  # in the order in which their weights are laid onto the backbone


class TrainedError(ValueError):
    """A run that names nothing, or whose steps are missing or damaged; lists all of them with the remedy."""


@dataclass(frozen=True)
class Judged:
    """One evaluation of the trained model."""

    spec: dict[str, Any]
    """The evaluate step's: encoder, instruction format, task."""
    scores: TaskScores


@dataclass(frozen=True)
class Trained:
    """What a training run left."""

    name: str
    spec: TrainingSpec
    """Of the last training step."""
    record: Record
    checkpoints: tuple[Path, ...]
    """Payloads of all its training steps, in order."""
    pairs: Path
    """Payload of what the last one learnt from."""
    evaluations: tuple[Judged, ...]
    unjudged: tuple[str, ...]
    """Tasks the run asks for that are not evaluated yet."""

    @property
    def payload(self) -> Path:
        """Of the last training step."""
        return self.checkpoints[-1]


def find(store: Path, run: str) -> Trained:
    """The trained model that `run` names; raises TrainedError."""
    folder = Path(run)
    if (folder / RECORD_FILE).is_file():
        return _of_step(folder.resolve())
    sweep_name, *rest = run.split(":")
    try:
        sweep = read_sweep(find_sweep(store, sweep_name))
    except SweepRecordError as error:
        raise TrainedError(f"{run}: no step's folder, and {error}") from error
    arm, seed = [*rest, None, None][:2]
    found = [one for one in sweep.runs if one.arm == (arm or sweep.baseline) and str(one.seed) == (seed or str(sweep.seeds[0]))]
    if len(rest) > 2 or not found:
        runs = ", ".join(sorted(f"{one.arm}:{one.seed}" for one in sweep.runs))
        raise TrainedError(f"{run}: not SWEEP[@id][:arm[:seed]]; the runs of {sweep.name}@{sweep.id} are {runs}")
    return _of_run(store, f"{sweep.name}@{sweep.id}:{found[0].arm}:{found[0].seed}", found[0])


def _of_run(store: Path, name: str, run: RunRecord) -> Trained:
    if "merge" in run.steps:
        raise TrainedError(f"{name}: several trained models as one; export the runs that it merges")
    stage = next((run.steps[label] for label in reversed(STAGES) if label in run.steps), None)
    if stage is None:
        raise TrainedError(f"{name}: trains nothing; its backbone is whole as it is")
    done = {task: ref for task, ref in run.evaluations.items() if (store / ref.key / RECORD_FILE).is_file()}
    judged = tuple(_judged(store, ref) for ref in done.values())
    return _trained(store, name, stage, judged, tuple(task for task in run.evaluations if task not in done))


def _of_step(folder: Path) -> Trained:
    """A step's folder knows no sweep: whatever judged it in its store counts."""
    step, store = folder.parent.name, folder.parent.parent
    if step not in STAGES:
        raise TrainedError(f"{folder}: a {step} step has no weights; name the folder of a {' or '.join(STAGES)} step")
    judged = []
    for path in sorted(store.glob(f"evaluate/*/{RECORD_FILE}")):
        last = next((read for role in reversed(STAGES) if (read := read_record(path).inputs.get(role))), None)
        if last is not None and (last.step, last.fingerprint) == (step, folder.name):
            judged.append(_judged(store, StepRef("evaluate", path.parent.name)))
    return _trained(store, f"{step}/{folder.name}", StepRef(step, folder.name), tuple(judged), ())


def _judged(store: Path, ref: StepRef) -> Judged:
    record = read_record(store / ref.key / RECORD_FILE)
    if problems := list(payload_problems(store / ref.key, record)):
        raise TrainedError("\n".join(problems))
    return Judged(record.spec, read_scores(store / ref.key / PAYLOAD / SCORES_FILE))


def _trained(store: Path, name: str, stage: StepRef, judged: tuple[Judged, ...], unjudged: tuple[str, ...]) -> Trained:
    if not (store / stage.key / RECORD_FILE).is_file():
        raise TrainedError(f"{name}: {stage.key} is not built yet in {store}; run its sweep, it goes on where it stopped")
    record = read_record(store / stage.key / RECORD_FILE)
    beneath = [record.inputs[role] for role in STAGES if role in record.inputs]
    own = InputRead(record.step, record.fingerprint, record.digest)
    if problems := [problem for read in (*beneath, own, record.inputs["pairs"]) for problem in _problems(store, read)]:
        raise TrainedError(f"{name}: " + "\n".join(problems))
    try:
        spec = decode(TrainingSpec, record.spec)
    except ConfigError as error:
        raise TrainedError(f"{name}: {stage.key} was trained by other code than this ({error})") from error
    paths = [store / read.step / read.fingerprint / PAYLOAD for read in (*beneath, own, record.inputs["pairs"])]
    return Trained(name, spec, record, tuple(paths[:-1]), paths[-1], judged, unjudged)


def _problems(store: Path, read: InputRead) -> Iterator[str]:
    folder = store / read.step / read.fingerprint
    if not (folder / RECORD_FILE).is_file():
        yield f"{folder} is missing; `python -m harness.store merge` brings it from the store that has it"
        return
    record = read_record(folder / RECORD_FILE)
    if record.digest != read.digest:
        yield f"{folder}: holds other bytes than were read in training; move both away and run again"
    yield from payload_problems(folder, record)
