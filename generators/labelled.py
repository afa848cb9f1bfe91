"""Labelled pairs from local files: JSON lines `{"query": ..., "positive": ..., "negatives": [...]}`, plain or gzip.

A file enters by name and digest, so that a plan needs no data and a changed file is an error. Where it lies is
`runtime.sources`. Not here: which sets are fit to train on for which test (`contamination.py`).
"""

from __future__ import annotations

import gzip
import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from annotated_types import Ge, Interval

from harness.identity import file_digest
from harness.pairs import TASK_TYPES, Pair, write_pairs
from harness.record import write_json
from harness.step import Report


@dataclass(frozen=True)
class LabelledSet:
    """One file and how its pairs are presented."""

    name: str
    """The source every pair names."""
    file: str
    """Relative to `runtime.sources`; .jsonl or .jsonl.gz."""
    sha256: str
    ratio: Annotated[float, Interval(gt=0, le=1)]
    """The share of its pairs that is kept (paper, appendix A)."""
    instruction: str
    task_type: str
    language: str

    def __post_init__(self) -> None:
        """A type the trainer has a template for."""
        if self.task_type not in TASK_TYPES:
            raise ValueError(f"task_type {self.task_type!r} is none of {', '.join(TASK_TYPES)}")


@dataclass(frozen=True)
class LabelledSpec:
    """Labelled sets, put together."""

    kind: Literal["labelled"]
    sets: tuple[LabelledSet, ...]
    max_negatives: Annotated[int, Ge(0)]
    """The first so many negatives of a pair are kept."""
    seed: int
    """Which pairs a ratio keeps; a larger ratio keeps those of a smaller one."""

    def __post_init__(self) -> None:
        """At least one set, each name once."""
        names = [each.name for each in self.sets]
        if not names or len(set(names)) < len(names):
            raise ValueError(f"labelled sets need distinct names, got {names}")


def gather(spec: LabelledSpec, out: Path, report: Report, measured: dict[str, Any], sources: Path | None) -> None:
    """Write `pairs.parquet` and `counts.json` into `out`; raises ValueError naming every file that is missing or changed."""
    paths = locate(spec.sets, sources)
    kept: list[Pair] = []
    counts: dict[str, int] = {}
    for done, each in enumerate(spec.sets, start=1):
        pairs = dict.fromkeys(read_set(each, paths[each.name], spec.max_negatives))
        ranked = sorted(pairs, key=lambda pair: _rank(spec.seed, pair))
        chosen = ranked[: max(1, round(each.ratio * len(ranked)))]
        counts[each.name] = len(chosen)
        kept += chosen
        report(done, len(spec.sets), each.name)
    write_pairs(out / "pairs.parquet", kept)
    write_json(out / "counts.json", {"pairs": len(kept), "sets": counts})
    measured.update(pairs=len(kept))


def read_set(each: LabelledSet, path: Path, max_negatives: int) -> Iterator[Pair]:
    """The pairs of one file; raises ValueError naming file and line for one that is not of the layout."""
    opener = gzip.open if path.suffix == ".gz" else open
    with opener(path, "rt", encoding="utf-8") as lines:
        for number, line in enumerate(lines, start=1):
            try:
                row = json.loads(line)
                texts = (row["query"], row["positive"], *row.get("negatives", ())[:max_negatives])
            except (ValueError, KeyError, TypeError, AttributeError) as error:
                raise ValueError(f"{path}, line {number}: not a labelled pair ({error!r})") from None
            if not all(isinstance(text, str) and text.strip() for text in texts):
                raise ValueError(f"{path}, line {number}: query, positive and negatives must be non-empty texts")
            query, positive, *negatives = texts
            unlike = tuple(text for text in dict.fromkeys(negatives) if text != positive)
            yield Pair(each.task_type, each.language, each.language, each.name, each.instruction, query, positive, unlike)


def locate(sets: Sequence[LabelledSet], sources: Path | None) -> dict[str, Path]:
    """Where each set lies, its digest verified; raises ValueError with every file that is missing or changed."""
    if sources is None:
        raise ValueError(f"runtime.sources is not set; it is the folder that holds {sets[0].file}")
    paths = {each.name: sources / each.file for each in sets}
    problems = [problem for each in sets if (problem := _problem(each, paths[each.name]))]
    if problems:
        raise ValueError("; ".join(problems))
    return paths


def _problem(each: LabelledSet, path: Path) -> str | None:
    if not path.is_file():
        return f"{each.name}: there is no file {path}; it is looked for below runtime.sources"
    digest = file_digest(path)
    if digest != each.sha256:
        return f"{each.name}: {path} has digest {digest}, the configuration says {each.sha256}"
    return None


def _rank(seed: int, pair: Pair) -> str:
    return hashlib.sha256(f"{seed}/{pair.identity}".encode()).hexdigest()
