"""Pairs mined from docstrings: the summary line asks, the rest of the docstring answers. For contrastive pre-training.

Sources are Python packages named in conf/ or any source tree; they are parsed by `ast` and never imported. Identity is
the bytes of the files read and the Python version (its parser decides what a docstring is), both filled in by `pin` when
a plan is made, and checked again when the work is done. Never name a package that ships evaluation data.
"""

from __future__ import annotations

import ast
import hashlib
import importlib.util
import platform
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal

from annotated_types import Ge

from harness.identity import canonical
from harness.pairs import TASK_TYPES, Pair, write_pairs
from harness.record import write_json
from harness.step import Report

SKIPPED = frozenset({"tests", "test", "testing", "_vendor", "_vendored", "site-packages"})
"""Folders whose docstrings are about test cases, or that are somebody else's package."""


@dataclass(frozen=True)
class SourceDigest:
    """One package or tree as it was when the plan was made: a digest of the names and bytes of its files."""

    name: str
    sha256: str


@dataclass(frozen=True)
class MinedSpec:
    """Which sources, which docstrings of them, and how the pairs are presented. Lengths are in words."""

    kind: Literal["mined"]
    packages: tuple[str, ...]
    """Top-level import names: installed packages, or modules of the standard library."""
    trees: tuple[str, ...]
    """Folders of Python files below `runtime.sources`."""
    min_summary: Annotated[int, Ge(1)]
    max_summary: Annotated[int, Ge(1)]
    """Longer first paragraphs are no summary; such docstrings are left out."""
    min_body: Annotated[int, Ge(1)]
    max_body: Annotated[int, Ge(1)]
    """Longer bodies are cut here."""
    limit: Annotated[int, Ge(1)] | None
    """At most so many pairs; a larger limit keeps those of a smaller one. null: all."""
    seed: int
    """Which pairs a limit keeps."""
    instruction: str
    task_type: str
    python: str
    """Filled in by `pin`; empty in conf/."""
    digests: tuple[SourceDigest, ...]
    """Filled in by `pin`; empty in conf/."""

    def __post_init__(self) -> None:
        """Some source, named once, and a type the trainer has a template for."""
        if not self.packages and not self.trees:
            raise ValueError("mined pairs need a source: name packages, or trees below runtime.sources")
        if self.task_type not in TASK_TYPES:
            raise ValueError(f"task_type {self.task_type!r} is none of {', '.join(TASK_TYPES)}")
        if self.min_summary > self.max_summary or self.min_body > self.max_body:
            raise ValueError("min_summary and min_body may not exceed max_summary and max_body")


def pin(spec: MinedSpec, sources: Path | None = None) -> MinedSpec:
    """The spec with the digests of what lies on disk now; 0.1 s for 40 MB of source.

    Raises ValueError naming every package or tree that is not there.
    """
    folders = _locate(spec, sources)
    digests = tuple(SourceDigest(name, _digest(_files(place))) for name, place in folders.items())
    return replace(spec, python=platform.python_version(), digests=digests)


def mine(spec: MinedSpec, out: Path, report: Report, measured: dict[str, Any], sources: Path | None = None) -> None:
    """Write `pairs.parquet` and `counts.json` into `out`.

    Raises ValueError if a source is not what was pinned, or if no docstring qualifies.
    """
    if spec.python != platform.python_version():
        raise ValueError(f"mined pairs were planned for Python {spec.python}, this is {platform.python_version()}")
    pinned = {digest.name: digest.sha256 for digest in spec.digests}
    found: dict[str, Pair] = {}
    counts: dict[str, int] = {}
    folders = _locate(spec, sources)
    for done, (name, place) in enumerate(folders.items(), start=1):
        files = _files(place)
        if pinned.get(name) != _digest(files):
            raise ValueError(f"{name}: its files changed after the plan was made; run the command again")
        before = len(found)
        for content in files.values():
            for pair in _pairs(spec, content):
                found.setdefault(pair.query.casefold(), pair)
        counts[name] = len(found) - before
        report(done, len(folders), f"{len(found)} pairs")
    kept = sorted(found.values(), key=lambda pair: _rank(spec.seed, pair))[: spec.limit]
    if not kept:
        raise ValueError(f"no docstring of {', '.join(folders)} has the lengths asked for; widen min_/max_ or add packages")
    write_pairs(out / "pairs.parquet", kept)
    write_json(out / "counts.json", {"pairs": len(kept), "found": counts})
    measured.update(pairs=len(kept), found=len(found))


def _locate(spec: MinedSpec, sources: Path | None) -> dict[str, Path]:
    """Where each named source lies, without importing it; every missing one in one error."""
    found: dict[str, Path] = {}
    missing = []
    for name in spec.packages:
        place = _package(name)
        if place is None:
            missing.append(f"package {name!r} is not installed; install it or take it out of the list")
        else:
            found[name] = place
    for name in spec.trees:
        place = None if sources is None else sources / name
        if place is None or not place.is_dir():
            where = "runtime.sources is not set" if sources is None else f"there is no folder {sources / name}"
            missing.append(f"tree {name!r}: {where}")
        else:
            found[name] = place
    if missing:
        raise ValueError("; ".join(missing))
    return found


def _package(name: str) -> Path | None:
    """The folder or file of a top-level name; finding it runs none of its code."""
    if not name.isidentifier():
        return None
    spec = importlib.util.find_spec(name)
    if spec is None:
        return None
    if spec.submodule_search_locations:
        return Path(next(iter(spec.submodule_search_locations)))
    return Path(spec.origin) if spec.origin and spec.origin.endswith(".py") else None


def _files(place: Path) -> dict[str, bytes]:
    """The Python files of a source by relative name, sorted; everything that is read enters the digest."""
    if place.is_file():
        return {place.name: place.read_bytes()}
    names = {path.relative_to(place): path for path in place.rglob("*.py")}
    kept = sorted((name.as_posix(), path) for name, path in names.items() if not SKIPPED.intersection(name.parts))
    return {name: path.read_bytes() for name, path in kept}


def _digest(files: Mapping[str, bytes]) -> str:
    total = hashlib.sha256()
    for name, content in files.items():
        total.update(canonical([name, hashlib.sha256(content).hexdigest()]).encode())
    return total.hexdigest()


def _pairs(spec: MinedSpec, content: bytes) -> Iterator[Pair]:
    """The qualifying docstrings of one file, in order; a file this Python cannot parse has none."""
    try:
        tree = ast.parse(content)
    except (SyntaxError, ValueError):
        return
    for node in _documented(tree):
        text = ast.get_docstring(node)
        if text is not None and (pair := _pair(spec, text)) is not None:
            yield pair


def _documented(node: ast.AST) -> Iterator[ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef]:
    """What can carry a docstring, in the order of the file; unlike `ast.walk` this enters no expression."""
    if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
        yield node
    for field in ("body", "handlers", "orelse", "finalbody"):
        children = getattr(node, field, ())
        for child in children if isinstance(children, list) else ():
            yield from _documented(child)


def _pair(spec: MinedSpec, docstring: str) -> Pair | None:
    head, _, rest = docstring.partition("\n\n")
    summary = " ".join(head.split())
    body = _MARKUP.sub(" ", rest).split()
    if not spec.min_summary <= len(summary.split()) <= spec.max_summary or len(body) < spec.min_body:
        return None
    text = " ".join(body[: spec.max_body])
    if not text.isprintable() or not summary.isprintable() or summary.casefold() in text.casefold():
        return None
    return Pair(spec.task_type, "English", "English", "mined", spec.instruction, summary, text, ())


_MARKUP = re.compile(r"^\s*[-=~^*#`]{3,}\s*$|^\s*\.\. \w+::.*$", re.MULTILINE)
"""Rules under headings, and directives of reStructuredText."""


def _rank(seed: int, pair: Pair) -> str:
    return hashlib.sha256(f"{seed}/{pair.identity}".encode()).hexdigest()
