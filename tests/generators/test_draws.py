"""The pool: prefixes, shares, and what a larger or reweighted corpus asks anew."""

import json
from collections import Counter
from itertools import islice
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from generators.backends.reply import Reply
from generators.draws import Cell, Draw, Grounded, Sample, apportion
from generators.duplicates import Seen
from generators.filters import StrictFilters
from generators.labelled import LabelledSet
from generators.languages import FIGURE2
from generators.prompts import TEMPLATES, Request
from generators.synthesize import judge_example
from generators.taxonomy import PLACEHOLDERS, TAXONOMY
from harness.identity import file_digest
from harness.pairs import Pair

NAMES = tuple(template.name for template in TEMPLATES if template.family == "plain")
MIXED = {"English": 5.0, "German": 2.0, "Thai": 1.0}


def sample(size: int, languages: dict[str, float] | str = "figure2", **changes: object) -> Sample:
    fields: dict[str, object] = {
        "kind": "sample", "size": size, "seed": 1, "task_types": "figure2", "languages": languages,
        "placeholders": "uniform", "examples_per_task": 2,
    }  # fmt: skip
    return Sample(**(fields | changes))  # type: ignore[arg-type]


def keys(draws: Sample) -> list[str]:
    """The keys of all requests of both stages; every brainstorm is imagined to give the same twenty tasks."""
    tasks = [f"task {n}" for n in range(20)]
    found: dict[str, None] = {}
    for draw in draws.draws(NAMES):
        brainstorm = draw.brainstorm()
        for request in (brainstorm, draw.example(tasks if brainstorm else ())):
            if request is not None:
                found[request.key] = None
    return list(found)


def test_a_larger_pool_begins_with_the_smaller_one() -> None:
    small, large = keys(sample(400)), keys(sample(600))

    assert large[: len(small)] == small
    assert len(large) > len(small)


def test_enlarging_then_reweighting_asks_exactly_the_new_draws() -> None:
    first, larger = keys(sample(200, MIXED)), keys(sample(300, MIXED))
    reweighted = sample(300, {"English": 1.0, "German": 5.0, "Thai": 1.0})
    known = set(first) | set(larger)
    cells_before = Counter(_cell(draw) for draw in sample(300, MIXED).draws(NAMES))
    cells_after = Counter(_cell(draw) for draw in reweighted.draws(NAMES))
    new_draws = sum(max(0, n - cells_before[cell]) for cell, n in cells_after.items())
    new_examples = _example_keys(reweighted) - known

    assert set(first) < set(larger)
    assert new_draws > 0, "the new weights move no draw"
    assert len(new_examples) == new_draws


def _cell(draw: Draw) -> tuple[str, str, object, str]:
    return draw.task_type, draw.language, draw.params.get("src_lang"), draw.template


def _example_keys(draws: Sample) -> set[str]:
    tasks = [f"task {n}" for n in range(20)]
    return {draw.example(tasks if TAXONOMY[draw.task_type].brainstormed else ()).key for draw in draws.draws(NAMES)}


def test_no_request_is_drawn_twice() -> None:
    found = [draw.example(("one task",)).key for draw in sample(3000, MIXED).draws(NAMES)]

    assert len(set(found)) == len(found)


def test_shares_follow_figure_2() -> None:
    draws = list(sample(5070).draws(NAMES))
    kinds = Counter(draw.task_type for draw in draws)
    english = sum(draw.language == "English" for draw in draws if draw.task_type != "bitext")
    others = sum(kinds.values()) - kinds["bitext"]

    assert {kind: round(n / 10) for kind, n in kinds.items()} == pytest.approx(
        {name: row.share for name, row in TAXONOMY.items()}, abs=1
    )
    assert english / others == pytest.approx(FIGURE2["English"] / 100, abs=0.01)
    assert len({draw.language for draw in draws}) == len(FIGURE2)


def test_translations_have_two_languages_and_name_both() -> None:
    draws = [draw for draw in sample(500, MIXED).draws(NAMES) if draw.task_type == "bitext"]

    assert draws
    assert all(draw.params["src_lang"] != draw.params["tgt_lang"] == draw.language for draw in draws)
    with pytest.raises(ValueError, match="bitext needs two languages"):
        list(sample(10, {"English": 1.0}).draws(NAMES))


@pytest.mark.parametrize("scheme", ["uniform", "speed"])
def test_placeholders_have_their_weights(scheme: str) -> None:
    """4,000 draws of one cell against the table's weights; three standard errors."""
    draws = list(sample(4000, {"English": 1.0}, task_types={"short_long": 1.0}, placeholders=scheme).draws(NAMES))
    slots = PLACEHOLDERS["short_long"]

    assert slots
    for slot in slots:
        counts = Counter(draw.params.get(slot.name) for draw in draws)
        weights, presence = slot.weights(scheme), slot.presence(scheme)  # type: ignore[arg-type]
        for value, weight in zip(slot.values, weights, strict=True):
            p = presence * weight / sum(weights)
            assert counts[value] / 4000 == pytest.approx(p, abs=3 * (p * (1 - p) / 4000) ** 0.5 + 1e-9), slot.name


@given(st.lists(st.floats(0.01, 100), min_size=1, max_size=12), st.integers(1, 300))
def test_apportionment_grows_and_stays_near_its_share(weights: list[float], size: int) -> None:
    cells = {Cell("sts", f"L{i}", "", "t"): weight for i, weight in enumerate(weights)}
    total = sum(weights)
    taken = list(islice(apportion(cells, "salt"), size))
    counts = Counter(cell for cell, _ in taken)

    assert set(taken) == {(cell, i) for cell, n in counts.items() for i in range(n)}, "indices have gaps"
    for cell, weight in cells.items():
        assert abs(counts[cell] - size * weight / total) <= 1 + len(weights) * weight / total


def test_unknown_names_are_refused_with_the_nearest() -> None:
    with pytest.raises(ValueError, match="did you mean 'German'"):
        sample(1, {"Germann": 1.0})
    with pytest.raises(ValueError, match="did you mean 'short_long'"):
        sample(1, task_types={"short_lng": 1.0})
    with pytest.raises(ValueError, match="no template for task types bitext"):
        list(sample(1).draws(tuple(name for name in NAMES if "bitext" not in name)))


def test_a_brainstorm_of_fewer_tasks_is_counted_round() -> None:
    draw = Draw("short_long", "English", "plain/short_long@1", 0, 7, {}, 3)

    assert draw.example(["a", "b", "c"]).task == "b"
    assert isinstance(draw.brainstorm(), Request)


def test_grounded_draws_ask_for_given_documents_and_grow(tmp_path: Path) -> None:
    rows = [{"query": f"question {n}", "positive": f"Document number {n} is about tides."} for n in range(30)]
    path = tmp_path / "given.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    given = LabelledSet("file", "given", path.name, file_digest(path), 1.0, "Find the document", "short_long", "English")
    names = ("grounded/short_long@1", "same_intent/short_long@1")
    small, large = (
        list(Grounded("grounded", given, size, 0, {"German": 1.0, "Thai": 1.0}, "uniform").draws(names, tmp_path))
        for size in (10, 20)
    )
    request = large[0].example(())

    assert large[:10] == small
    assert {draw.language for draw in large} == {"German", "Thai"}
    assert {draw.template for draw in large} == set(names)
    assert all(draw.brainstorm() is None for draw in large)
    assert str(request.params["passage"]) in request.messages[-1]["content"]
    assert request.task == "Find the document"
    with pytest.raises(ValueError, match="does not take documents"):
        list(Grounded("grounded", given, 5, 0, "figure2", "uniform").draws(("plain/short_long@1",), tmp_path))


def test_an_answer_to_a_given_document_is_paired_with_it() -> None:
    params = {"passage": "Tides follow <b>the moon</b>.", "src_lang": "German", "tgt_lang": "English"}
    request = Request("example", "short_long", "German", "grounded/short_long@1", "Find it", params, 0)
    answer = Reply(json.dumps({"user_query": "wann kommt die Flut", "hard_negative_document": "Boats float."}), "stop")
    pair = judge_example(request, answer, StrictFilters("strict", 0.5, 2.0, 0.8, 0.8, None), Seen(None)).pair

    assert pair == Pair(
        "short_long", "German", "English", "synthetic", "Find it", "wann kommt die Flut", "Tides follow <b>the moon</b>.",
        ("Boats float.",),
    )  # fmt: skip


@pytest.mark.parametrize("size", [1, 37, 3000])
def test_requests_are_counted_as_they_will_be_asked(size: int) -> None:
    """A preview of half a million places counts them without drawing what they say."""
    assert sample(size).requests(NAMES) == len(keys(sample(size)))
