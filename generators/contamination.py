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
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

from annotated_types import Ge, Interval

from generators.duplicates import BANDS, PERMUTATIONS, minhash
from harness.pairs import Pair, iterate_pairs, write_pairs
from harness.record import write_json
from harness.step import Report

Method = Literal["exact", "phrase", "near"]
HITS, COUNTS = "hits.jsonl", "counts.json"
GROUP = 20_000_000
"""Letters of test items that are held at once: about a gigabyte with their phrases."""


class ContaminationError(RuntimeError):
    """Training data holds test items and the policy is to fail; names tasks and sources."""


@dataclass(frozen=True)
class ContaminationSpec:
    """How hard to look, and what to do with what is found."""

    policy: Literal["none", "report", "drop", "fail"]
    """`none`: nobody looks; `report`: hits are listed beside the run; `drop`: training gets the pairs without a hit; `fail`:
    any hit is an error before training."""
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
    """Write `hits.jsonl` and `counts.json` into `out`, unless the policy is `report` also the pairs that training may see.

    Test items are met in groups, so that memory does not grow with the suite; the pairs are streamed once a group. Raises
    ContaminationError for any hit under `fail`, and if `drop` leaves nothing.
    """
    tallies: dict[str, Tally] = {}
    hit_rows: set[int] = set()
    total = 0
    with (out / HITS).open("w", encoding="utf-8") as lines:
        for number, group in enumerate(_groups(items), start=1):
            index = Index(spec, group)
            for task in dict.fromkeys(item.task for item in group):
                tallies.setdefault(task, Tally()).items += index.sizes[task]
            for total, pair in enumerate(iterate_pairs(pairs), start=1):
                for hit in index.hits(pair):
                    tallies[hit.task].add(hit)
                    hit_rows.add(total)
                    lines.write(json.dumps(asdict(hit), sort_keys=True) + "\n")
                if total % 1000 == 0:
                    report(total, 0, f"group {number} of test items, {len(hit_rows)} pairs hit")
    tasks = {task: tally.as_json() for task, tally in tallies.items()}
    write_json(out / COUNTS, {"pairs": total, "pairs_hit": len(hit_rows), "tasks": tasks})
    met = {task: found["sources"] for task, found in tasks.items() if found["hit"]}
    measured.update(pairs=total, pairs_hit=len(hit_rows), hit=met)
    if met and spec.policy == "fail":
        raise ContaminationError(f"training data holds test items: {json.dumps(met)}; use contamination=drop or report")
    if spec.policy != "report":
        clean = (pair for row, pair in enumerate(iterate_pairs(pairs), start=1) if row not in hit_rows)
        if not write_pairs(out / "pairs.parquet", clean):
            raise ContaminationError(f"every one of {total} training pairs holds a test item: {json.dumps(met)}")


def _groups(items: Iterable[Item]) -> Iterator[list[Item]]:
    group: list[Item] = []
    letters = 0
    for item in items:
        group.append(item)
        letters += len(item.text)
        if letters >= GROUP:
            yield group
            group, letters = [], 0
    if group:
        yield group


@dataclass
class Tally:
    """What was met of one task."""

    items: int = 0
    """Texts long enough to be looked for."""
    found: dict[str, dict[str, set[tuple[str, str]]]] = field(default_factory=dict)
    """Items by source of the training pair and method."""

    def add(self, hit: Hit) -> None:
        """Count an item once for a source and a method."""
        self.found.setdefault(hit.source, {}).setdefault(hit.method, set()).add((hit.part, hit.item))

    def as_json(self) -> dict[str, Any]:
        """Items looked for, items hit by any method, and items hit by source and method."""
        every = {item for methods in self.found.values() for names in methods.values() for item in names}
        sources = {
            source: {method: len(names) for method, names in sorted(methods.items())}
            for source, methods in sorted(self.found.items())
        }
        return {"items": self.items, "hit": len(every), "sources": sources}


class Index:
    """The test items, ready to be met."""

    def __init__(self, spec: ContaminationSpec, items: Iterable[Item]) -> None:
        self._spec = spec
        self._items: list[Item] = []
        self._exact: dict[str, list[int]] = {}
        self._phrases: dict[int, list[int]] = {}
        self._sketches: list[Any] = []
        self._near: Any = None
        self.sizes: Counter[str] = Counter()
        """By task, items long enough to be looked for."""
        for item in items:
            words = split(item.text)
            if len(words) >= spec.min_words:
                self._add(item, words)
                self.sizes[item.task] += 1

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
        for side, text in texts:
            for method, found in (("exact", self._same(text)), ("phrase", self._common(text)), ("near", self._alike(text))):
                for number, score in found.items():
                    item = self._items[number]
                    yield Hit(item.task, item.part, item.name, pair.source, pair.identity, side, method, score)  # type: ignore[arg-type]

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
