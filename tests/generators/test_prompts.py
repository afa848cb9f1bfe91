"""Prompts are frozen per version: the golden file holds every template with every placeholder value, rendered."""

import json
from pathlib import Path

import pytest

from generators.prompts import TEMPLATES, Request, Template, find_template
from generators.taxonomy import PLACEHOLDERS, TAXONOMY, Value

GOLDEN = Path(__file__).parents[1] / "golden" / "prompts.json"


def rendered(template: Template) -> dict[str, str]:
    """The messages of both stages, for every single placeholder value and for none."""
    fixed: dict[str, Value] = {"src_lang": "German", "tgt_lang": "Thai"} if template.task_type == "bitext" else {}
    fixed |= dict.fromkeys(template.needs, "Some given text.")
    choices: list[dict[str, Value]] = [{}]
    choices += [{slot.name: value} for slot in PLACEHOLDERS[template.task_type] for value in slot.values]
    if template.task_type in {"sts", "bitext"}:  # their grades and unit stand outside the bullet lines
        base: dict[str, Value] = {slot.name: slot.values[0] for slot in PLACEHOLDERS[template.task_type]}
        choices = [base | choice for choice in choices]
    kind, found = TAXONOMY[template.task_type], {}
    for choice in choices:
        request = Request("example", kind.name, "Thai", template.name, "Find it.", {**fixed, **choice}, 0)
        found[json.dumps(choice)] = "\n---\n".join(f"{m['role']}: {m['content']}" for m in request.messages)
    if template.brainstorm:
        request = Request("brainstorm", kind.name, "Thai", template.name, "", {}, 1)
        found["brainstorm"] = request.messages[-1]["content"]
    return found


@pytest.mark.parametrize("template", TEMPLATES, ids=lambda template: template.name)
def test_rendered_prompts_are_those_of_their_version(template: Template) -> None:
    """A changed wording needs a new version: `python tests/oracles/prompts.py` rewrites the file, the diff shows it."""
    golden = json.loads(GOLDEN.read_text(encoding="utf-8"))

    assert rendered(template) == golden[template.name]


def test_the_golden_file_has_every_template_and_no_other() -> None:
    assert set(json.loads(GOLDEN.read_text(encoding="utf-8"))) == {template.name for template in TEMPLATES}
    assert len({template.name for template in TEMPLATES}) == len(TEMPLATES)


def test_a_line_without_its_value_is_left_out_and_no_slot_leaks() -> None:
    with_line = Request("example", "short_long", "English", "plain/short_long@1", "t", {"difficulty": "PhD"}, 0)
    without = Request("example", "short_long", "English", "plain/short_long@1", "t", {}, 0)

    assert "PhD level" in with_line.messages[0]["content"]
    assert "level education" not in without.messages[0]["content"]
    for template in TEMPLATES:
        assert not any("$" in text for text in rendered(template).values()), template.name


def test_a_hostile_task_is_inserted_as_it_is() -> None:
    task = "$language ${params} {key} %s \\1"
    request = Request("example", "short_long", "English", "plain/short_long@1", task, {}, 0)

    assert task in request.messages[0]["content"]


def test_every_part_of_a_request_changes_its_key() -> None:
    base = Request("example", "short_long", "English", "plain/short_long@1", "a", {"num_words": 50}, 0)
    others = [
        Request("example", "short_short", "English", "plain/short_short@1", "a", {"num_words": 50}, 0),
        Request("example", "short_long", "German", "plain/short_long@1", "a", {"num_words": 50}, 0),
        Request("example", "short_long", "English", "plain/short_long@1", "b", {"num_words": 50}, 0),
        Request("example", "short_long", "English", "plain/short_long@1", "a", {"num_words": 100}, 0),
        Request("example", "short_long", "English", "plain/short_long@1", "a", {"num_words": 50}, 1),
        Request("brainstorm", "short_long", "English", "plain/short_long@1", "", {}, 0),
    ]

    assert len({request.key for request in (base, *others)}) == len(others) + 1
    with pytest.raises(ValueError, match="plain/short_long@1"):
        find_template("plain/short_long")
