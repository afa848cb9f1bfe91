"""Whether two runs may be compared at all: what must be equal, and every difference by name.

Reads the specs in the evaluate steps' records, the scores' data revisions and item counts, and the hardware they ran on.
Which parts of a spec must be equal is policy (`conf/gate`): pooling or weights may differ, they are what is judged.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from harness.record import RECORD_FILE, read_record
from reports.frame import Evaluated, Frame, Run


def differences(baseline: Frame, candidate: Frame, paths: Iterable[str], *, same_hardware: bool) -> list[str]:
    """Everything that forbids a comparison, one line each; empty when there is nothing."""
    paths = tuple(paths)
    found = [
        f"incomplete: {run.arm} seed {run.seed} lacks {task} ({why})"
        for run in candidate.runs
        for task, why in run.missing.items()
    ]
    theirs, mine = set(baseline.suite), set(candidate.suite)
    found += [f"task list: only the baseline has {task}" for task in sorted(theirs - mine)]
    found += [f"task list: only the candidate has {task}" for task in sorted(mine - theirs)]
    first = {run.seed: run for run in baseline.runs}
    for run in candidate.runs:
        partner = first.get(run.seed, baseline.runs[0])
        for task in sorted(run.tasks.keys() & partner.tasks.keys()):
            found += [f"{task}: {line}" for line in _task(partner.tasks[task], run.tasks[task], paths)]
    if same_hardware:
        found += _hardware(baseline.runs, candidate.runs)
    return list(dict.fromkeys(found))


def _task(theirs: Evaluated, mine: Evaluated, paths: tuple[str, ...]) -> Iterator[str]:
    for name in ("dataset_revision", "mteb_version", "main_metric"):
        a, b = getattr(theirs.scores, name), getattr(mine.scores, name)
        if a != b:
            yield f"{name.replace('_', ' ')} {b}, baseline {a}"
    cells_a = {(c.split, c.subset): c.n_items for c in theirs.scores.subsets}
    cells_b = {(c.split, c.subset): c.n_items for c in mine.scores.subsets}
    for cell in sorted(cells_a.keys() ^ cells_b.keys()):
        yield f"split/subset {'/'.join(cell)} is only in the {'baseline' if cell in cells_a else 'candidate'}"
    for cell in sorted(cells_a.keys() & cells_b.keys()):
        if cells_a[cell] != cells_b[cell]:
            yield f"{'/'.join(cell)} has {cells_b[cell]} items, baseline {cells_a[cell]}"
    spec_a, spec_b = spec_of(theirs), spec_of(mine)
    for key in sorted(spec_a.keys() | spec_b.keys()):
        relevant = any(key == path or key.startswith(f"{path}.") for path in paths)
        if relevant and spec_a.get(key) != spec_b.get(key):
            yield f"{key} is {_shown(spec_b.get(key))}, baseline {_shown(spec_a.get(key))}"


def spec_of(done: Evaluated) -> Mapping[str, Any]:
    """The evaluate step's spec by dotted path; empty for published results."""
    if done.folder is None:
        return {}
    return dict(flat(read_record(done.folder / RECORD_FILE).spec))


def flat(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Leaves of nested mappings by dotted path; lists are leaves."""
    if isinstance(value, Mapping):
        for key in sorted(value):
            yield from flat(value[key], f"{path}.{key}" if path else str(key))
    else:
        yield path, value


def _shown(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 80 else f"{text[:77]}..."


def _hardware(theirs: Iterable[Run], mine: Iterable[Run]) -> list[str]:
    a = sorted({setting[0] for run in theirs for setting in run.settings})
    b = sorted({setting[0] for run in mine for setting in run.settings})
    return [f"hardware {', '.join(b)}, baseline {', '.join(a)}"] if a != b else []
