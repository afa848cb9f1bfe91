"""Which tasks a tier of MTEB(eng, v1) holds, and how well it stands for the whole between near models.

    python -m tests.oracles.tiers

The rule looks at sizes, never at scores: of every task type the `count` tasks with the fewest samples. Near models are the
four arms of the paper's Table 17 (reports/reference/paper.T17.json): one recipe, four mixes of data, 56 tasks each. For all
six pairs the difference of means over the tier is compared with that over all 56: correlation through the origin (the sign
of a difference is arbitrary), and root mean square error in points. Six pairs of four models: a rough figure.
"""

from __future__ import annotations

import itertools
import json
import math
from pathlib import Path
from typing import NamedTuple

from harness import catalogue

TABLE = Path(__file__).resolve().parents[2] / "reports" / "reference" / "paper.T17.json"
BENCHMARK = "MTEB(eng, v1)"
COUNTS = {"smoke": 1, "subset": 3}
LABELS = {"CQADupstackAndroidRetrieval": "CQADupstackRetrieval"}  # the table prints the mean of twelve under one's name


class Figures(NamedTuple):
    """How a tier's differences stand to the whole suite's."""

    correlation: float
    error: float
    """Root mean square, points."""


def scores() -> dict[str, list[float]]:
    """Table 17: main scores of four near models by task."""
    rows = json.loads(TABLE.read_text(encoding="utf-8"))["rows"]
    tasks = {row.task for row in catalogue.benchmark(BENCHMARK)}
    found = {LABELS.get(row[0], row[0]): row[2:] for row in rows}
    return {task: values for task, values in found.items() if task in tasks}


def tier(count: int) -> list[str]:
    """The smallest tasks of every type, in the benchmark's order."""
    members = catalogue.benchmark(BENCHMARK)
    by_type: dict[str, list[tuple[int, str]]] = {}
    for member in members:
        if samples := _samples(member):
            by_type.setdefault(catalogue.entry(member.task).type, []).append((samples, member.task))
    chosen = {name for group in by_type.values() for _, name in sorted(group)[:count]}
    return [member.task for member in members if member.task in chosen]


def _samples(member: catalogue.Selection) -> int:
    """Samples of the splits and subsets the benchmark means; 0 where mteb does not say."""
    sizes = catalogue.entry(member.task).sizes
    cells = itertools.product(member.splits, member.subsets)
    return sum(sizes.get(f"{split}/{subset}", sizes.get(split, 0)) for split, subset in cells)


def figures(tasks: list[str]) -> Figures:
    """Of the tier's differences against the whole suite's."""
    table = scores()
    models = range(len(next(iter(table.values()))))
    part = [sum(table[task][i] for task in tasks) / len(tasks) for i in models]
    whole = [sum(values[i] for values in table.values()) / len(table) for i in models]
    pairs = [(part[i] - part[j], whole[i] - whole[j]) for i, j in itertools.combinations(models, 2)]
    product = sum(a * b for a, b in pairs)
    correlation = product / math.sqrt(sum(a * a for a, _ in pairs) * sum(b * b for _, b in pairs))
    return Figures(correlation, math.sqrt(sum((a - b) ** 2 for a, b in pairs) / len(pairs)))


def main() -> None:
    """Print every tier."""
    print(f"{len(scores())} tasks of {BENCHMARK} in Table 17")
    for name, count in COUNTS.items():
        tasks = tier(count)
        found = figures(tasks)
        print(f"{name}: {len(tasks)} tasks, correlation {found.correlation:.2f}, error {found.error:.1f} points")
        print(f"  {', '.join(tasks)}")


if __name__ == "__main__":
    main()
