"""What was already computed from items: mean squares of paired differences, kept beside a sweep.

Reading items is nearly all that a table costs. The result for one cell of two arms follows from the digests of their item
files and from our code, so these are its key: the same numbers, to the last bit, or none. A cache that cannot be read or
written is no error; nothing else ever reads it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import astuple
from functools import cache
from pathlib import Path
from typing import Any

from harness import items
from harness.record import write_json
from harness.sweep_record import sweep_folder
from reports import influence, statistics, units
from reports.frame import Frame
from reports.statistics import Parts

FILE = "parts.json"
SEALED = "baseline.json"
"""A store that holds this is a committed baseline: nothing is written into it."""


class PartsCache:
    """Mean squares by key; `save` writes what was added."""

    def __init__(self, path: Path | None) -> None:
        """Read what is there; without a path nothing is kept."""
        self.path = path
        self.known: dict[str, tuple[Parts, ...]] = {}
        self.changed = False
        try:
            data: Any = json.loads(path.read_text(encoding="utf-8")) if path else {}
            self.known = {key: tuple(Parts(*part) for part in parts) for key, parts in data.items()}
        except (OSError, ValueError, TypeError, AttributeError):
            self.known = {}

    def put(self, key: str, parts: tuple[Parts, ...]) -> None:
        """Keep one result."""
        self.known[key], self.changed = parts, True

    def save(self) -> None:
        """Write the file anew if anything was added."""
        if self.path is None or not self.changed:
            return
        try:
            write_json(self.path, {key: [astuple(part) for part in parts] for key, parts in self.known.items()})
        except OSError:
            return


def cache_of(frame: Frame) -> PartsCache:
    """The cache beside a frame's sweep; one that keeps nothing where there is no such folder, or where it is sealed."""
    folder = sweep_folder(frame.store, frame.sweep.name, frame.sweep.id)
    return PartsCache(folder / FILE if folder.is_dir() and not (frame.store / SEALED).exists() else None)


def key_of(*parts: str | Iterable[str]) -> str:
    """A key of everything that decides a result, and of the code that computes it."""
    text = json.dumps([_code(), *(part if isinstance(part, str) else list(part) for part in parts)])
    return hashlib.sha256(text.encode()).hexdigest()


@cache
def _code() -> str:
    """Digest of the modules between an item file and its mean squares."""
    sources = [Path(str(module.__file__)).read_bytes() for module in (items, units, influence, statistics)]
    return hashlib.sha256(b"".join(sources)).hexdigest()
