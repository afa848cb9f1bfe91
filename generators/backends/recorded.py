"""A recording that answers as the model that was recorded: the same two requests, and nothing it did not hear.

Not here: any judgement of the answers; a recording passes the parser and the filters like a live model.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from generators.backends.reply import Access, Reply
from generators.prompts import Request
from generators.taxonomy import TAXONOMY, Value
from harness.config import nearest
from harness.identity import canonical, file_digest

FOLDER = Path(__file__).parent.parent / "recorded"


@dataclass(frozen=True)
class Recorded:
    """Serves `generators/recorded/<corpus>.jsonl`."""

    kind: Literal["recorded"]
    corpus: str
    sha256: str
    """Of the file: a recording that changed is another backend."""

    def open(self, access: Access) -> Recording:  # noqa: ARG002  a recording is not paid for
        """Read and verify the recording; raises ValueError naming the corpus, or the digest that does not match."""
        known = {path.stem: path for path in FOLDER.glob("*.jsonl")}
        path = known.get(self.corpus)
        if path is None:
            raise ValueError(f"generator.backend.corpus: no recording {self.corpus!r}{nearest(self.corpus, known)}")
        digest = file_digest(path)
        if digest != self.sha256:
            raise ValueError(
                f"generator.backend.sha256: {path} has digest {digest}, the configuration says {self.sha256}; "
                "restore the file, or write the new digest if the change is meant"
            )
        with path.open(encoding="utf-8") as lines:
            return Recording(tuple(Entry(**json.loads(line)) for line in lines))


@dataclass(frozen=True)
class Entry:
    """One recorded conversation."""

    task_type: str
    language: str
    task: str
    params: Mapping[str, Value]
    output: Mapping[str, str]


@dataclass(frozen=True)
class Recording:
    """An opened recording; answers do not depend on the order of the questions."""

    entries: tuple[Entry, ...]

    def ask(self, requests: Sequence[Request]) -> Iterator[Reply]:
        """The recorded answer of each request as JSON text, or a reply with finish `not_recorded`."""
        for request in requests:
            answer = self._tasks(request) if request.stage == "brainstorm" else self._examples.get(_place(request))
            if answer is None:
                yield Reply("", "not_recorded")
            else:
                yield Reply(json.dumps(answer, ensure_ascii=False), "stop")

    def judged(self, verdicts: Iterable[tuple[Request, str]]) -> None:
        """A recording keeps no verdicts."""

    def notes(self) -> dict[str, Any]:
        """Nothing to tell."""
        return {}

    @cached_property
    def repeats(self) -> tuple[int, ...]:
        """For each entry, how many entries before it answered the same question."""
        seen: Counter[str] = Counter()
        found = []
        for entry in self.entries:
            place = _place_of(entry, 0)
            found.append(seen[place])
            seen[place] += 1
        return tuple(found)

    @cached_property
    def tasks(self) -> Mapping[tuple[str, str], tuple[str, ...]]:
        """The distinct tasks of each (task type, language), in the order they were first used."""
        found: dict[tuple[str, str], dict[str, None]] = {}
        for entry in self.entries:
            found.setdefault((entry.task_type, entry.language), {})[entry.task] = None
        return {key: tuple(tasks) for key, tasks in found.items()}

    @cached_property
    def _examples(self) -> Mapping[str, Any]:
        return {_place_of(entry, n): entry.output for entry, n in zip(self.entries, self.repeats, strict=True)}

    def _tasks(self, request: Request) -> list[str] | None:
        size = TAXONOMY[request.task_type].tasks_per_brainstorm
        tasks = self.tasks.get((request.task_type, request.language), ())
        return list(tasks[request.index * size : (request.index + 1) * size]) or None


def _place_of(entry: Entry, repeat: int) -> str:
    task = entry.task if TAXONOMY[entry.task_type].brainstormed else ""
    return canonical([entry.task_type, entry.language, task, entry.params, repeat])


def _place(request: Request) -> str:
    return canonical([request.task_type, request.language, request.task, request.params, request.index])
