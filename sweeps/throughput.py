"""How fast this machine has been: what finished steps of the store measured, by model and by task.

A preview turns work into hours with it. A rate is taken over only by work of its own kind: the same backbone in the same
dtype on the same class of hardware. What has not been measured is None, never a guess. `sweeps.estimate` tells how long the
rest of a running sweep takes from its own finished steps, which is the better question to ask once it runs.
"""

from __future__ import annotations

import json
import statistics
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from harness.identity import canonical
from harness.record import MEASURED_FILE, PAYLOAD, RECORD_FILE

TRAINED = ("pretrain", "finetune")
SAMPLE = 400  # finished steps of a kind that are read; their medians hardly move with more


@dataclass
class Throughput:
    """Medians over finished steps; every lookup is None where nothing like it has finished."""

    _training: dict[str, list[tuple[float, float]]] = field(default_factory=lambda: defaultdict(list))
    """(seconds before and after the loop, seconds per token), by what decides a step's speed."""
    _lengths: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    """Tokens per example, by what decides the length of texts; and over everything under the empty name."""
    _tasks: dict[str, dict[str, list[float]]] = field(default_factory=lambda: defaultdict(lambda: defaultdict(list)))
    """Seconds of a task, by encoder and task."""
    _texts: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    """Seconds per text asked for, by encoder."""
    _kinds: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    """Seconds of steps of other kinds."""

    @staticmethod
    def measured(root: Path, hardware: str) -> Throughput:
        """Read a store; of many steps of a kind an even sample."""
        found = Throughput()
        for kind in sorted(path.name for path in root.glob("*") if path.is_dir()):
            for folder, record, measured in _finished(root / kind):
                if measured.get("hardware") == hardware and "seconds" in measured:
                    found._add(kind, folder, record["spec"], record.get("inputs", {}), measured)
        return found

    def _add(self, kind: str, folder: Path, spec: Any, inputs: Any, measured: Mapping[str, Any]) -> None:
        if kind in TRAINED:
            training = _read(folder / PAYLOAD / "training.json")
            if training and measured.get("tokens_per_second"):
                around = max(0.0, measured["seconds"] - measured["train_seconds"])
                self._training[speed_key(spec)].append((around, 1 / measured["tokens_per_second"]))
                length = training["tokens"] / training["examples"]
                for key in (length_key(kind, spec), length_key(kind, spec, inputs["pairs"]["fingerprint"])):
                    self._lengths[key].append(length)
        elif kind == "evaluate":
            encoder = speed_key(spec["encoder"])
            self._tasks[encoder][spec["task"]["name"]].append(measured["seconds"])
            if measured.get("texts_asked"):
                self._texts[encoder].append(measured["seconds"] / measured["texts_asked"])
        else:
            self._kinds[kind].append(measured["seconds"])

    def training(self, spec: Mapping[str, Any], tokens: float | None) -> float | None:
        """Seconds of a training step over so many tokens."""
        rows = self._training.get(speed_key(spec))
        if not rows or tokens is None:
            return None
        return statistics.median(row[0] for row in rows) + tokens * statistics.median(row[1] for row in rows)

    def length(self, kind: str, spec: Mapping[str, Any], pairs: str) -> float | None:
        """Tokens per example: of trainings on the same pairs, else of the same kind of training."""
        rows = self._lengths.get(length_key(kind, spec, pairs)) or self._lengths.get(length_key(kind, spec))
        return statistics.median(rows) if rows else None

    def evaluation(self, encoder: str, task: str, texts: int | None) -> float | None:
        """Seconds of a task on an encoder of that `speed_key`: as it took before, else by its number of texts."""
        if rows := self._tasks.get(encoder, {}).get(task):
            return statistics.median(rows)
        rates = self._texts.get(encoder)
        return statistics.median(rates) * texts if rates and texts is not None else None

    def other(self, kind: str) -> float | None:
        """Seconds of a step of any other kind."""
        rows = self._kinds.get(kind)
        return statistics.median(rows) if rows else None


def speed_key(spec: Mapping[str, Any]) -> str:
    """What decides a model's speed, out of the plain spec of a training or of an encoder."""
    parts = [spec.get(name) for name in ("backbone", "dtype", "attention", "name", "parts")]
    adapter, train = spec.get("adapter") or {}, spec.get("train") or {}
    return canonical([*parts, adapter.get("kind"), train.get("activations")])


def length_key(kind: str, spec: Mapping[str, Any], pairs: str = "") -> str:
    """What decides how long the texts of an example are, for one set of pairs or for any."""
    parts = [spec["backbone"], spec["max_length"], spec["train"]["negatives"]]
    return canonical([kind, *parts, pairs, spec["instruction"] if pairs else None])


def _finished(folder: Path) -> Iterator[tuple[Path, Mapping[str, Any], Mapping[str, Any]]]:
    """(folder, record, measurements) of an even sample of the finished steps; what is torn is left to `store verify`."""
    names = sorted(path.name for path in folder.iterdir())
    stride = max(1, len(names) // SAMPLE)
    for name in names[::stride]:
        record, measured = _read(folder / name / RECORD_FILE), _read(folder / name / MEASURED_FILE)
        if record and measured and "spec" in record:
            yield folder / name, record, measured


def _read(path: Path) -> dict[str, Any] | None:
    try:
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return found
