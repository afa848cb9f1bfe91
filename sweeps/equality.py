"""Results that are too equal: different specifications that ended in the same bytes.

An adapter that was not loaded, a cache that answered for another model, an override that never arrived: each shows as two
arms with equal weights or equal scores. That is a failure of the sweep, not a finding (traps 25 and 28).
"""

from __future__ import annotations

from collections.abc import Iterator

from harness.record import RECORD_FILE, Record, read_record
from harness.store import Store
from harness.sweep_record import RunRecord, StepRef, SweepRecord

WEIGHTS = ("adapter_model.safetensors", "model.safetensors")


def suspicious_equalities(sweep: SweepRecord, store: Store) -> list[str]:
    """One message for every pair of runs with different steps and equal weights, or equal scores on every task."""
    weights: dict[str, tuple[str, str]] = {}
    scores: dict[tuple[str, ...], tuple[str, tuple[str, ...]]] = {}
    messages = []
    for run in sweep.runs:
        name = f"{run.arm}:{run.seed}"
        for key, digest in _weights(run, store):
            other, other_key = weights.setdefault(digest, (name, key))
            if other_key != key:
                messages.append(f"{other} and {name} have different training steps and equal weights ({other_key}, {key})")
        evaluated = _scores(run, store)
        if evaluated is not None:
            keys, digests = evaluated
            other, other_keys = scores.setdefault(digests, (name, keys))
            if other_keys != keys:
                messages.append(f"{other} and {name} have different evaluations and equal scores on every task, item by item")
    return messages


def _record(ref: StepRef, store: Store) -> Record | None:
    path = store.root / ref.step / ref.fingerprint / RECORD_FILE
    return read_record(path) if path.exists() else None


def _weights(run: RunRecord, store: Store) -> Iterator[tuple[str, str]]:
    for label in ("pretrain", "finetune"):
        if label in run.steps and (record := _record(run.steps[label], store)):
            yield run.steps[label].key, "+".join(record.files[name] for name in WEIGHTS if name in record.files)


def _scores(run: RunRecord, store: Store) -> tuple[tuple[str, ...], tuple[str, ...]] | None:
    keys, digests = [], []
    for task, ref in run.evaluations.items():
        record = _record(ref, store)
        if record is None:
            return None
        keys.append(ref.key)
        digests.append(f"{task}:{record.files['items.parquet']}")
    return (tuple(keys), tuple(digests)) if keys else None
