"""What mteb knows of its text tasks, as data: a plan is made and checked without importing mteb (3.5 s).

`catalogue.json` is written by `python -m harness.catalogue` from the pinned mteb and committed; a test compares the two. It
holds each task's type, main metric, data set and revision, splits, subsets with their languages, prompt, and sizes where mteb
publishes them; the parts of aggregate tasks; and which tasks, splits and subsets a benchmark means.

Not here: the tasks themselves (`evaluate.py` makes them), nor which instruction a run uses (`tasks/prompts.py`).
"""

from __future__ import annotations

import itertools
import json
import logging
import warnings
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

from harness.config import ConfigError, Problem, nearest

FILE = Path(__file__).with_name("catalogue.json")
MANY_SUBSETS = 60  # above this, sizes are kept per split only: Flores alone has 41,412 subsets


@dataclass(frozen=True)
class Entry:
    """One task of mteb."""

    name: str
    type: str
    main: str
    """Main metric, in mteb's spelling."""
    path: str
    """Data set on the hub, `org/name`."""
    revision: str
    splits: tuple[str, ...]
    subsets: Mapping[str, tuple[str, ...]]
    """Languages (`eng-Latn`) of each subset, in mteb's order."""
    prompt: str
    """The task's own instruction for queries; empty where it has none."""
    fallback: str
    """The instruction mteb uses where the task has none."""
    sizes: Mapping[str, int]
    """Samples by `split` and `split/subset`; for retrieval queries and documents together. Empty where mteb does not say."""
    texts: Mapping[str, tuple[int, int]]
    """Texts an evaluation asks for and their characters, by `split` and `split/subset`; see `harness.tasks.demand`."""
    parts: tuple[str, ...]
    """Tasks an aggregate stands for; empty otherwise."""
    public: bool
    """Whether anybody may download the data; scores on the others cannot be checked from outside."""


@dataclass(frozen=True)
class Selection:
    """One task as a benchmark means it."""

    task: str
    splits: tuple[str, ...]
    subsets: tuple[str, ...]


@cache
def entry(name: str) -> Entry:
    """The task of that name; raises ConfigError with the nearest name if mteb has none."""
    row = _data()["tasks"].get(name)
    if row is None:
        raise ConfigError([Problem(name, f"is no text task of mteb {version()}{nearest(name, _data()['tasks'])}")])
    subsets = _read_subsets(row["subsets"])
    fallback = row.get("fallback", _data()["fallbacks"].get(row["type"], ""))
    return Entry(
        name=name, type=row["type"], main=row["main"], path=row["path"], revision=row["revision"],
        splits=tuple(row["splits"]), subsets=subsets, prompt=row.get("prompt", ""), fallback=fallback,
        sizes=row.get("sizes", {}), texts={key: (n, length) for key, (n, length) in row.get("texts", {}).items()},
        parts=tuple(row.get("parts", ())),
        public=not row.get("private", False),
    )  # fmt: skip


def names() -> tuple[str, ...]:
    """Every task, sorted."""
    return tuple(sorted(_data()["tasks"]))


def version() -> str:
    """The mteb version the catalogue was written from."""
    return str(_data()["mteb"])


def benchmarks() -> tuple[str, ...]:
    """Every benchmark of text tasks, sorted, by mteb's names."""
    return tuple(sorted(_data()["benchmarks"]))


def benchmark(name: str) -> tuple[Selection, ...]:
    """The tasks of a benchmark in mteb's order, aggregates whole; raises ConfigError with the nearest name."""
    rows = _data()["benchmarks"].get(name)
    if rows is None:
        raise ConfigError([Problem(name, f"is no text benchmark of mteb {version()}{nearest(name, benchmarks())}")])
    return tuple(_selection(*row) for row in rows)


def _selection(task: str, splits: list[str] | None = None, subsets: list[str] | None = None) -> Selection:
    known = entry(task)
    return Selection(task, tuple(splits or known.splits), tuple(known.subsets if subsets is None else subsets))


@lru_cache(maxsize=1)
def _data() -> dict[str, Any]:
    data: dict[str, Any] = json.loads(FILE.read_text(encoding="utf-8"))
    return data


def _read_subsets(packed: Any) -> dict[str, tuple[str, ...]]:
    if isinstance(packed, dict) and "all_pairs" in packed:
        codes = packed["all_pairs"].split()
        packed = {"pairs": " ".join(f"{a}-{b}" for a, b in itertools.permutations(codes, 2))}
    if isinstance(packed, dict) and "pairs" in packed:
        return {pair: _pair_languages(pair) for pair in packed["pairs"].split()}
    return {name: tuple(languages.split()) for name, languages in packed.items()}


def _pack_subsets(subsets: Mapping[str, list[str]]) -> dict[str, str]:
    """Translation pairs whose names spell their languages are written as names only, or as the codes to permute."""
    if all(list(_pair_languages(name)) == languages for name, languages in subsets.items()):
        codes = list(dict.fromkeys(name.split("-")[0] for name in subsets))
        if list(subsets) == [f"{a}-{b}" for a, b in itertools.permutations(codes, 2)]:
            return {"all_pairs": " ".join(codes)}
        return {"pairs": " ".join(subsets)}
    return {name: " ".join(languages) for name, languages in subsets.items()}


def _pair_languages(pair: str) -> tuple[str, ...]:
    return tuple(code.replace("_", "-") for code in pair.split("-"))


def generate() -> dict[str, Any]:
    """Read everything out of the installed mteb; seconds, and imports it."""
    import mteb

    with warnings.catch_warnings(action="ignore"):  # a line for every beta task of other modalities
        tasks = mteb.get_tasks(exclude_superseded=False, exclude_private=False, exclude_beta=False)
    text = {task.metadata.name: task for task in tasks if list(task.metadata.modalities) == ["text"]}
    types = sorted({task.metadata.type for task in text.values()})
    fallbacks = {kind: _usual(task for task in text.values() if task.metadata.type == kind) for kind in types}
    return {
        "mteb": mteb.__version__,
        "fallbacks": fallbacks,
        "tasks": {name: _row(text[name], fallbacks) for name in sorted(text)},
        "benchmarks": {
            bench.name: [_benchmark_row(task) for task in bench.tasks]
            for bench in mteb.get_benchmarks()
            if all(task.metadata.name in text for task in bench.tasks)
        },
    }


def _row(task: Any, fallbacks: Mapping[str, str]) -> dict[str, Any]:
    meta = task.metadata
    row: dict[str, Any] = {
        "type": meta.type, "main": meta.main_score, "path": meta.dataset["path"], "revision": meta.dataset["revision"],
        "splits": list(meta.eval_splits), "subsets": _pack_subsets(meta.hf_subsets_to_langscripts),
    }  # fmt: skip
    prompt = meta.prompt if isinstance(meta.prompt, str) else (meta.prompt or {}).get("query")
    optional = {
        "prompt": prompt,
        "fallback": _other(getattr(task, "abstask_prompt", ""), fallbacks[meta.type]),
        "private": not meta.is_public,
        "parts": [part.metadata.name for part in getattr(task, "tasks", [])],
        **_sizes(task),
    }
    return row | {key: value for key, value in optional.items() if value}


def _usual(tasks: Iterable[Any]) -> str:
    return Counter(getattr(task, "abstask_prompt", "") for task in tasks).most_common(1)[0][0]


def _other(value: str, usual: str) -> str:
    return "" if value == usual else value


def _sizes(task: Any) -> dict[str, dict[str, Any]]:
    from harness.tasks.demand import of_statistics

    meta, sizes, texts = task.metadata, {}, {}
    for split, stats in (meta.descriptive_stats or {}).items():
        if split not in meta.eval_splits or "num_samples" not in stats:
            continue
        subsets = stats.get("hf_subset_descriptive_stats") or {}
        kept = subsets if len(subsets) <= MANY_SUBSETS else {}
        for key, subset, part in [(split, None, stats), *((f"{split}/{name}", name, part) for name, part in kept.items())]:
            sizes[key] = part["num_samples"]
            texts[key] = of_statistics(task, meta.descriptive_stats, split, subset)
    return {"sizes": sizes, "texts": {key: list(found) for key, found in texts.items() if found is not None}}


def _benchmark_row(task: Any) -> list[Any]:
    splits, subsets = list(task.eval_splits), list(task.hf_subsets)
    same_splits = splits == list(task.metadata.eval_splits)
    if subsets != list(task.metadata.hf_subsets):
        return [task.metadata.name, None if same_splits else splits, subsets]
    return [task.metadata.name] if same_splits else [task.metadata.name, splits]


def main() -> None:
    """Write the catalogue beside this module, one task or benchmark a line, so that a diff names what changed."""
    logging.disable(logging.WARNING)
    data = generate()
    blocks = []
    for key in ("tasks", "benchmarks"):
        rows = (f"{json.dumps(name)}:{json.dumps(row, separators=(',', ':'))}" for name, row in data[key].items())
        blocks.append(f'"{key}":{{\n' + ",\n".join(rows) + "\n}")
    head = f'"mteb":{json.dumps(data["mteb"])},\n"fallbacks":{json.dumps(data["fallbacks"])}'
    FILE.write_text("{" + ",\n".join([head, *blocks]) + "}\n", encoding="utf-8")
    print(f"{FILE}: {len(data['tasks'])} tasks, {len(data['benchmarks'])} benchmarks, {FILE.stat().st_size} bytes")


if __name__ == "__main__":
    main()
