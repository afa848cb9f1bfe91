"""What a generated corpus is: counts, lengths, achieved against asked, languages, diversity. Read from its payload alone.

Rejections stay in the account: a share of accepted answers per placeholder value says more about a prompt than its pairs do.
Texts of the corpus are hostile; only numbers, our own names and language codes leave this module.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any

from generators.detect import detect, probability
from generators.filters import ACCEPTED
from generators.languages import count_words
from generators.parse import parse_example
from generators.prompts import find_template
from generators.taxonomy import PLACEHOLDERS, TAXONOMY, asked_words
from harness.pairs import Pair, iterate_pairs

LENGTH_OF = {
    ("short_long", "query_length"): "user_query", ("short_long", "num_words"): "positive_document",
    ("long_short", "num_words"): "input_text",
}  # fmt: skip
"""Which text shows how well an asked length was kept."""


@dataclass
class Asked:
    """What became of the requests with one placeholder value."""

    requests: int = 0
    accepted: int = 0
    words: list[float] = field(default_factory=list)
    within: int = 0
    """Texts that have the asked length exactly as the words of the placeholder say."""


@dataclass
class Statistics:
    """A corpus in numbers."""

    verdicts: Counter[str] = field(default_factory=Counter)
    brainstorms: Counter[str] = field(default_factory=Counter)
    by_type: dict[str, Counter[str]] = field(default_factory=dict)
    by_template: dict[str, Counter[str]] = field(default_factory=dict)
    languages: Counter[str] = field(default_factory=Counter)
    """Accepted pairs by the query's language."""
    asked: dict[tuple[str, str, str], Asked] = field(default_factory=dict)
    """By (task type, placeholder, value)."""
    confusion: dict[str, Counter[str]] = field(default_factory=dict)
    """Asked language to detected code, of texts long enough to judge."""
    instructions: set[str] = field(default_factory=set)
    words: dict[str, list[int]] = field(default_factory=dict)
    bigrams: Counter[str] = field(default_factory=Counter)
    """Of the queries, for their diversity."""

    @property
    def accepted(self) -> int:
        """Pairs."""
        return self.verdicts[ACCEPTED]

    @property
    def distinct_bigrams(self) -> float:
        """Distinct word pairs in queries over all of them; 1.0: no two words follow each other twice."""
        return len(self.bigrams) / max(1, self.bigrams.total())


def measure(folder: Path) -> Statistics:
    """Read a payload of `synthesize`."""
    found = Statistics()
    for row in answers(folder):
        _add_answer(found, row)
    for pair in iterate_pairs(folder / "pairs.parquet"):
        _add_pair(found, pair)
    return found


def answers(folder: Path) -> Iterator[dict[str, Any]]:
    """Every answer with its verdict, in the order of the pool."""
    with (folder / "answers.jsonl").open(encoding="utf-8") as lines:
        for line in lines:
            yield json.loads(line)


def _add_answer(found: Statistics, row: Mapping[str, Any]) -> None:
    if row["stage"] == "brainstorm":
        found.brainstorms[row["verdict"]] += 1
        return
    kind, verdict = row["task_type"], row["verdict"]
    found.verdicts[verdict] += 1
    found.by_type.setdefault(kind, Counter())[verdict] += 1
    found.by_template.setdefault(row["template"], Counter())[verdict] += 1
    output = parse_example(row["answer"], find_template(row["template"]).keys)
    for name, value in row["params"].items():
        if not any(slot.name == name for slot in PLACEHOLDERS[kind]):
            continue
        asked = found.asked.setdefault((kind, name, str(value)), Asked())
        asked.requests += 1
        asked.accepted += verdict == ACCEPTED
        text = output.get(LENGTH_OF.get((kind, name), "")) if isinstance(output, dict) else None
        if text is not None:
            words = count_words(text, row["language"])
            asked.words.append(words)
            asked.within += _kept(words, *asked_words(value))


def _kept(words: float, least: int, most: int | None) -> bool:
    """Whether a length is as asked; `about n words` is kept by 80 to 120 % of them."""
    if least == most:
        return 0.8 * least <= words <= 1.2 * least
    return least <= words and (most is None or words <= most)


def _add_pair(found: Statistics, pair: Pair) -> None:
    found.languages[pair.language] += 1
    found.instructions.add(pair.instruction)
    found.words.setdefault(pair.task_type, []).append(len(pair.query.split()) + len(pair.positive.split()))
    words = pair.query.casefold().split()
    found.bigrams.update(" ".join(two) for two in pairwise(words))
    for text, language in ((pair.query, pair.language), (pair.positive, pair.positive_language)):
        if probability(text, language) is not None:
            found.confusion.setdefault(language, Counter())[detect(text)] += 1


def median_words(lengths: Iterable[float]) -> float:
    """The median, 0 for none."""
    values = list(lengths)
    return median(values) if values else 0.0


def shares_of_figure2(found: Statistics) -> list[tuple[str, float, float]]:
    """(task type, percent here, percent in the paper's Figure 2a)."""
    total = sum(row.share for row in TAXONOMY.values())
    accepted = {kind: found.by_type.get(kind, Counter())[ACCEPTED] for kind in TAXONOMY}
    whole = max(1, sum(accepted.values()))
    return [(kind, 100 * accepted[kind] / whole, 100 * row.share / total) for kind, row in TAXONOMY.items()]
