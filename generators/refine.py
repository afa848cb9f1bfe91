"""What an encoder says about training pairs: those that do not belong together go, and near misses become hard negatives.

Pairs of one task type and document language are looked at together; their documents are the pool. A candidate must lie in a
range of ranks and stay below a share of the positive's similarity (positive-aware, arXiv 2407.15831): what is as near as the
positive is probably another right answer. Documents that are a positive of the same query anywhere are never its negatives.

Vectors lie in a file that is mapped, similarities are held block by block: memory does not grow with the pool, but for texts.
The encoder is handed in by whoever knows models. Not here: choosing pairs (`mixture.py`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from annotated_types import Ge, Interval

from harness.config import nearest
from harness.encoder import Encoder
from harness.instructions import InstructionFormat, render
from harness.pairs import TASK_TYPES, Pair, read_pairs, write_pairs
from harness.record import write_json
from harness.step import Report

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

BLOCK = 4096
"""Texts encoded, and documents and queries compared, at a time."""


@dataclass(frozen=True)
class MineSpec:
    """Which documents of the pool become hard negatives."""

    count: Annotated[int, Ge(1)]
    """At most so many a pair."""
    first: Annotated[int, Ge(1)]
    """The best rank that is taken, known positives not counted."""
    last: Annotated[int, Ge(1)]
    ceiling: Annotated[float, Interval(gt=0, le=1)]
    """The share of the positive's similarity that a negative's may reach."""
    written: Literal["keep", "replace"]
    """What becomes of the negatives a pair has: `keep` puts them first."""

    def __post_init__(self) -> None:
        """A range."""
        if self.first > self.last:
            raise ValueError(f"refine.how.mine: first {self.first} is behind last {self.last}")


@dataclass(frozen=True)
class RefineSpec:
    """Which pairs are looked at, which of them stay, and what is added to them. Similarities are cosines."""

    task_types: tuple[str, ...]
    """Pairs of other types pass as they are: a label is rarely like its text."""
    languages: tuple[str, ...] | Literal["all"]
    """English names; pairs with a side in another one pass as they are, for the encoder may not know it."""
    min_similarity: Annotated[float, Interval(ge=-1, le=1)] | None
    """Pairs whose query and positive are less alike are dropped; null: none."""
    min_margin: Annotated[float, Interval(ge=-2, le=2)] | None
    """Pairs whose positive is not so much nearer than their nearest negative are dropped; null: none."""
    mine: MineSpec | None

    def __post_init__(self) -> None:
        """Types that exist."""
        for name in self.task_types:
            if name not in TASK_TYPES:
                raise ValueError(f"refine.how.task_types: {name!r} is not known{nearest(name, TASK_TYPES)}")

    def concerns(self, pair: Pair) -> bool:
        """Whether the encoder is asked about the pair."""
        known = self.languages == "all" or {pair.language, pair.positive_language} <= set(self.languages)
        return known and pair.task_type in self.task_types


def refine(
    spec: RefineSpec, form: InstructionFormat, pairs: Path, encoder: Encoder, folders: tuple[Path, Path], report: Report,
    measured: dict[str, Any],
) -> None:  # fmt: skip
    """Write `pairs.parquet`, in the order of the input, and `counts.json` into the first of `folders`.

    Vectors go to the second, which may be thrown away. Raises ValueError if no pair stays.
    """
    out, scratch = folders
    scratch.mkdir(parents=True, exist_ok=True)
    given = read_pairs(pairs)
    groups: dict[tuple[str, str], list[int]] = {}
    for row, pair in enumerate(given):
        if spec.concerns(pair):
            groups.setdefault((pair.task_type, pair.positive_language), []).append(row)
    kept = {row: pair for row, pair in enumerate(given) if not spec.concerns(pair)}
    counts = Counter({"kept": 0, "mined": 0, "passed": len(kept)})
    for done, rows in enumerate(groups.values(), start=1):
        group = Group.of([given[row] for row in rows], form, encoder, scratch)
        refined = zip(rows, group.refined(spec, counts), strict=True)
        kept |= {row: pair for row, pair in refined if pair is not None}
        report(done, len(groups), f"{len(kept)} pairs kept, {counts['mined']} negatives mined")
    if not kept:
        raise ValueError(
            f"refine: none of {len(given)} pairs stays ({dict(counts)}); lower refine.how.min_similarity or min_margin"
        )
    write_pairs(out / "pairs.parquet", (kept[row] for row in sorted(kept)))
    write_json(out / "counts.json", {"asked": len(given), "pairs": len(kept), **dict(sorted(counts.items()))})
    measured.update(asked=len(given), pairs=len(kept), **counts)


@dataclass
class Group:
    """Pairs whose documents form one pool."""

    pairs: Sequence[Pair]
    documents: list[str]
    place: Mapping[str, int]
    """Where a document stands in `documents`."""
    queries: NDArray[np.float32]
    vectors: NDArray[np.float32]
    """Of the documents; all of length one, on disk."""
    positives: dict[str, set[int]] = field(default_factory=dict)
    """Documents that are a positive of a query."""

    @staticmethod
    def of(pairs: Sequence[Pair], form: InstructionFormat, encoder: Encoder, scratch: Path) -> Group:
        """Encode everything once."""
        rendered = {
            text: render(form, pair.task_type, "document", pair.instruction, text)
            for pair in pairs
            for text in (pair.positive, *pair.negatives)
        }
        queries = [render(form, pair.task_type, "query", pair.instruction, pair.query) for pair in pairs]
        place = {text: row for row, text in enumerate(rendered)}
        group = Group(
            pairs, list(rendered), place, embed(queries, encoder, scratch / "queries.npy"),
            embed(list(rendered.values()), encoder, scratch / "documents.npy"),
        )  # fmt: skip
        for pair in pairs:
            group.positives.setdefault(pair.query, set()).add(place[pair.positive])
        return group

    def refined(self, spec: RefineSpec, counts: Counter[str]) -> Iterator[Pair | None]:
        """Every pair as training gets it, or None; `counts` is extended."""
        for start in range(0, len(self.pairs), BLOCK):
            block = self.pairs[start : start + BLOCK]
            vectors = self.queries[start : start + BLOCK]
            alike = [self._alike(vector, pair.positive) for vector, pair in zip(vectors, block, strict=True)]
            found = [()] * len(block) if spec.mine is None else self._mined(spec.mine, block, vectors, alike)
            for pair, vector, similarity, mined in zip(block, vectors, alike, found, strict=True):
                reason = self._reason(spec, pair, vector, similarity)
                counts[reason or "kept"] += 1
                counts["mined"] += len(mined) if reason is None else 0
                yield None if reason else with_negatives(pair, mined, spec.mine)

    def _alike(self, vector: NDArray[np.float32], document: str) -> float:
        return float(vector @ self.vectors[self.place[document]])

    def _reason(self, spec: RefineSpec, pair: Pair, vector: NDArray[np.float32], similarity: float) -> str | None:
        if spec.min_similarity is not None and similarity < spec.min_similarity:
            return "dropped_similarity"
        if spec.min_margin is not None and pair.negatives:
            nearest_negative = max(self._alike(vector, text) for text in pair.negatives)
            if similarity - nearest_negative < spec.min_margin:
                return "dropped_margin"
        return None

    def _mined(
        self, spec: MineSpec, pairs: Sequence[Pair], vectors: NDArray[np.float32], alike: Sequence[float]
    ) -> list[tuple[str, ...]]:
        """Hard negatives of each pair, nearest first."""
        from harness.search import nearest_rows

        known = [self.positives[pair.query] for pair in pairs]
        blocks = (self.vectors[start : start + BLOCK] for start in range(0, len(self.vectors), BLOCK))
        best = nearest_rows(vectors, blocks, spec.last + max(map(len, known)))
        found = []
        for rows, scores, own, similarity in zip(best.rows, best.scores, known, alike, strict=True):
            ranked = [(int(row), float(score)) for row, score in zip(rows, scores, strict=True) if int(row) not in own]
            near = ranked[spec.first - 1 : spec.last]
            below = [self.documents[row] for row, score in near if similarity > 0 and score <= spec.ceiling * similarity]
            found.append(tuple(below[: spec.count]))
        return found


def with_negatives(pair: Pair, mined: Sequence[str], spec: MineSpec | None) -> Pair:
    """The pair with its new negatives, none twice; one for which nothing was found keeps those it has."""
    if spec is None or not mined:
        return pair
    kept = pair.negatives if spec.written == "keep" else ()
    return replace(pair, negatives=tuple(dict.fromkeys((*kept, *mined))))


def embed(texts: Sequence[str], encoder: Encoder, path: Path) -> NDArray[np.float32]:
    """Vectors of length one, mapped from a file; raises ValueError for no texts."""
    import numpy as np

    from harness.search import unit

    mapped: NDArray[np.float32] | None = None
    for start in range(0, len(texts), BLOCK):
        vectors = unit(encoder.encode(texts[start : start + BLOCK]))
        if mapped is None:
            mapped = np.lib.format.open_memmap(path, mode="w+", dtype=np.float32, shape=(len(texts), vectors.shape[1]))
        mapped[start : start + BLOCK] = vectors
    if mapped is None:
        raise ValueError("refine: no texts to encode")
    return mapped
