"""On which of mteb's tasks a public model declares to have been trained, as data: tables say it without importing mteb.

`training_data.json` is written by `python -m harness.training_data` from the pinned mteb and committed; a test compares the
two. A task counts as seen if the model, or the model it was made from, was trained on it or on a task that mteb calls similar
(a translation, an earlier version, a subset). What nobody declared is not known, which is not the same as unseen.

Not here: what we train on ourselves (the contamination step looks for judged texts in training pairs).
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

FILE = Path(__file__).with_name("training_data.json")


def seen(model: str) -> frozenset[str] | None:
    """Tasks that a model (`org/name`) has seen by its own declaration; None: it declares nothing, or mteb does not know it."""
    data = _data()
    number = data["models"].get(model)
    if number is None:
        return None
    declared = data["sets"][number]
    return frozenset(declared).union(*(data["similar"].get(task, ()) for task in declared))


def zero_shot_share(models: Iterable[str], tasks: Sequence[str]) -> int | None:
    """Percent of `tasks` that none of the models has seen, as mteb counts (cut off, not rounded); None: not all declare it."""
    found = [seen(model) for model in models]
    if not found or not tasks or None in found:
        return None
    every: frozenset[str] = frozenset().union(*(tasks for tasks in found if tasks is not None))
    asked = set(tasks)
    return int(100 - 100 * (len(every & asked) / len(asked)))


def version() -> str:
    """The mteb version the declarations were taken from."""
    return str(_data()["mteb"])


@lru_cache(maxsize=1)
def _data() -> dict[str, Any]:
    data: dict[str, Any] = json.loads(FILE.read_text(encoding="utf-8"))
    return data


def generate() -> dict[str, Any]:
    """Read everything out of the installed mteb; seconds, and imports it."""
    import mteb
    from mteb.models.model_meta import _collect_similar_tasks

    metas = {meta.name: meta for meta in mteb.get_model_metas() if meta.name and meta.training_datasets is not None}
    declared = {name: tuple(sorted(_declared(name, metas))) for name in sorted(metas)}
    sets = sorted(set(declared.values()))
    similar = {task: sorted(_collect_similar_tasks(task, set()) - {task}) for task in sorted({t for row in sets for t in row})}
    return {
        "mteb": mteb.__version__,
        "models": {name: sets.index(row) for name, row in declared.items()},
        "sets": [list(row) for row in sets],
        "similar": {task: others for task, others in similar.items() if others},
    }


def _declared(name: str, metas: dict[str, Any]) -> set[str]:
    """Its own training sets and those of the model it was made from, where that one declares them."""
    origin = metas[name].adapted_from
    return set(metas[name].training_datasets) | (_declared(origin, metas) if origin in metas and origin != name else set())


def main() -> None:
    """Write the declarations beside this module, one model or set a line, so that a diff names what changed."""
    logging.disable(logging.WARNING)
    data = generate()
    rows = {
        "models": [f"{json.dumps(name)}:{number}" for name, number in data["models"].items()],
        "sets": [_line(row) for row in data["sets"]],
        "similar": [f"{json.dumps(task)}:{_line(row)}" for task, row in data["similar"].items()],
    }
    models, sets, similar = (",\n".join(lines) for lines in rows.values())
    head = f'"mteb":{json.dumps(data["mteb"])}'
    text = f'{{{head},\n"models":{{\n{models}\n}},\n"sets":[\n{sets}\n],\n"similar":{{\n{similar}\n}}}}\n'
    FILE.write_text(text, encoding="utf-8")
    print(f"{FILE}: {len(data['models'])} models, {len(data['sets'])} sets, {FILE.stat().st_size} bytes")


def _line(row: list[str]) -> str:
    return json.dumps(row, separators=(",", ":"))


if __name__ == "__main__":
    main()
