"""Whether training pairs hold what a task is judged on: the paper's exact match, longest common phrase, near duplicates.

Every method is blind somewhere: exact match (case and spacing ignored; paper, appendix B) to a longer text around the item,
phrases to rewording, MinHash to short items. All three are run, and every hit is listed with its score to be read.
Low-entropy items, which match by chance, are left out by their length, as in the paper.

The texts a task is judged on are handed in by whoever knows tasks. Not here: contamination of a backbone's own
pre-training, which nobody can measure from outside.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from annotated_types import Ge, Interval

from generators.duplicates import BANDS, PERMUTATIONS, minhash
from harness.pairs import Pair, iterate_pairs, write_pairs
from harness.record import write_json
from harness.step import Report

Method = Literal["exact", "phrase", "near"]


class ContaminationError(RuntimeError):
    """Training data holds test items and the policy is to fail; names tasks and sources."""


@dataclass(frozen=True)
class ContaminationSpec:
    """How hard to look, and what to do with what is found."""

    policy: Literal["report", "drop", "fail"]
    """`report`: the pairs go on unchanged; `drop`: those with a hit are left out; `fail`: any hit is an error."""
    min_words: Annotated[int, Ge(1)]
    """Shorter test items are not looked for: they match by chance."""
    phrase: Annotated[int, Ge(2)]
    """From so many words in a row on, a common phrase is a hit (the n of an n-gram)."""
    near: Annotated[float, Interval(gt=0, le=1)]
    """From this share of common 5-letter sequences on, two texts are near duplicates."""


@dataclass(frozen=True)
class Item:
    """A text that a task is judged on."""

    task: str
    part: str
    """`query`, `document`, `sentence` ..."""
    name: str
    """Its id within the task."""
    text: str


@dataclass(frozen=True)
class Hit:
    """A test item met in a training text."""

    task: str
    part: str
    item: str
    source: str
    pair: str
    field: str
    """`query`, `positive` or `negative`."""
    method: Method
    score: float
    """1 for exact, words in a row for phrase, estimated share for near."""


def inspect(
    spec: ContaminationSpec, pairs: Path, items: Iterable[Item], out: Path, report: Report, measured: dict[str, Any]
) -> None:
    """Write `hits.jsonl`, `counts.json` and `pairs.parquet` into `out`; raises ContaminationError under `fail`."""
    index = Index(spec, items)
    hits: list[Hit] = []
    clean: list[Pair] = []
    for done, pair in enumerate(iterate_pairs(pairs), start=1):
        found = list(index.hits(pair))
        hits += found
        if not found:
            clean.append(pair)
        if done % 1000 == 0:
            report(done, 0, f"{len(hits)} hits")
    with (out / "hits.jsonl").open("w", encoding="utf-8") as lines:
        lines.writelines(json.dumps(asdict(hit), sort_keys=True) + "\n" for hit in hits)
    counts = tally(hits)
    write_json(out / "counts.json", {"items": index.size, "hits": counts})
    measured.update(items=index.size, hits=len(hits), pairs_hit=len({hit.pair for hit in hits}))
    if hits and spec.policy == "fail":
        raise ContaminationError(
            f"training data holds test items: {json.dumps(counts)}; use contamination.policy: drop or report"
        )
    if spec.policy == "drop":
        write_pairs(out / "pairs.parquet", clean)
    else:
        shutil.copyfile(pairs, out / "pairs.parquet")


def tally(hits: Iterable[Hit]) -> dict[str, dict[str, dict[str, int]]]:
    """Distinct test items hit, by task, source and method."""
    found: dict[str, dict[str, dict[str, set[tuple[str, str]]]]] = {}
    for hit in hits:
        by_method = found.setdefault(hit.task, {}).setdefault(hit.source, {})
        by_method.setdefault(hit.method, set()).add((hit.part, hit.item))
    return {
        task: {source: {method: len(names) for method, names in methods.items()} for source, methods in sources.items()}
        for task, sources in found.items()
    }


class Index:
    """The test items, ready to be met."""

    def __init__(self, spec: ContaminationSpec, items: Iterable[Item]) -> None:
        self._spec = spec
        self._items: list[Item] = []
        self._exact: dict[str, list[int]] = {}
        self._phrases: dict[int, list[int]] = {}
        self._sketches: list[Any] = []
        self._near: Any = None
        for item in items:
            words = split(item.text)
            if len(words) >= spec.min_words:
                self._add(item, words)

    @property
    def size(self) -> int:
        """Items long enough to be looked for."""
        return len(self._items)

    def _add(self, item: Item, words: Sequence[str]) -> None:
        number = len(self._items)
        self._items.append(item)
        self._exact.setdefault(squeezed(item.text), []).append(number)
        for gram in dict.fromkeys(grams(words, self._spec.phrase)):
            self._phrases.setdefault(gram, []).append(number)
        if self._near is None:
            from rensa import RMinHashLSH

            self._near = RMinHashLSH(threshold=self._spec.near, num_perm=PERMUTATIONS, num_bands=BANDS)
        self._sketches.append(minhash(item.text))
        self._near.insert(number, self._sketches[-1])

    def hits(self, pair: Pair) -> Iterator[Hit]:
        """Every item met in a pair, by every method that meets it."""
        texts = [("query", pair.query), ("positive", pair.positive), *(("negative", text) for text in pair.negatives)]
        for field, text in texts:
            for method, found in (("exact", self._same(text)), ("phrase", self._common(text)), ("near", self._alike(text))):
                for number, score in found.items():
                    item = self._items[number]
                    yield Hit(item.task, item.part, item.name, pair.source, pair.identity, field, method, score)  # type: ignore[arg-type]

    def _same(self, text: str) -> Mapping[int, float]:
        return dict.fromkeys(self._exact.get(squeezed(text), ()), 1.0)

    def _common(self, text: str) -> Mapping[int, float]:
        """The longest run of words in common with each item, if it is long enough."""
        n, running, longest = self._spec.phrase, dict[int, int](), dict[int, float]()
        for gram in grams(split(text), n):
            running = {number: running.get(number, n - 1) + 1 for number in self._phrases.get(gram, ())}
            for number, words in running.items():
                longest[number] = max(longest.get(number, 0), words)
        return longest

    def _alike(self, text: str) -> Mapping[int, float]:
        if self._near is None:
            return {}
        sketch = minhash(text)
        shares = {number: float(sketch.jaccard(self._sketches[number])) for number in self._near.query(sketch)}
        return {number: share for number, share in sorted(shares.items()) if share >= self._spec.near}


def squeezed(text: str) -> str:
    """A digest of the text without case and spacing, as the paper compares."""
    return hashlib.sha256("".join(text.casefold().split()).encode("utf-8", "replace")).hexdigest()


# Letters of scripts that set no spaces stand alone; marks of Hebrew, Arabic and the Indic scripts belong to their word.
_ALONE = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff"
_MARKS = "\u0300-\u036f\u0591-\u05c7\u064b-\u065f\u0900-\u0dff"
_WORD = re.compile(f"[{_ALONE}]|(?:(?![{_ALONE}])[\\w{_MARKS}])+")


def split(text: str) -> list[str]:
    """Words, without case and punctuation; letters one by one in scripts that set no spaces."""
    return _WORD.findall(text.casefold())


def grams(words: Sequence[str], n: int) -> Iterator[int]:
    """A number for every n words in a row."""
    for i in range(len(words) - n + 1):
        digest = hashlib.blake2b("\0".join(words[i : i + n]).encode("utf-8", "replace"), digest_size=8).digest()
        yield int.from_bytes(digest, "big")
