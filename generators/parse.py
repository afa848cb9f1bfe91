"""From what a model said to the values it was asked for: tolerant of fences and prose around, strict about the content.

An answer is untrusted text of any size. Nothing here raises on it; what cannot be used comes back as a reason. Not here:
whether a well-formed answer is any good (`filters.py`).
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from typing import Any, Literal

MAX_CHARACTERS = 200_000
"""No template asks for a hundredth of this; longer answers are not searched."""
MAX_CANDIDATES = 100
"""How many brackets are tried as the beginning of the JSON value."""

Reason = Literal["not_json", "wrong_schema"]


class _RepeatedKeyError(ValueError):
    pass


def _unique(items: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(items)
    if len(value) != len(items):
        raise _RepeatedKeyError
    return value


_DECODER = json.JSONDecoder(object_pairs_hook=_unique)


def _values(text: str, opening: str) -> Iterator[Any]:
    """The JSON values that begin with `opening`, outermost first, wherever they stand in the text."""
    if len(text) > MAX_CHARACTERS:
        return
    position = -1
    for _ in range(MAX_CANDIDATES):
        position = text.find(opening, position + 1)
        if position < 0:
            return
        try:
            value, end = _DECODER.raw_decode(text, position)
        except (ValueError, RecursionError):  # digits beyond int's limit and nesting beyond the stack are not JSON here
            continue
        yield value
        position = end - 1


_UNSHOWN = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff]")
"""Control characters but for tabs and ends of lines, and halves of surrogate pairs."""


def _clean(value: Any) -> str | None:
    """A text that can be stored and shown: stripped, not empty, no control characters, valid Unicode."""
    if not isinstance(value, str) or not value.strip():
        return None
    return None if _UNSHOWN.search(value) else value.strip()


def parse_example(text: str, keys: Sequence[str]) -> dict[str, str] | Reason:
    """The one object with exactly `keys`, all of them texts.

    Two different such objects are `wrong_schema`: choosing would be guessing.
    """
    found: list[dict[str, str]] = []
    any_value = False
    for value in _values(text, "{"):
        any_value = True
        if isinstance(value, dict) and set(value) == set(keys):
            cleaned = {key: _clean(value[key]) for key in keys}
            good = {key: text for key, text in cleaned.items() if text is not None}
            if len(good) != len(keys):
                return "wrong_schema"
            if good not in found:
                found.append(good)
    if len(found) == 1:
        return found[0]
    return "wrong_schema" if any_value else "not_json"


def parse_tasks(text: str) -> tuple[str, ...] | Reason:
    """The brainstormed tasks: the first list of texts, each of one line, repeats dropped."""
    any_value = False
    for value in _values(text, "["):
        any_value = True
        if not isinstance(value, list) or not value:
            continue
        tasks = [_clean(item) for item in value]
        if None not in tasks:
            return tuple(dict.fromkeys(" ".join(task.split()) for task in tasks if task))
    return "wrong_schema" if any_value else "not_json"
