"""The live view of a sweep: steps and workers, what was shared, built and reused, what remains, and for how long.

A panel that redraws itself in a terminal; plain lines when output goes to a file. It only watches: nothing depends on it.
Text that comes from outside (error messages, notes) is escaped before rich may read markup in it.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.markup import escape
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from harness.inert import visible
from harness.scores import SCORES_FILE, read_scores
from harness.step import Step
from harness.store import Store
from harness.sweep_record import Failure
from sweeps.graph import Graph, Node


def safe(text: str) -> str:
    """Text for rich markup: neither its markup nor its control characters do anything."""
    return escape(visible(text))


@dataclass
class Current:
    """What a worker is at."""

    node: Node
    since: float
    done: int = 0
    total: int = 0
    note: str = ""


class View:
    """Shows an execution; use as a context manager around it."""

    def __init__(self, console: Console, graph: Graph, store: Store, missing: int, workers: int) -> None:
        self.console = console
        self.total = len(graph.nodes)
        self.missing = missing
        self.workers = workers
        self.built = self.elsewhere = self.failures = 0
        self.seconds: dict[str, list[float]] = {}
        self.remaining: dict[str, int] = {}
        self.current: dict[int, Current] = {}
        self.arms = _Arms(graph, store)
        self.started_at = time.monotonic()
        self._live: Live | None = None

    def expect(self, nodes: list[Node]) -> None:
        """The steps that will be built: what an estimate of the time left is made of."""
        for node in nodes:
            self.remaining[node.step.name] = self.remaining.get(node.step.name, 0) + 1

    def __enter__(self) -> Self:
        if self.console.is_terminal:
            self._live = Live(self._panel(), console=self.console, refresh_per_second=8, transient=True)
            self._live.start()
        return self

    def __exit__(self, *error: object) -> None:
        if self._live:
            self._live.stop()
            self._live = None

    def started(self, node: Node, worker: int) -> None:
        """A worker began a step."""
        self.current[worker] = Current(node, time.monotonic())

    def progressed(self, worker: int, done: int, total: int, note: str) -> None:
        """A step moved on."""
        if worker in self.current:
            now = self.current[worker]
            now.done, now.total, now.note = done, total, note

    def finished(self, node: Node, worker: int, *, built: bool, seconds: float) -> None:
        """A step is there."""
        self._left(node, worker)
        self.arms.finished(node)
        self.built += built
        self.elsewhere += not built
        if built:
            self.seconds.setdefault(node.step.name, []).append(seconds)
        how = f"built in {seconds:.1f} s" if built else "built by another sweep"
        self._line(f"[{self.built + self.elsewhere}/{self.missing}] {safe(node.title)}: {how}")

    def failed(self, node: Node, worker: int, failure: Failure) -> None:
        """A step failed."""
        self._left(node, worker)
        self.failures += 1
        self.console.print(f"[red]failed[/] {safe(node.title)} ({failure.kind}): {safe(failure.message)}", highlight=False)

    def waiting(self, worker: int, device: str) -> None:
        """Say why nothing happens."""
        self.console.print(f"worker {worker} waits for {device}: another sweep has it", highlight=False)

    def stopping(self) -> None:
        """Say what was understood."""
        self.console.print("stopping: finishing the steps at hand; once more to stop at once, nothing finished is lost")

    def tick(self) -> None:
        """Redraw."""
        if self._live:
            self._live.update(self._panel())

    def _left(self, node: Node, worker: int) -> None:
        self.current.pop(worker, None)
        self.remaining[node.step.name] = self.remaining.get(node.step.name, 1) - 1

    def _line(self, text: str) -> None:
        if self._live is None:
            self.console.print(text, highlight=False)

    def eta(self) -> float | None:
        """Seconds left, from the mean time of finished steps of each kind; None while a kind is still unknown."""
        left = 0.0
        for name, count in self.remaining.items():
            if count > 0 and name not in self.seconds:
                return None
            if count > 0:
                left += count * sum(self.seconds[name]) / len(self.seconds[name])
        return left / self.workers

    def _panel(self) -> RenderableType:
        table = Table.grid(padding=(0, 2))
        for index, now in sorted(self.current.items()):
            bar = ProgressBar(total=now.total or None, completed=now.done, width=24, pulse=not now.total)
            table.add_row(
                f"worker {index}",
                Text(now.node.title),
                bar,
                f"{time.monotonic() - now.since:.0f} s",
                Text(visible(now.note), style="dim"),
            )
        eta = self.eta()
        done = self.built + self.elsewhere
        left = f", about {eta:.0f} s left" if eta is not None else ""
        summary = (
            f"{done} of {self.missing} steps built, {self.total - self.missing} reused, {self.failures} failed, "
            f"{time.monotonic() - self.started_at:.0f} s{left}"
        )
        return Group(self.arms.table(), table, Text(summary, style="bold"))


class _Arms:
    """The table that grows while the sweep runs: per arm its steps, and its mean score as far as all seeds have it."""

    def __init__(self, graph: Graph, store: Store) -> None:
        self.store = store
        self.steps: dict[str, set[str]] = {}
        self.tasks: dict[str, dict[str, Step]] = {}
        for node in graph.nodes.values():
            for user in node.users:
                arm = user.rsplit(":", 1)[0]
                self.steps.setdefault(arm, set()).add(node.key)
                if node.step.name == "evaluate":
                    self.tasks.setdefault(arm, {})[node.key] = node.step
        self.done = {node.key for node in graph.nodes.values() if store.done(node.step)}
        self.scores: dict[str, float] = {}
        for tasks in self.tasks.values():
            for key, step in tasks.items():
                if key in self.done:
                    self._read(key, step)

    def finished(self, node: Node) -> None:
        """A step is there."""
        self.done.add(node.key)
        if node.step.name == "evaluate":
            self._read(node.key, node.step)

    def _read(self, key: str, step: Step) -> None:
        self.scores[key] = 100 * read_scores(self.store.payload(step) / SCORES_FILE).main

    def table(self) -> Table:
        """Arms in order; a mean only where no task is missing."""
        table = Table("arm", "steps", "tasks", "mean", box=None, padding=(0, 2), header_style="dim")
        for arm, keys in self.steps.items():
            tasks = self.tasks.get(arm, {})
            known = [self.scores[key] for key in tasks if key in self.scores]
            mean = f"{sum(known) / len(known):.1f}" if known and len(known) == len(tasks) else ""
            table.add_row(Text(arm), f"{len(keys & self.done)}/{len(keys)}", f"{len(known)}/{len(tasks)}", mean)
        return table
