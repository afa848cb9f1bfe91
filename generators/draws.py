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
from pathlib import Path
from typing import Annotated, Literal, TypeVar

from annotated_types import Ge, Gt

from generators.backends.recorded import Recording
from generators.labelled import LabelledSet, locate, read_set
from generators.languages import FIGURE2
from generators.prompts import Request, find_template
from generators.taxonomy import PLACEHOLDERS, TAXONOMY, Value, Weights
from harness.config import nearest
from harness.identity import canonical
from harness.kinds import BY_KIND

T = TypeVar("T")


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
    task: str = ""
    """Where it is not brainstormed but given."""

    def brainstorm(self) -> Request | None:
        """The first conversation; None for symmetric types and for given documents."""
        if not find_template(self.template).brainstorm:
            return None
        return Request("brainstorm", self.task_type, self.language, self.template, "", {}, self.chunk)

    def example(self, tasks: Sequence[str]) -> Request:
        """The second conversation, about one of the brainstormed tasks (none for symmetric types)."""
        task = tasks[self.position % len(tasks)] if tasks else self.task
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
        return (self._draw(cell, index) for cell, index in self._places(templates))

    def requests(self, templates: Sequence[str]) -> int:
        """How many requests the pool makes, without drawing what they say: every example, every brainstorm once."""
        brainstorms = set()
        for cell, index in self._places(templates):
            size = TAXONOMY[cell.task_type].tasks_per_brainstorm
            if size and find_template(cell.template).brainstorm:
                brainstorms.add((cell, index // (size * self.examples_per_task)))
        return self.size + len(brainstorms)

    def _places(self, templates: Sequence[str]) -> Iterator[tuple[Cell, int]]:
        kinds = {name: row.share for name, row in TAXONOMY.items()} if isinstance(self.task_types, str) else self.task_types
        by_type = templates_by_type(templates)
        missing = set(kinds) - set(by_type)
        if missing:
            raise ValueError(f"generator.templates: no template for task types {', '.join(sorted(missing))}")
        pools = {kind: apportion(self._cells(kind, by_type[kind]), f"{self.seed}") for kind in kinds}
        for kind, _ in islice(apportion(kinds, f"{self.seed}"), self.size):
            yield next(pools[kind])

    def _cells(self, kind: str, templates: Sequence[str]) -> dict[Cell, float]:
        """The parts of one task type with their weights."""
        languages = FIGURE2 if isinstance(self.languages, str) else self.languages
        pairs = _language_pairs(languages) if kind == "bitext" else {(name, ""): w for name, w in languages.items()}
        return {Cell(kind, *names, template): weight for template in templates for names, weight in pairs.items()}

    def _draw(self, cell: Cell, index: int) -> Draw:
        size = TAXONOMY[cell.task_type].tasks_per_brainstorm
        chunk, position = (index // (size * self.examples_per_task), index % size) if size else (0, 0)
        params: dict[str, Value] = {"src_lang": cell.source, "tgt_lang": cell.language} if cell.source else {}
        place = canonical([self.seed, cell.task_type, cell.language, cell.source, cell.template, index])
        for slot in PLACEHOLDERS[cell.task_type]:
            if uniform(place, slot.name) < slot.presence(self.placeholders):
                params[slot.name] = _race(place, slot.name, slot.values, slot.weights(self.placeholders))
        return Draw(cell.task_type, cell.language, cell.template, chunk, position, params, index)


@dataclass(frozen=True)
class Grounded:
    """Queries for documents that exist: every place is a row of a labelled file and a language to ask in."""

    kind: Literal["grounded"]
    given: LabelledSet
    """Its positives are the documents, its instruction is the task."""
    size: Annotated[int, Ge(1)]
    seed: int
    languages: Mapping[str, Annotated[float, Gt(0)]] | Literal["figure2"]
    placeholders: Weights

    def draws(self, templates: Sequence[str], sources: Path | None) -> Iterator[Draw]:
        """The first `size` places: rows in the order of their hash, each asked once in the language its turn has."""
        path = locate((self.given,), sources)[self.given.name]
        languages = FIGURE2 if isinstance(self.languages, str) else self.languages
        rows = dict.fromkeys((pair.query, pair.positive) for pair in read_set(self.given, path, 0))
        ranked = sorted(rows, key=lambda row: uniform(f"{self.seed}", canonical(row)))
        for template in templates:
            if find_template(template).task_type != self.given.task_type or not find_template(template).given:
                raise ValueError(f"generator.templates: {template} does not take documents of type {self.given.task_type}")
        turns = apportion({Cell("", name, "", each): w for each in templates for name, w in languages.items()}, f"{self.seed}")
        for (query, passage), (cell, _) in islice(zip(ranked, turns, strict=False), self.size):
            place = canonical([self.seed, cell.language, cell.template, query, passage])
            slots = find_template(cell.template).slots
            params: dict[str, Value] = {"passage": passage, "src_lang": cell.language, "tgt_lang": self.given.language}
            params |= {"given_query": query} if "given_query" in slots else {}
            for slot in PLACEHOLDERS[self.given.task_type]:
                if slot.name in slots:
                    params[slot.name] = _race(place, slot.name, slot.values, slot.weights(self.placeholders))
            yield Draw(self.given.task_type, cell.language, cell.template, 0, 0, params, 0, self.given.instruction)


Draws = Annotated[Replay | Sample | Grounded, BY_KIND]


@dataclass(frozen=True)
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


def apportion(weights: Mapping[T, float], salt: str) -> Iterator[tuple[T, int]]:
    """Endless (item, index): after n of them each item has its share of n, to within one place of the ideal pace.

    Item i has its k-th place at time (k + u) / weight, where only its name and the salt decide u in (0, 1): no item loses a
    place when n grows, and, unlike with rounded shares, many rare languages together have their share of a small pool too.
    """
    start = {item: uniform(salt, canonical(item)) for item in weights}
    heap = [(start[item] / weight, n, item, 0) for n, (item, weight) in enumerate(weights.items())]
    heapq.heapify(heap)
    while True:
        _, n, item, index = heap[0]
        yield item, index
        heapq.heapreplace(heap, ((index + 1 + start[item]) / weights[item], n, item, index + 1))


def _language_pairs(languages: Mapping[str, float]) -> dict[tuple[str, str], float]:
    """(target, source) -> weight, for all pairs of different languages."""
    pairs = {(t, s): languages[t] * languages[s] for t in languages for s in languages if s != t}
    if not pairs:
        raise ValueError(f"draws.languages: bitext needs two languages, got {', '.join(languages) or 'none'}")
    return pairs


def uniform(place: str, name: str) -> float:
    """A number in (0, 1) that only the place and the name decide."""
    digest = hashlib.blake2b(f"{place}{name}".encode(), digest_size=8).digest()
    return (int.from_bytes(digest, "big") + 1) / (2**64 + 2)


def _race(place: str, name: str, values: Sequence[Value], weights: Sequence[float]) -> Value:
    """One of the values by weight: each runs for an exponential time, and the first wins.

    Changing the weights then changes as few choices as the new shares demand.
    """
    times = [-math.log(uniform(place, f"{name}={value}")) / w for value, w in zip(values, weights, strict=True)]
    return values[times.index(min(times))]
