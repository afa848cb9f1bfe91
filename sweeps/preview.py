"""What a sweep would do, before it does anything: per arm the steps that are there, shared or to be built, and their cost.

`foretell` makes the figures, `preview` shows them; nothing is run, written or downloaded. A cost that several arms share
stands in a row of its own and is counted once. Unknown parts are marked with a `?`, never filled in.
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from rich.console import Console
from rich.table import Table

from harness.step import Step
from sweeps.cost import Amount, Cost, Costs, total
from sweeps.devices import COMPUTED, slots, visible_gpus
from sweeps.graph import Graph, Node
from sweeps.run import Planned
from sweeps.throughput import TRAINED
from sweeps.view import safe

SHARED = "shared by arms"


@dataclass(frozen=True)
class Row:
    """One arm, all its seeds together, or what several arms share."""

    name: str
    there: int
    missing: int
    shared: int
    """Steps that other arms ask for too; their cost is not in this row."""
    cost: Cost
    """Of the missing steps that only this arm asks for."""


@dataclass(frozen=True)
class Foretold:
    """The figures of a preview."""

    graph: Graph
    missing: Mapping[str, Node]
    rows: tuple[Row, ...]
    total: Cost
    wall: float
    """Seconds from start to end with the workers of this machine, of the steps whose time is known."""
    workers: int
    equal: tuple[tuple[str, ...], ...]
    """Arms that are the same runs under different names: built once, a row each."""
    notes: tuple[str, ...]


def foretell(planned: Planned) -> Foretold:
    """Count what is missing and what it costs."""
    graph = Graph.of(planned.runs)
    missing = graph.missing(planned.store)
    costs = Costs(planned.store, planned.runtime)
    keys: dict[str, set[str]] = {}
    for name, steps, _ in planned.runs:
        keys.setdefault(name.rsplit(":", 1)[0], set()).update(step.key for step in steps.values())
    common = {key for key, count in Counter(key for found in keys.values() for key in found).items() if count > 1}
    rows = [_row(SHARED, common, set(), missing, costs)] if common else []
    rows += [_row(arm, found, common, missing, costs) for arm, found in keys.items()]
    whole = total(row.cost for row in rows)
    lanes = sum(slot.kinds is None or bool(slot.kinds & COMPUTED) for slot in slots(planned.runtime, visible_gpus()))
    same: dict[frozenset[str], list[str]] = {}
    for arm, found in keys.items():
        same.setdefault(frozenset(found), []).append(arm)
    equal = tuple(tuple(arms) for arms in same.values() if len(arms) > 1)
    wall = wall_seconds(missing, lambda step: costs.of(step).seconds.known, lanes) if whole.seconds.known else 0.0
    return Foretold(graph, missing, tuple(rows), whole, wall, lanes, equal, tuple(costs.notes))


def _row(name: str, keys: set[str], common: set[str], missing: Mapping[str, Node], costs: Costs) -> Row:
    build = [key for key in keys if key in missing]
    cost = total(costs.of(missing[key].step) for key in sorted(build) if key not in common)
    return Row(name, len(keys) - len(build), len(build), len(keys & common), cost)


def wall_seconds(missing: Mapping[str, Node], seconds: Callable[[Step], float], workers: int) -> float:
    """How long so many workers take, each the first ready step in the graph's order, as the executor hands them out."""
    waits = {
        key: {source.key for source in node.step.inputs.values() if source.key in missing} for key, node in missing.items()
    }
    readers: dict[str, list[str]] = {}
    for key, sources in waits.items():
        for source in sources:
            readers.setdefault(source, []).append(key)
    ready = [(node.order, key) for key, node in missing.items() if not waits[key]]
    heapq.heapify(ready)
    running: list[tuple[float, str]] = []
    now = 0.0
    while ready or running:
        while ready and len(running) < workers:
            _, key = heapq.heappop(ready)
            heapq.heappush(running, (now + seconds(missing[key].step), key))
        now, done = heapq.heappop(running)
        for key in readers.get(done, ()):
            waits[key].discard(done)
            if not waits[key]:
                heapq.heappush(ready, (missing[key].order, key))
    return now


def preview(planned: Planned, console: Console) -> None:
    """Print the figures."""
    found = foretell(planned)
    for problem in planned.needs:
        console.print(f"[yellow]needed[/] [bold]{safe(problem.path)}[/] {safe(problem.message)}", highlight=False)
    for note in planned.record.notes:
        console.print(f"[dim]assumed[/] {safe(note)}", highlight=False)
    console.print(_table(found))
    for arms in found.equal:
        console.print(f"{safe(', '.join(arms))} are the same runs: built once, a row each in the tables", highlight=False)
    for note in found.notes:
        console.print(safe(note), highlight=False)
    kinds = Counter(node.step.name for node in found.missing.values())
    what = ", ".join(f"{count} {name}" for name, count in kinds.items()) or "nothing"
    console.print(f"to build: {what}; {len(found.graph.nodes) - len(found.missing)} reused", highlight=False)
    for told in dict.fromkeys(_memory(node.step) for node in found.missing.values() if node.step.name in TRAINED):
        console.print(told, highlight=False)
    console.print(_time(found), highlight=False)


def _memory(step: Step) -> str:
    """How a training keeps its memory bounded: what the specification decides and nothing changes on the way."""
    train = step.spec.train
    passes = (
        "all activations kept, one forward pass" if train.activations == "keep" else "gradient cache, a second forward pass"
    )
    return f"{step.name}: {train.steps:,} steps of {train.batch_size:,} pairs, {train.chunk_tokens:,} tokens a pass, {passes}"


COLUMNS: Mapping[str, tuple[str, Callable[[Amount], str]]] = {
    "requests": ("requests", lambda amount: f"{amount.known:,.0f}"),
    "generated": ("LLM tokens", lambda amount: short(amount.known)),
    "money": ("money", lambda amount: f"{amount.known:,.2f}"),
    "training_steps": ("train steps", lambda amount: f"{amount.known:,.0f}"),
    "training_tokens": ("train tokens", lambda amount: short(amount.known)),
    "texts": ("texts", lambda amount: f"{amount.known:,.0f}"),
    "seconds": ("work", lambda amount: duration(amount.known)),
}
"""Heading and form of each part of a cost."""


def _table(found: Foretold) -> Table:
    whole = Row("total", len(found.graph.nodes) - len(found.missing), len(found.missing), 0, found.total)
    shown = {name: column for name, column in COLUMNS.items() if getattr(found.total, name) != Amount()}
    table = Table(title=f"{len(found.graph.nodes)} steps")
    table.add_column("arm", no_wrap=True)
    for heading in ("there", "to build", "shared", *(heading for heading, _ in shown.values())):
        table.add_column(heading, justify="right")
    for row in (*found.rows, whole):
        if row is whole:
            table.add_section()
        cells = [_cell(getattr(row.cost, name), form) for name, (_, form) in shown.items()]
        table.add_row(safe(row.name), str(row.there), str(row.missing), str(row.shared or ""), *cells)
    return table


def _cell(amount: Amount, form: Callable[[Amount], str]) -> str:
    if amount == Amount():
        return ""
    return "?" if amount.known < 0.5 and amount.unknown else form(amount) + (" + ?" if amount.unknown else "")


def _time(found: Foretold) -> str:
    seconds = found.total.seconds
    if not found.missing:
        return "time: nothing to do"
    unknown = f"{seconds.unknown} of {len(found.missing)} steps are of kinds never measured on this hardware"
    if seconds.known < 0.5:
        return f"time: unknown; {unknown} (only=\\[baseline] measures them)"
    workers = f"{found.workers} worker{'s' * (found.workers > 1)}"
    about = "at least" if seconds.unknown else "about"
    told = f"time: {about} {duration(found.wall)} with {workers} ({duration(seconds.known)} of work)"
    return told + (f"; {unknown}" if seconds.unknown else "")


def duration(seconds: float) -> str:
    """For people: two digits are as much as is known."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def short(count: float) -> str:
    """For people: 12.3 k, 4.56 M."""
    for size, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if count >= size:
            return f"{count / size:.3g} {unit}"
    return f"{count:.0f}"
