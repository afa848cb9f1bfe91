"""What a run cost: seconds by step, and what was asked, trained and encoded for it.

Read from the measurements that stand beside each step's record; a step shared with other runs counts in full, as if this run
had been alone. Not here: what it would cost (`sweeps.cost`).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from harness.record import MEASURED_FILE, PAYLOAD, read_measured
from reports.frame import Frame, Run

GIB = 2**30
TRAINED = ("pretrain", "finetune")
TRAINING_FILE = "training.json"
Parts = Sequence[dict[str, Any]]
"""Measurements of some steps of a run."""


def seconds(left: Frame, right: Frame) -> Iterator[tuple[str, str, str]]:
    """Seconds of every step on both sides, and in all."""
    a, b = (_seconds(frame) for frame in (left, right))
    for label in dict.fromkeys((*a, *b)):
        yield label, f"{a[label]:.1f}" if label in a else "-", f"{b[label]:.1f}" if label in b else "-"
    yield "all", f"{sum(a.values()):.1f}", f"{sum(b.values()):.1f}"


def _seconds(frame: Frame) -> dict[str, float]:
    labels = dict.fromkeys(label for run in frame.runs for label in run.seconds)
    return {label: sum(run.seconds.get(label, 0.0) for run in frame.runs) / len(frame.runs) for label in labels}


def work(left: Frame, right: Frame) -> Iterator[tuple[str, str, str]]:
    """Amounts of work on both sides, mean over seeds; those that neither has are left out."""
    sides = [[_measured(frame, run) for run in frame.runs] for frame in (left, right)]
    for name, kinds, figure in FIGURES:
        a, b = (_mean([figure([part for kind in kinds for part in run.get(kind, [])]) for run in side]) for side in sides)
        if a or b:
            yield name, a or "-", b or "-"


def _total(key: str) -> Callable[[Parts], float | None]:
    def total(parts: Parts) -> float | None:
        found = [part[key] for part in parts if key in part]
        return float(sum(found)) if found else None

    return total


def _peak(parts: Parts) -> float | None:
    found = [part["peak_memory_bytes"] / GIB for part in parts if "peak_memory_bytes" in part]
    return max(found, default=None)


def _rate(parts: Parts) -> float | None:
    spent = sum(part.get("seconds", 0.0) for part in parts)
    tokens = _total("tokens")(parts)
    return tokens / spent if tokens is not None and spent else None


def _trainable(parts: Parts) -> float | None:
    found = [float(part["trainable_parameters"]) for part in parts if "trainable_parameters" in part]
    return found[-1] if found else None


FIGURES: tuple[tuple[str, tuple[str, ...], Callable[[Parts], float | None]], ...] = (
    ("answers of language models", ("synthesize",), _total("draws")),
    ("pairs accepted of them", ("synthesize",), _total("accepted")),
    ("parameters trained last", TRAINED, _trainable),
    ("training steps", TRAINED, _total("steps")),
    ("tokens trained on", TRAINED, _total("tokens")),
    ("training tokens a second", TRAINED, _rate),
    ("peak memory of training, GiB", TRAINED, _peak),
    ("texts asked for", ("evaluate",), _total("texts_asked")),
    ("texts encoded", ("evaluate",), _total("texts")),
    ("tokens encoded", ("evaluate",), _total("tokens")),
)
"""What is counted, in steps of which kinds."""


def _mean(values: Sequence[float | None]) -> str:
    known = [value for value in values if value is not None]
    if not known:
        return ""
    mean = sum(known) / len(known)
    return f"{mean:,.0f}" if mean >= 100 or mean == int(mean) else f"{mean:.1f}"


def _measured(frame: Frame, asked: Run) -> dict[str, list[dict[str, Any]]]:
    """Measurements of a run's finished steps by kind; with them, of a training, what it says of itself."""
    found: dict[str, list[dict[str, Any]]] = {}
    record = next((run for run in frame.sweep.runs if (run.arm, run.seed) == (asked.arm, asked.seed)), None)
    steps = {ref.key: ref for ref in record.steps.values()} if record is not None else {}  # published: no steps
    for ref in steps.values():
        folder = frame.store / ref.step / ref.fingerprint
        if (folder / MEASURED_FILE).is_file():
            part = read_measured(folder)
            if (folder / PAYLOAD / TRAINING_FILE).is_file():
                part |= json.loads((folder / PAYLOAD / TRAINING_FILE).read_text(encoding="utf-8"))
            found.setdefault(ref.step, []).append(part)
    return found
