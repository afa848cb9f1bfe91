"""How many texts a task asks for: exact for ours and for mteb's, near where mteb draws; counted in evaluations."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from harness import catalogue
from harness.tasks import Mteb, TaskSpec, plan_tasks, quick
from harness.tasks.demand import Demand, demand
from harness.tasks.prompts import PaperPrompts
from tests.harness.conftest import MTEB, Judge, WordEncoder


def planned(task: str, data: str | None = None, subsets: tuple[str, ...] = ()) -> TaskSpec:
    chosen = {task: subsets} if subsets else {}
    kind: Any = "local" if data else "hub"
    (spec,) = plan_tasks(Mteb("mteb", None, (task,), (), (), chosen, {}, kind, PaperPrompts("paper"), MTEB), data)
    return spec


@pytest.mark.parametrize("name", list(quick.TASKS))
def test_our_tasks_ask_for_exactly_the_texts_foretold(quick_specs: dict[str, TaskSpec], judge: Judge, name: str) -> None:
    spec, measured, words = quick_specs[name], dict[str, Any](), WordEncoder()

    judge(spec, words, measured=measured)

    foretold = demand(spec)
    assert foretold is not None
    assert measured["texts_asked"] == foretold.texts > 0
    assert sum(map(len, words.seen)) >= foretold.characters * 0.98, "templates and joints are not counted"


@pytest.mark.data
@pytest.mark.parametrize(
    ("task", "subsets", "tolerance"),
    [("SummEval", (), 0.0), ("STS16", (), 0.0), ("XQuADRetrieval", ("en",), 0.0),
     ("AmazonCounterfactualClassification", ("en",), 0.02)],
)  # fmt: skip
def test_tasks_of_mteb_ask_for_the_texts_foretold(
    harness_data: Path, judge: Judge, task: str, subsets: tuple[str, ...], tolerance: float
) -> None:
    spec, measured = planned(task, str(harness_data / "mteb"), subsets), dict[str, Any]()

    judge(spec, WordEncoder(dimensions=8), data=str(harness_data / "mteb"), measured=measured)

    foretold = demand(spec)
    assert foretold is not None
    assert abs(measured["texts_asked"] - foretold.texts) <= tolerance * measured["texts_asked"]


def test_a_suite_asks_for_what_its_tasks_publish() -> None:
    """4.19 million texts is a published count of MTEB(eng, v2) with whole clusterings, of which mteb embeds 4 %."""
    specs = plan_tasks(Mteb("mteb", "MTEB(eng, v2)", (), (), (), {}, {}, "hub", PaperPrompts("paper"), MTEB), None)
    texts = {spec.name: found.texts for spec in specs if (found := demand(spec))}
    clusterings = [spec for spec in specs if spec.task_type == "Clustering"]
    whole = {spec.name: sum(catalogue.entry(spec.name).sizes[split] for split in spec.splits) for spec in clusterings}

    assert len(texts) == len(specs) == 41
    assert sum((texts | whole).values()) == pytest.approx(4.19e6, rel=0.003)
    assert sum(texts[name] for name in whole) < 0.05 * sum(whole.values())


def test_what_mteb_does_not_publish_is_unknown() -> None:
    silent = [name for name in catalogue.names() if not catalogue.entry(name).texts and not catalogue.entry(name).parts]
    assert silent, "mteb publishes no statistics of some tasks"
    spec = replace(planned("SciFact"), name=silent[0], splits=catalogue.entry(silent[0]).splits)

    assert demand(spec) is None


def test_splits_are_added_and_subsets_taken_apart() -> None:
    both = planned("AmazonCounterfactualClassification")
    one = replace(both, splits=("test",), subsets=("en",))
    whole, part = demand(both), demand(one)

    assert whole is not None
    assert part == Demand(*catalogue.entry(both.name).texts["test/en"])
    assert whole.texts == sum(catalogue.entry(both.name).texts[f"{split}/{name}"][0] for split in both.splits
                              for name in both.subsets)  # fmt: skip


def test_of_subsets_without_figures_their_share_of_the_split_is_foretold() -> None:
    whole = catalogue.entry("Tatoeba").texts["test"]

    assert demand(planned("Tatoeba", subsets=("deu-eng", "fra-eng"))) == Demand(*(round(part * 2 / 112) for part in whole))
