"""Who something is: canonical JSON of what was asked for, and digests of bytes that lie on disk.

A *fingerprint* names a request (a spec and the fingerprints of its inputs) before anything is computed; a *digest* names
bytes after the fact. The canonical form refuses what it cannot write down unambiguously: a fingerprint that depended on
`repr` or `str` of an object would change between processes, which looks like a new experiment.

Not here: which specs exist, where steps lie, or whether bytes match (`store.py`).
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

FINGERPRINT_LENGTH = 20  # hexadecimal digits, 80 bits: no collision among the steps of any team's lifetime


class NotCanonicalError(TypeError):
    """A value has no canonical form; the message names its path and type."""


def plain(value: Any, path: str = "spec") -> Any:
    """Turn a spec into JSON types, or raise NotCanonicalError naming the path.

    Dataclasses become mappings. A field that equals its declared default is left out: a field born after the first release
    has the old behaviour as its default, and so old steps keep their fingerprints.
    """
    if value is None or isinstance(value, (bool, str)) or type(value) is int:
        return value
    if type(value) is float:
        if not math.isfinite(value):
            raise NotCanonicalError(f"{path}: {value!r} is not a finite number")
        return value
    if isinstance(value, (tuple, list)):
        return [plain(item, f"{path}[{i}]") for i, item in enumerate(value)]
    if isinstance(value, Mapping):
        for key in value:
            if not isinstance(key, str):
                raise NotCanonicalError(f"{path}: key {key!r} is a {type(key).__name__}, keys must be text")
        return {key: plain(item, f"{path}.{key}") for key, item in value.items()}
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {
            name: plain(getattr(value, name), f"{path}.{name}")
            for name, default in _fields(type(value))
            if default is dataclasses.MISSING or getattr(value, name) != default
        }
    raise NotCanonicalError(
        f"{path}: a {type(value).__name__} cannot enter an identity; use text, numbers, tuples, mappings or dataclasses"
    )


@cache
def _fields(kind: type) -> tuple[tuple[str, Any], ...]:
    """Names of a dataclass's fields with their defaults; asked millions of times by a plan of many runs."""
    return tuple((field.name, field.default) for field in dataclasses.fields(kind))


def canonical(value: Any) -> str:
    """One line of JSON, the same in every process for equal values; raises NotCanonicalError."""
    return canonical_json(plain(value))


def canonical_json(value: Any) -> str:
    """The canonical form of what `plain` gave, or of JSON types alone."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)


def fingerprint(value: Any) -> str:
    """The first 20 hexadecimal digits of the SHA-256 of the canonical form."""
    return fingerprint_of(canonical(value))


def fingerprint_of(text: str) -> str:
    """The fingerprint of a canonical form that is at hand already."""
    return hashlib.sha256(text.encode("ascii")).hexdigest()[:FINGERPRINT_LENGTH]


def file_digest(path: Path) -> str:
    """SHA-256 of a file's bytes, hexadecimal."""
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def folder_digests(folder: Path) -> dict[str, str]:
    """SHA-256 of every file below a folder, keyed by its POSIX path relative to the folder, in sorted order."""
    files = sorted((p.relative_to(folder).as_posix(), p) for p in folder.rglob("*") if p.is_file())
    return {name: file_digest(path) for name, path in files}


def folder_digest(folder: Path) -> str:
    """One digest for a folder: of the names and digests of its files. Empty folders below it do not count."""
    return combine_digests(folder_digests(folder))


def combine_digests(files: Mapping[str, str]) -> str:
    """The digest of a folder from the digests of its files."""
    return hashlib.sha256(canonical(dict(files)).encode("ascii")).hexdigest()
