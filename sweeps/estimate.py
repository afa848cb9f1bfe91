"""How long steps take on this machine, from what finished ones measured.

One noun: seconds by kind of step and by label (`evaluate/STSBenchmark` is not `evaluate/ArXivClustering`). Unknown stays
unknown: a kind of which none has finished has no estimate.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from harness.record import read_measured
from harness.sweep_record import SweepRecord

SAMPLE = 25  # finished steps of one label that are read for an estimate; their median hardly moves with more


@dataclass(frozen=True)
class Took:
    """What building steps of one kind cost, in seconds."""

    kind: str
    wall: tuple[float, ...]
    cpu: tuple[float, ...]


def took(root: Path, keys: Iterable[str]) -> tuple[list[Took], list[str]]:
    """Measured seconds by kind, and the finished steps whose measurements cannot be read."""
    wall: dict[str, list[float]] = {}
    cpu: dict[str, list[float]] = {}
    unreadable = []
    for key in sorted(keys):
        seconds = _measured(root, key)
        if seconds is None:
            unreadable.append(key)
            continue
        kind = key.split("/", 1)[0]
        wall.setdefault(kind, []).append(seconds[0])
        cpu.setdefault(kind, []).append(seconds[1])
    return [Took(kind, tuple(wall[kind]), tuple(cpu[kind])) for kind in wall], unreadable


def _measured(root: Path, key: str) -> tuple[float, float] | None:
    try:
        measured = read_measured(root / key)
        return float(measured["seconds"]), float(measured["cpu_seconds"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


@dataclass(frozen=True)
class Estimate:
    """Expected seconds of a step that is not built yet."""

    by_label: Mapping[str, float]
    by_kind: Mapping[str, float]

    def seconds(self, label: str, key: str) -> float | None:
        """The median of finished steps of the same label, else of the same kind; None if none has finished."""
        return self.by_label.get(label, self.by_kind.get(key.split("/", 1)[0]))


def estimate(root: Path, sweep: SweepRecord, done: set[str]) -> Estimate:
    """From the finished steps of a sweep; a kind of which it has finished none is looked up in the rest of the store."""
    labels: dict[str, set[str]] = {}
    for run in sweep.runs:
        for label, ref in run.steps.items():
            if ref.key in done:
                labels.setdefault(label, set()).add(ref.key)
    by_label, by_kind = {}, {}
    kinds: dict[str, list[float]] = {}
    for label, keys in labels.items():
        values = _sampled(root, sorted(keys))
        if values:
            by_label[label] = statistics.median(values)
            kinds.setdefault(next(iter(keys)).split("/", 1)[0], []).extend(values)
    for kind in {ref.step for run in sweep.runs for ref in run.steps.values()}:
        values = kinds.get(kind) or _sampled(root, sorted(f"{kind}/{path.name}" for path in (root / kind).glob("*")))
        if values:
            by_kind[kind] = statistics.median(values)
    return Estimate(by_label, by_kind)


def _sampled(root: Path, keys: list[str]) -> list[float]:
    stride = max(1, len(keys) // SAMPLE)
    found = (_measured(root, key) for key in keys[::stride][:SAMPLE])
    return [seconds[0] for seconds in found if seconds is not None]
