"""All runs of a sweep as one graph of unique steps, and the order in which a worker should take them.

Shared steps first, then arms to completion, so that the table grows while the sweep runs. Not here: processes
(`executor.py`) and what a step does (`steps.py`).
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from harness.step import Step
from harness.store import Store


@dataclass(frozen=True)
class Node:
    """A step of the graph, with what a worker needs to plan it again."""

    step: Step
    config: Mapping[str, Any]
    """A pinned run specification as plain JSON; planning it yields this step among others."""
    order: int
    users: tuple[str, ...]
    """Names of the runs (`arm:seed`) that ask for it."""

    @property
    def key(self) -> str:
        """The step's path in the store."""
        return self.step.key

    @property
    def title(self) -> str:
        """What people read: the label of the step and who asks for it."""
        who = "shared" if len({user.split(":")[0] for user in self.users}) > 1 else self.users[0]
        return f"{self.step.label or self.step.name} ({who})"


@dataclass
class Graph:
    """Unique steps by key; inputs before consumers."""

    nodes: dict[str, Node] = field(default_factory=dict)

    @staticmethod
    def of(runs: Iterable[tuple[str, Mapping[str, Step], Mapping[str, Any]]]) -> Graph:
        """One graph from runs given as (name, steps by label, pinned specification)."""
        asked = list(runs)
        users: dict[str, list[str]] = {}
        first: dict[str, tuple[Step, Mapping[str, Any]]] = {}
        for name, steps, config in asked:
            for step in steps.values():
                users.setdefault(step.key, []).append(name)
                first.setdefault(step.key, (step, config))
        arms = {key: len({user.split(":")[0] for user in names}) for key, names in users.items()}
        # Stable sort: what several arms share comes first, the rest in the order of runs and of steps within a run.
        keys = sorted(first, key=lambda key: arms[key] == 1)
        nodes = {key: Node(*first[key], order, tuple(users[key])) for order, key in enumerate(keys)}
        return Graph(nodes)

    def missing(self, store: Store) -> dict[str, Node]:
        """The steps without a record."""
        return {key: node for key, node in self.nodes.items() if not store.done(node.step)}

    def blocked_by(self, failed: Iterable[str]) -> dict[str, str]:
        """Steps that cannot be built, each with the failed step it waits for."""
        causes = {key: key for key in failed}
        blocked: dict[str, str] = {}
        for key, node in _inputs_first(self.nodes).items():
            cause = next((causes[source.key] for source in node.step.inputs.values() if source.key in causes), None)
            if cause and key not in causes:
                causes[key] = blocked[key] = cause
        return blocked


class Frontier:
    """The steps of a graph that wait to be built, and of those the ones that could be built now.

    Kept up to date step by step: a sweep of 10,000 steps asks 10,000 times.
    """

    def __init__(self, waiting: Mapping[str, Node]) -> None:
        self.waiting = dict(waiting)
        self.ready: list[Node] = []
        """Whose inputs are all there, in order."""
        self._readers: dict[str, list[str]] = {}
        self._lacks: dict[str, int] = {}
        for key, node in self.waiting.items():
            lacking = {source.key for source in node.step.inputs.values()} & self.waiting.keys()
            self._lacks[key] = len(lacking)
            for source in lacking:
                self._readers.setdefault(source, []).append(key)
        for key, count in self._lacks.items():
            if count == 0:
                self._offer(key)

    def built(self, key: str) -> None:
        """A step is there; what waited for it alone is ready."""
        self._leave(key)
        for reader in self._readers.get(key, ()):
            self._lacks[reader] -= 1
            if self._lacks[reader] == 0 and reader in self.waiting:
                self._offer(reader)

    def failed(self, key: str) -> None:
        """A step will not be there, and nothing that needs it."""
        self._leave(key)
        for reader in self._readers.get(key, ()):
            if reader in self.waiting:
                self.failed(reader)

    def _offer(self, key: str) -> None:
        insort(self.ready, self.waiting[key], key=_order)

    def _leave(self, key: str) -> None:
        node = self.waiting.pop(key)
        if self._lacks[key] == 0:
            del self.ready[bisect_left(self.ready, node.order, key=_order)]


def _order(node: Node) -> int:
    return node.order


def _inputs_first(nodes: Mapping[str, Node]) -> dict[str, Node]:
    ordered: dict[str, Node] = {}
    for node in nodes.values():
        for key in node.step.closure():
            if key in nodes:
                ordered.setdefault(key, nodes[key])
    return ordered
