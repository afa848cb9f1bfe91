"""The step `mix`: which pairs an arm trains on, chosen out of pools that all arms share.

Every source ranks its pairs by a hash of seed and content and gives its first so many: a larger mix contains the smaller
one, and an arm without a language keeps the rest of what the others see. Not here: order and batches, which training
draws from its own seed.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from annotated_types import Ge, Interval

from harness.config import nearest
from harness.pairs import TASK_TYPES, Pair, iterate_pairs, write_pairs
from harness.record import write_json
from harness.step import Report

TOLERANCE = 1e-9


@dataclass(frozen=True)
class Source:
    """A pool and its share of the mix."""

    role: str
    """The input of the step it comes from: `synthetic` or `natural`."""
    share: Annotated[float, Interval(gt=0, le=1)]


@dataclass(frozen=True)
class MixSpec:
    """Shares, languages and task types of the training examples."""

    sources: tuple[Source, ...]
    languages: tuple[str, ...] | Literal["all"]
    """English names. A pair stays if both its sides are in one of them: English only has no translations."""
    task_types: tuple[str, ...] | Literal["all"]
    size: Annotated[int, Ge(1)]
    """How many examples at most."""
    match: Literal["steps", "examples"]
    """`steps`: a pool that is too small makes a smaller mix of the same shares, and every arm trains the same number of
    steps on it, in more epochs. `examples`: a pool that is too small is an error."""
    seed: int

    def __post_init__(self) -> None:
        """Shares of distinct sources that make a whole, and task types that exist."""
        roles = [source.role for source in self.sources]
        if not roles or len(set(roles)) < len(roles):
            raise ValueError(f"data.sources: needs at least one source and each role once, got {roles}")
        total = sum(source.share for source in self.sources)
        if abs(total - 1) > TOLERANCE:
            raise ValueError(f"data.sources: shares add up to {total:g}, not 1")
        if not self.languages or not self.task_types:
            raise ValueError("data.languages and data.task_types may not be empty; write `all` for no restriction")
        for name in () if self.task_types == "all" else self.task_types:
            if name not in TASK_TYPES:
                raise ValueError(f"data.task_types: {name!r} is not known{nearest(name, TASK_TYPES)}")

    @property
    def roles(self) -> tuple[str, ...]:
        """The inputs this mix reads; an arm does not depend on the others."""
        return tuple(source.role for source in self.sources)

    def admits(self, pair: Pair) -> bool:
        """Whether the pair may be chosen."""
        languages = self.languages == "all" or {pair.language, pair.positive_language} <= set(self.languages)
        return languages and (self.task_types == "all" or pair.task_type in self.task_types)


def mix(spec: MixSpec, inputs: Mapping[str, Path], out: Path, report: Report, measured: dict[str, Any]) -> None:
    """Write `pairs.parquet` and `counts.json` into `out`; `inputs` are payload folders with a `pairs.parquet` by role.

    Raises ValueError if a source has nothing left, or too little under `match: examples`; it names the key and what
    there was.
    """
    pools: dict[str, list[tuple[bytes, Pair]]] = {}
    for done, source in enumerate(spec.sources, start=1):
        path = inputs[source.role] / "pairs.parquet"
        pools[source.role] = sorted(
            ((_rank(spec.seed, pair), pair) for pair in iterate_pairs(path) if spec.admits(pair)), key=lambda row: row[0]
        )
        if not pools[source.role]:
            raise ValueError(_empty(spec, source, path))
        report(done, len(spec.sources), source.role)
    wanted = _sizes(spec, {role: len(pool) for role, pool in pools.items()})
    chosen = sorted((row for role, n in wanted.items() for row in pools[role][:n]), key=lambda row: row[0])
    pairs = [pair for _, pair in chosen]
    write_pairs(out / "pairs.parquet", pairs)
    counts = {"pairs": len(pairs), "asked": spec.size, "sources": wanted, **count(pairs)}
    write_json(out / "counts.json", counts)
    measured.update(pairs=len(pairs), asked=spec.size, sources=wanted)


def count(pairs: list[Pair]) -> dict[str, dict[str, int]]:
    """Pairs by task type and by language (`source > target` where the two sides differ)."""
    names = (
        pair.language if pair.language == pair.positive_language else f"{pair.language} > {pair.positive_language}"
        for pair in pairs
    )
    return {"task_types": dict(Counter(pair.task_type for pair in pairs)), "languages": dict(Counter(names))}


def _sizes(spec: MixSpec, available: Mapping[str, int]) -> dict[str, int]:
    """How many pairs each source gives: shares are kept, so the scarcest source decides."""
    size = min(spec.size, *(int(available[source.role] / source.share) for source in spec.sources))
    wanted = {source.role: max(1, round(size * source.share)) for source in spec.sources}
    short = [role for role in wanted if wanted[role] > available[role]]
    if size < spec.size and spec.match == "examples":
        raise ValueError(
            f"data.size: {spec.size} examples were asked for and the shares allow {size} (available: {dict(available)}); "
            "lower data.size, enlarge the scarce source, or set data.match: steps"
        )
    return {role: available[role] if role in short else n for role, n in wanted.items()}


def _empty(spec: MixSpec, source: Source, path: Path) -> str:
    """What was there, when nothing of it may be chosen."""
    there = count(list(iterate_pairs(path)))
    return (
        f"data: no pair of source {source.role!r} has languages {spec.languages} and task types {spec.task_types}; "
        f"there are {there}. Widen data.languages or data.task_types, or take the source out of data.sources"
    )


def _rank(seed: int, pair: Pair) -> bytes:
    return hashlib.sha256(f"{seed}/{pair.identity}".encode()).digest()
