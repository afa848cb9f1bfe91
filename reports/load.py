"""From a RUN on the command line to what its steps left on disk.

`RUN = SWEEP[@id][:arm[:seed]]`, a path to a sweep's folder, the name of an import, or `reference:TABLE`. A task without a
record is missing with a reason; every score file is checked against the digest in its record before it is believed.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from harness.record import MEASURED_FILE, PAYLOAD, RECORD_FILE, RecordError, read_record
from harness.scores import SCORES_FILE, read_scores
from harness.sweep_record import (
    SWEEP_FILE,
    Failure,
    RunRecord,
    StepRef,
    SweepRecord,
    find_sweep,
    read_failures,
    read_sweep,
)
from reports.frame import SETTING, Evaluated, Frame, Run
from reports.published import import_path, published_frame
from reports.reference import per_dataset_frame

REFERENCE = "reference:"


class RunError(ValueError):
    """A RUN that names nothing; says what there is."""


@dataclass(frozen=True)
class Reference:
    """A RUN, taken apart."""

    sweep: str
    arm: str | None
    seed: int | None


def parse_reference(text: str) -> Reference:
    """Take `SWEEP[@id][:arm[:seed]]` apart; raises RunError when the seed is no integer or there are too many parts."""
    sweep, *rest = text.split(":")
    if not sweep or len(rest) > 2 or any(not part for part in rest):
        raise RunError(f"{text!r} is not SWEEP[@id][:arm[:seed]] or a path to a sweep's folder")
    if len(rest) == 2 and not rest[1].lstrip("-").isdigit():
        raise RunError(f"{text!r}: seed {rest[1]!r} is not an integer")
    return Reference(sweep, rest[0] if rest else None, int(rest[1]) if len(rest) == 2 else None)


def load(store: Path, references: Iterable[str], *, with_baseline: bool) -> tuple[Frame, ...]:
    """One frame per sweep named, in the order named; arms and seeds are those asked for.

    With `with_baseline` the baseline's runs come along, because deltas are against it. Raises RunError, SweepRecordError,
    RecordError or ScoreError naming the file.
    """
    sweeps: dict[Path, list[Reference]] = {}
    frames: list[Frame | Path] = []
    for text in references:
        found = _source(store, text)
        if isinstance(found, Frame):
            frames.append(found)
            continue
        folder, reference = found
        if folder not in sweeps:
            frames.append(folder)
        sweeps.setdefault(folder, []).append(reference)
    return tuple(
        _frame(store, found, sweeps[found], with_baseline=with_baseline) if isinstance(found, Path) else found
        for found in frames
    )


def _source(store: Path, text: str) -> Frame | tuple[Path, Reference]:
    """What a RUN names: a table of a paper, an import, or a sweep's folder with the arms asked for."""
    if text.startswith(REFERENCE):
        table, _, row = text.removeprefix(REFERENCE).partition(":")
        return _rows(per_dataset_frame(table, store), row or None, text)
    reference = parse_reference(text)
    folder = Path(reference.sweep)
    if (folder / SWEEP_FILE).is_file():
        return folder.resolve(), reference
    if import_path(store, reference.sweep).is_file() and not (store / "sweeps" / reference.sweep).is_dir():
        return _rows(published_frame(store, reference.sweep), reference.arm, text)
    return find_sweep(store, reference.sweep).resolve(), reference


def _rows(frame: Frame, row: str | None, text: str) -> Frame:
    """A frame of published rows, reduced to one where one is named."""
    kept = tuple(run for run in frame.runs if row in (None, run.arm))
    if not kept:
        raise RunError(f"{text!r}: there is no row {row!r}; there are {', '.join(frame.arm_names)}")
    return replace(frame, runs=kept)


def _frame(store: Path, folder: Path, references: list[Reference], *, with_baseline: bool) -> Frame:
    sweep = read_sweep(folder)
    failures = read_failures(folder)
    if folder.parent.parent.name == "sweeps":  # a path names its own store
        store = folder.parent.parent.parent
    for reference in references:
        _check(sweep, reference)
    seeds = {r.seed for r in references}
    chosen = [
        run
        for run in sweep.runs
        if any(r.arm in (None, run.arm) and r.seed in (None, run.seed) for r in references)
        or (with_baseline and run.arm == sweep.baseline and (None in seeds or run.seed in seeds))
    ]
    reader = _Reader(store, failures)
    return Frame(sweep, store, tuple(reader.run(run) for run in chosen))


def _check(sweep: SweepRecord, reference: Reference) -> None:
    arms = {arm.name for arm in sweep.arms} | {run.arm for run in sweep.runs}
    if reference.arm is not None and reference.arm not in arms:
        raise RunError(f"sweep {sweep.name}@{sweep.id} has no arm {reference.arm!r}; it has {', '.join(sorted(arms))}")
    if reference.seed is not None and reference.seed not in sweep.seeds:
        raise RunError(f"sweep {sweep.name}@{sweep.id} has no seed {reference.seed}; it has {list(sweep.seeds)}")


class _Reader:
    """Reads each step of the store once, however many runs share it."""

    def __init__(self, store: Path, failures: dict[str, Failure]) -> None:
        self.store = store
        self.failures = failures
        self.measured: dict[str, dict[str, Any] | None] = {}
        self.evaluated: dict[str, Evaluated] = {}

    def run(self, run: RunRecord) -> Run:
        tasks: dict[str, Evaluated] = {}
        missing: dict[str, str] = {}
        for task, ref in run.evaluations.items():
            if self.done(ref):
                tasks[task] = self.evaluate(ref)
            else:
                missing[task] = self.why(run, ref)
        measured = {label: self.measure(ref) for label, ref in run.steps.items()}
        settings = frozenset(_setting(found) for found in measured.values() if found is not None)
        seconds = {label: float(found["seconds"]) for label, found in measured.items() if found and "seconds" in found}
        return Run(run.arm, run.seed, tasks, missing, settings, seconds, self.weights(run))

    def folder(self, ref: StepRef) -> Path:
        return self.store / ref.step / ref.fingerprint

    def done(self, ref: StepRef) -> bool:
        return (self.folder(ref) / RECORD_FILE).is_file()

    def evaluate(self, ref: StepRef) -> Evaluated:
        if ref.key not in self.evaluated:
            folder = self.folder(ref)
            record = read_record(folder / RECORD_FILE)
            path = folder / PAYLOAD / SCORES_FILE
            checked_bytes(path, record.files.get(SCORES_FILE, ""))
            items = record.files.get("items.parquet", "")
            self.evaluated[ref.key] = Evaluated(read_scores(path), folder, record.digest, items)
        return self.evaluated[ref.key]

    def weights(self, run: RunRecord) -> str:
        ref = run.steps.get("finetune") or run.steps.get("pretrain")
        return read_record(self.folder(ref) / RECORD_FILE).digest if ref is not None and self.done(ref) else ""

    def measure(self, ref: StepRef) -> dict[str, Any] | None:
        if ref.key not in self.measured:
            path = self.folder(ref) / MEASURED_FILE
            self.measured[ref.key] = json.loads(path.read_text(encoding="utf-8")) if self.done(ref) else None
        return self.measured[ref.key]

    def why(self, run: RunRecord, ref: StepRef) -> str:
        for key in (ref.key, *(other.key for other in run.steps.values())):
            if key in self.failures:
                return f"{self.failures[key].label or key} failed: {self.failures[key].message.splitlines()[:1]}"
        return "not built yet"


def checked_bytes(path: Path, expected: str) -> bytes:
    """A payload file's bytes; raises RecordError unless they have the digest their record vouches for."""
    data = path.read_bytes() if path.is_file() else b""
    if hashlib.sha256(data).hexdigest() != expected:
        raise RecordError(f"{path}: its bytes are not those of the record; move {path.parent.parent} away and run again")
    return data


def _setting(measured: dict[str, Any]) -> tuple[str, ...]:
    versions = measured.get("versions", {})
    return (str(measured.get("hardware", "unknown")), *(str(versions.get(name, "unknown")) for name in SETTING[1:]))
