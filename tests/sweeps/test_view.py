"""The live view shows what is at work, what remains and the table as far as it is; hostile text stays text."""

import io
from pathlib import Path

import pytest
from rich.console import Console

from harness.runtime import Runtime
from harness.scores import SubsetScore, TaskScores, write_scores
from harness.step import Step, Work
from harness.store import Store
from harness.sweep_record import Failure
from sweeps.graph import Graph
from sweeps.view import View


def evaluated(spec: dict[str, str], work: Work) -> None:
    subset = SubsetScore("test", "default", ("eng-Latn",), 0.5, {}, 3)
    write_scores(work.out / "scores.json", TaskScores("T", "STS", "main", "1", "r", (subset,)))


@pytest.fixture
def graph() -> Graph:
    first = Step("finetune", 1, {"a": "b"}, label="finetune")
    return Graph.of([("arm:0", {"finetune": first, "evaluate/T": Step("evaluate", 1, {}, {"w": first}, "evaluate T")}, {})])


def shown(view: View, console: Console) -> str:
    with console.capture() as capture:
        console.print(view._panel())
    return capture.get()


def test_steps_workers_and_the_growing_table(graph: Graph, runtime: Runtime) -> None:
    store, console = Store(runtime.store_path), Console(width=120, file=io.StringIO(), force_terminal=True, color_system=None)
    view = View(console, graph, store, 2, 1)
    view.expect(list(graph.nodes.values()))
    first, second = graph.nodes.values()
    view.started(first, 0)
    view.progressed(0, 3, 10, "loss 0.123")

    assert "finetune (arm:0)" in shown(view, console)
    assert "loss 0.123" in shown(view, console)
    assert "0 of 2 steps built" in shown(view, console)
    assert view.eta() is None, "nothing was measured yet"

    for node in (first, second):
        store.realize(node.step, evaluated, runtime)
        view.finished(node, 0, built=True, seconds=2.0)

    assert "2 of 2 steps built" in shown(view, console)
    assert "50.0" in shown(view, console)
    assert view.eta() == 0.0


def test_plain_lines_when_nobody_watches_a_terminal(graph: Graph, runtime: Runtime, tmp_path: Path) -> None:
    output = io.StringIO()
    view = View(Console(file=output, width=120), graph, Store(runtime.store_path), 2, 1)
    node = next(iter(graph.nodes.values()))
    with view:
        view.started(node, 0)
        view.failed(node, 0, Failure(node.key, node.title, "error", "[red]not markup[/] \x1b[31m", "", ""))

    assert "[red]not markup[/]" in output.getvalue()
    assert "\x1b[31m" not in output.getvalue()
