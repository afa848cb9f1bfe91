"""Which requests are asked: the ones a recording holds, or ones drawn from the taxonomy.

A draw is a place in the pool: (task type, language, template, index). What it asks depends on its place and the seed alone,
never on how large the pool is or how languages are weighted: a larger or differently mixed corpus re-asks nothing.
"""

from __future__ import annotations

import hashlib
import heapq
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Annotated, Literal

from annotated_types import Ge, Gt

from generators.backends.recorded import Recording
from generators.languages import FIGURE2
from generators.prompts import Request, find_template
from generators.taxonomy import PLACEHOLDERS, TAXONOMY, Value, Weights
from harness.config import nearest
from harness.identity import canonical
from harness.kinds import BY_KIND


@dataclass(frozen=True)
class Draw:
    """One example to be asked for, before its task is known."""

    task_type: str
    language: str
    template: str
    chunk: int
    """Which brainstorm of its (task type, language, template) its task comes from."""
    position: int
    """Which task of that brainstorm; counted round if the model thought of fewer."""
    params: Mapping[str, Value]
    index: int

    def brainstorm(self) -> Request | None:
        """The first conversation; None for symmetric types."""
        if not TAXONOMY[self.task_type].brainstormed:
            return None
        return Request("brainstorm", self.task_type, self.language, self.template, "", {}, self.chunk)

    def example(self, tasks: Sequence[str]) -> Request:
        """The second conversation, about one of the brainstormed tasks (none for symmetric types)."""
        task = tasks[self.position % len(tasks)] if tasks else ""
        return Request("example", self.task_type, self.language, self.template, task, self.params, self.index)


@dataclass(frozen=True)
class Replay:
    """Every request the recording can answer, in the order it was recorded."""

    kind: Literal["replay"]
    limit: Annotated[int, Ge(1)] | None
    """Only the first so many; null: all."""

    def draws(self, recording: Recording, templates: Sequence[str]) -> Iterator[Draw]:
        """The recording's own requests, asked with the first template of each type."""
        by_type = templates_by_type(templates)
        places = {key: {task: n for n, task in enumerate(tasks)} for key, tasks in recording.tasks.items()}
        for entry, repeat in islice(zip(recording.entries, recording.repeats, strict=True), self.limit):
            if entry.task_type not in by_type:
                continue
            size = TAXONOMY[entry.task_type].tasks_per_brainstorm
            place = places[entry.task_type, entry.language][entry.task]
            chunk, position = divmod(place, size) if size else (0, 0)
            template = by_type[entry.task_type][0]
            yield Draw(entry.task_type, entry.language, template, chunk, position, entry.params, repeat)


@dataclass(frozen=True)
class Sample:
    """The first `size` places of a pool with these shares."""

    kind: Literal["sample"]
    size: Annotated[int, Ge(1)]
    seed: int
    task_types: Mapping[str, Annotated[float, Gt(0)]] | Literal["figure2"]
    """Weights; `figure2`: the paper's."""
    languages: Mapping[str, Annotated[float, Gt(0)]] | Literal["figure2"]
    placeholders: Weights
    examples_per_task: Annotated[int, Ge(1)]
    """How often a brainstormed task is used (the paper: 500k examples of 150k instructions)."""

    def __post_init__(self) -> None:
        """Every name must be one of the taxonomy's or of XLM-R's list."""
        for field, given, known in (("task_types", self.task_types, TAXONOMY), ("languages", self.languages, FIGURE2)):
            for name in () if isinstance(given, str) else given:
                if name not in known:
                    raise ValueError(f"draws.{field}: {name!r} is not known{nearest(name, known)}")

    def draws(self, templates: Sequence[str]) -> Iterator[Draw]:
        """The pool in its order: a longer one begins with the shorter one."""
        for cell, index in islice(apportion(self._cells(templates)), self.size):
            yield self._draw(cell, index)

    def _cells(self, templates: Sequence[str]) -> dict[Cell, float]:
        kinds = {name: row.share for name, row in TAXONOMY.items()} if self.task_types == "figure2" else self.task_types
        languages = FIGURE2 if self.languages == "figure2" else self.languages
        assert not isinstance(kinds, str) and not isinstance(languages, str)  # noqa: S101, PT018  narrowing for mypy
        by_type = templates_by_type(templates)
        missing = set(kinds) - set(by_type)
        if missing:
            raise ValueError(f"generator.templates: no template for task types {', '.join(sorted(missing))}")
        weights: dict[Cell, float] = {}
        for kind, share in kinds.items():
            pairs = _language_pairs(languages) if kind == "bitext" else {(name, ""): w for name, w in languages.items()}
            total = math.fsum(pairs.values()) * len(by_type[kind])
            for template in by_type[kind]:
                weights |= {Cell(kind, *names, template): share * w / total for names, w in pairs.items()}
        return weights

    def _draw(self, cell: Cell, index: int) -> Draw:
        size = TAXONOMY[cell.task_type].tasks_per_brainstorm
        chunk, position = (index // (size * self.examples_per_task), index % size) if size else (0, 0)
        params: dict[str, Value] = {"src_lang": cell.source, "tgt_lang": cell.language} if cell.source else {}
        place = canonical([self.seed, cell.task_type, cell.language, cell.source, cell.template, index])
        for slot in PLACEHOLDERS[cell.task_type]:
            if _uniform(place, slot.name) < slot.presence(self.placeholders):
                params[slot.name] = _race(place, slot.name, slot.values, slot.weights(self.placeholders))
        return Draw(cell.task_type, cell.language, cell.template, chunk, position, params, index)


Draws = Annotated[Replay | Sample, BY_KIND]


@dataclass(frozen=True, order=True)
class Cell:
    """A part of the pool that is numbered on its own."""

    task_type: str
    language: str
    source: str
    """The language translated from, of bitext; empty elsewhere."""
    template: str


def templates_by_type(names: Sequence[str]) -> dict[str, list[str]]:
    """Template names grouped by task type, in the order given; raises ValueError for an unknown one."""
    found: dict[str, list[str]] = {}
    for name in names:
        found.setdefault(find_template(name).task_type, []).append(name)
    return found


def apportion(weights: Mapping[Cell, float]) -> Iterator[tuple[Cell, int]]:
    """Endless (cell, index): after n of them each cell has its share of n to within rounding (Sainte-Lague's method).

    Unlike rounding shares of n, no cell ever loses a place when n grows; unlike drawing cells by lot, there is no noise.
    """
    heap = [(-weight, cell, 0) for cell, weight in weights.items()]
    heapq.heapify(heap)
    while True:
        _, cell, index = heap[0]
        yield cell, index
        heapq.heapreplace(heap, (-weights[cell] / (2 * index + 3), cell, index + 1))


def _language_pairs(languages: Mapping[str, float]) -> dict[tuple[str, str], float]:
    """(target, source) -> weight, for all pairs of different languages."""
    pairs = {(t, s): languages[t] * languages[s] for t in languages for s in languages if s != t}
    if not pairs:
        raise ValueError(f"draws.languages: bitext needs two languages, got {', '.join(languages) or 'none'}")
    return pairs


def _uniform(place: str, name: str) -> float:
    """A number in (0, 1) that only the place and the name decide."""
    digest = hashlib.blake2b(f"{place}{name}".encode(), digest_size=8).digest()
    return (int.from_bytes(digest, "big") + 1) / (2**64 + 2)


def _race(place: str, name: str, values: Sequence[Value], weights: Sequence[float]) -> Value:
    """One of the values by weight: each runs for an exponential time, and the first wins.

    Changing the weights then changes as few choices as the new shares demand.
    """
    times = [-math.log(_uniform(place, f"{name}={value}")) / w for value, w in zip(values, weights, strict=True)]
    return values[times.index(min(times))]
