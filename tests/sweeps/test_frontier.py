"""What is ready and what is lost, kept step by step, against asking the whole graph each time."""

from hypothesis import given
from hypothesis import strategies as st

from sweeps.graph import Frontier, Graph, Node
from tests.sweeps.fake_worker import Steps, make


@st.composite
def graphs(draw: st.DrawFn) -> Graph:
    """Up to twelve steps; each reads some of those before it. Two runs, so that orders differ from names."""
    steps: Steps = {}
    for number in range(draw(st.integers(1, 12))):
        inputs = draw(st.lists(st.sampled_from(sorted(steps)), max_size=3, unique=True)) if steps else []
        steps = {**steps, f"s{number}": ("write", inputs)}
    made = make(steps)
    some = draw(st.sets(st.sampled_from(sorted(made)), min_size=1))
    backwards = {name: made[name] for name in sorted(made, reverse=True)}
    return Graph.of([("first:0", backwards, {}), ("second:0", {name: made[name] for name in some}, {})])


def ready(waiting: dict[str, Node]) -> list[Node]:
    """The oracle: every step none of whose inputs waits."""
    free = [node for node in waiting.values() if not any(source.key in waiting for source in node.step.inputs.values())]
    return sorted(free, key=lambda node: node.order)


@given(graphs(), st.data())
def test_what_is_ready_lacks_nothing_in_whatever_order_steps_are_built_or_fail(graph: Graph, data: st.DataObject) -> None:
    there = data.draw(st.sets(st.sampled_from(sorted(graph.nodes))))
    waiting = {key: node for key, node in graph.nodes.items() if key not in there}
    left = Frontier(waiting)
    while left.ready:
        assert left.waiting == waiting
        assert left.ready == ready(waiting)
        key = data.draw(st.sampled_from(left.ready)).key
        if data.draw(st.booleans()):
            left.built(key)
            del waiting[key]
        else:
            left.failed(key)
            waiting = {other: node for other, node in waiting.items() if not _needs(waiting, other, key)}
    assert left.waiting == waiting == {}


def _needs(waiting: dict[str, Node], key: str, failed: str) -> bool:
    """Whether a step is another, or reads it, directly or through steps that wait too."""
    if key == failed:
        return True
    return any(source.key in waiting and _needs(waiting, source.key, failed) for source in waiting[key].step.inputs.values())
