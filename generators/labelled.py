"""Labelled pairs: sets of the hub (`hub_sets.py`), or files of yours, put together in the paper's ratios.

A file is JSON lines `{"query": ..., "positive": ..., "negatives": [...]}`, plain or gzip, below `runtime.sources`. It enters
by name and digest, so that a changed file is an error. Not here: which sets are fit to train on for
which test (`contamination.py`).
"""

from __future__ import annotations

import gzip
import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal

from annotated_types import Ge, Interval

from generators.hub_sets import HubSet
from harness.identity import file_digest
from harness.kinds import BY_KIND
from harness.pairs import TASK_TYPES, Pair, write_pairs
from harness.record import write_json
from harness.step import Report

AUTO = "auto"


@dataclass(frozen=True)
class LabelledSet:
    """One file and how its pairs are presented."""

    kind: Literal["file"]
    name: str
    """The source every pair names."""
    file: str
    """Relative to `runtime.sources`; .jsonl or .jsonl.gz."""
    sha256: str
    """`auto`: of what lies there when a run is planned (`pin`)."""
    ratio: Annotated[float, Interval(gt=0, le=1)]
    """The share of its pairs that is kept (paper, appendix A)."""
    instruction: str
    task_type: str
    language: str

    def __post_init__(self) -> None:
        """A type the trainer has a template for."""
        if self.task_type not in TASK_TYPES:
            raise ValueError(f"task_type {self.task_type!r} is none of {', '.join(TASK_TYPES)}")

    def problem(self, sources: Path | None) -> str | None:
        """Why the file cannot be read: not there, or not the one that was named."""
        if sources is None:
            return f"runtime.sources is not set; it is the folder that holds {self.file}"
        path = sources / self.file
        if not path.is_file():
            return f"there is no file {path}; it is looked for below runtime.sources"
        if self.sha256 != AUTO and (digest := file_digest(path)) != self.sha256:
            return f"{path} has digest {digest}, the configuration says {self.sha256}"
        return None

    def pinned(self, sources: Path) -> LabelledSet:
        """With the digest of the file in place of `auto`."""
        return replace(self, sha256=file_digest(sources / self.file)) if self.sha256 == AUTO else self

    def read(self, sources: Path | None, most: int) -> Iterator[Pair]:
        """Its pairs with at most so many negatives each."""
        return read_set(self, locate((self,), sources)[self.name], most)


AnySet = Annotated[LabelledSet | HubSet, BY_KIND]


@dataclass(frozen=True)
class LabelledSpec:
    """Labelled sets, put together."""

    kind: Literal["labelled"]
    sets: dict[str, AnySet]
    max_negatives: Annotated[int, Ge(0)]
    """The first so many negatives of a pair are kept."""
    seed: int
    """Which pairs a ratio keeps; a larger ratio keeps those of a smaller one."""

    def __post_init__(self) -> None:
        """At least one set, each name once."""
        names = [each.name for each in self.sets.values()]
        if not names or len(set(names)) < len(names):
            raise ValueError(f"labelled sets need distinct names, got {names}")


def _problems(sets: Iterable[LabelledSet | HubSet], sources: Path | None) -> list[str]:
    """What is wrong with which sets, said once for those that have it in common."""
    found: dict[str, list[str]] = {}
    for each in sets:
        if problem := each.problem(sources):
            found.setdefault(problem, []).append(each.name)
    return [f"{', '.join(names)}: {problem}" for problem, names in found.items()]


def check(spec: LabelledSpec, sources: Path | None) -> None:
    """Raises ValueError naming every set that cannot be had here; downloads nothing."""
    if problems := _problems(spec.sets.values(), sources):
        raise ValueError("; ".join(problems))


def pin(spec: LabelledSpec, sources: Path | None) -> LabelledSpec:
    """The spec with the digests of files that it only names; raises ValueError as `check` does."""
    check(spec, sources)
    if sources is None:
        return spec
    return replace(
        spec, sets={key: each.pinned(sources) if isinstance(each, LabelledSet) else each for key, each in spec.sets.items()}
    )


def gather(spec: LabelledSpec, out: Path, report: Report, measured: dict[str, Any], sources: Path | None) -> None:
    """Write `pairs.parquet` and `counts.json` into `out`; raises ValueError naming every set that is missing or changed."""
    check(spec, sources)
    kept: list[Pair] = []
    counts: dict[str, Counter[str]] = {}
    ordered = sorted(spec.sets.values(), key=lambda each: each.name)  # a mapping's own order is no part of its identity
    for done, each in enumerate(ordered, start=1):
        pairs, counts[each.name] = _choose(each, spec, sources)
        kept += pairs
        report(done, len(spec.sets), each.name)
    write_pairs(out / "pairs.parquet", kept)
    write_json(out / "counts.json", {"pairs": len(kept), "sets": counts})
    measured.update(pairs=len(kept))


def _choose(each: LabelledSet | HubSet, spec: LabelledSpec, sources: Path | None) -> tuple[list[Pair], Counter[str]]:
    """The kept pairs of one set in the order of their rank, which no ratio changes, and what became of its rows."""
    counts: Counter[str] = Counter(rows=0, unusable=0, kept=0)
    chosen: dict[Pair, float] = {}
    for pair in each.read(sources, spec.max_negatives):
        counts["rows"] += 1
        if pair is None:
            counts["unusable"] += 1
        elif (rank := _rank(spec.seed, pair)) < each.ratio:
            chosen[pair] = rank
    if not chosen:
        raise ValueError(f"{each.name}: none of its {counts['rows']} rows is kept ({counts['unusable']} unusable)")
    counts["kept"] = len(chosen)
    return sorted(chosen, key=chosen.__getitem__), counts


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
    """Where each file lies, its digest verified; raises ValueError with every file that is missing, changed or not pinned."""
    problems = [f"{each.name}: {AUTO!r} stands for a digest, write it down" for each in sets if each.sha256 == AUTO]
    problems += _problems(sets, sources)
    if sources is None or problems:
        raise ValueError("; ".join(problems))
    return {each.name: sources / each.file for each in sets}


def _rank(seed: int, pair: Pair) -> float:
    """A number in [0, 1) that only seed and content decide: a larger ratio keeps what a smaller one chose."""
    return int(hashlib.sha256(f"{seed}/{pair.identity}".encode()).hexdigest()[:16], 16) / 2**64
