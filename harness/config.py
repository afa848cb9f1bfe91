"""From composed YAML to typed specs: one strict decoder that names every bad key at once.

Composition (Hydra) happens above, in `sweeps/`; this module sees plain mappings. Nothing is coerced: `"12"` is no integer
and `true` no number, because a value that changes type on its way is a value nobody wrote.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar, cast

T = TypeVar("T")


@dataclass(frozen=True)
class Problem:
    """One thing wrong with a configuration: where, what, and what to do about it."""

    path: str
    message: str

    def __str__(self) -> str:
        return f"{self.path}: {self.message}"


class ConfigError(ValueError):
    """Every problem of a configuration, together."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(f"  {problem}" for problem in self.problems))


_adapters: dict[Any, Any] = {}


def _adapter(cls: Any) -> Any:
    """The decoder of a type, built once: building costs more than decoding."""
    from pydantic import ConfigDict, TypeAdapter, create_model

    if cls not in _adapters:
        # A box, because pydantic refuses `config=` for a dataclass while a model's settings do reach nested dataclasses.
        strict = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)
        _adapters[cls] = TypeAdapter(create_model("config", __config__=strict, root=(cls, ...)))
    return _adapters[cls]


def decode(cls: type[T], data: Mapping[str, Any], where: str = "") -> T:
    """Turn a plain mapping into a frozen, typed spec, or raise ConfigError naming every bad key with its path.

    Decoding goes through JSON: lists become tuples, mappings become dataclasses, and strict mode stays usable.
    """
    return _decoded(cls, json.dumps(data), where)


def decode_text(cls: type[T], text: str, where: str = "") -> T:
    """The same from JSON text, without a detour through plain data; ConfigError also where it is none."""
    from pydantic_core import from_json

    try:
        from_json(text)
    except ValueError as error:
        raise ConfigError([Problem(where or "(top level)", f"is not JSON: {error}")]) from None
    return _decoded(cls, text, where)


def _decoded(cls: type[T], text: str, where: str) -> T:
    from pydantic import ValidationError

    try:
        return cast("T", _adapter(cls).validate_json(f'{{"root": {text}}}').root)
    except ValidationError as error:
        raise ConfigError(_problem(issue, where, json.loads(text)) for issue in error.errors(include_url=False)) from None


def _problem(issue: Any, where: str, data: Mapping[str, Any]) -> Problem:
    full = ".".join(part for part in (where, *_path(issue["loc"][1:], data)) if part) or "(top level)"
    message = str(issue["msg"])
    if issue["type"] == "missing":
        message = "is missing; every value of an experiment is written in conf/"
    elif issue["type"] in ("extra_forbidden", "unexpected_keyword_argument"):
        message = "is not a known key here"
    elif not isinstance(issue.get("input"), (dict, list)):
        message = f"{issue.get('input')!r}: {message[0].lower()}{message[1:]}"
    return Problem(full, message)


def _path(location: Sequence[Any], data: Any) -> Iterator[str]:
    """The path as written in YAML: pydantic puts the kind of a union's member in between, people did not."""
    for part in location:
        if isinstance(data, Mapping) and part not in data and data.get("kind") == part:
            continue
        yield str(part)
        if isinstance(data, Mapping):
            data = data.get(part)
        elif isinstance(data, Sequence) and isinstance(part, int) and part < len(data):
            data = data[part]


def nearest(name: str, known: Iterable[str]) -> str:
    """A hint for an error message: ' (did you mean ...?)' for the nearest known name, else the known names if few."""
    names = sorted(set(known))
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    if close:
        return f" (did you mean {close[0]!r}?)"
    return f" (known: {', '.join(names)})" if 0 < len(names) <= 15 else ""
