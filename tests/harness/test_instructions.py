"""One function makes the text of training and evaluation; the table says which side carries the instruction."""

import pytest

from harness.instructions import TABLE, InstructionFormat, Natural, NoInstruction, TaskTypePrefix, render
from harness.kinds import members
from harness.pairs import TASK_TYPES

NATURAL = Natural("natural")
ASYMMETRIC = (
    "short_long",
    "long_short",
    "short_short",
    "long_long",
    "Retrieval",
    "InstructionRetrieval",
    "InstructionReranking",
    "Reranking",
)


def test_trap_10_the_exact_string_of_the_paper() -> None:
    assert render(NATURAL, "short_long", "query", "Given a question, retrieve answers", "why?") == (
        "Instruct: Given a question, retrieve answers\nQuery: why?"
    )


@pytest.mark.parametrize("task_type", ASYMMETRIC)
@pytest.mark.parametrize("form", [member(kind) for member, kind in zip(
    members(InstructionFormat), ("natural", "none", "task_type_prefix"), strict=True)])  # fmt: skip
def test_trap_08_documents_do_not_depend_on_the_instruction(form: InstructionFormat, task_type: str) -> None:
    rendered = {render(form, task_type, "document", instruction, "text") for instruction in ("", "one", "two")}

    assert rendered == {"text"}


@pytest.mark.parametrize("task_type", sorted(set(TABLE) - set(ASYMMETRIC)))
def test_trap_11_both_sides_of_a_symmetric_type_are_templated_alike(task_type: str) -> None:
    sides = [render(NATURAL, task_type, side, "Retrieve similar text", "x") for side in ("query", "document")]

    assert sides[0] == sides[1] == "Instruct: Retrieve similar text\nQuery: x"


def test_prefixes_of_appendix_a() -> None:
    prefix = TaskTypePrefix("task_type_prefix")
    queries = {task_type: render(prefix, task_type, "query", "ignored", "") for task_type in TASK_TYPES}

    assert queries == {
        "short_long": "query: ", "long_short": "classify: ", "short_short": "query: ", "long_long": "query: ",
        "sts": "", "bitext": "",
    }  # fmt: skip


@pytest.mark.parametrize("task_type", TABLE)
def test_no_instruction_leaves_every_text_bare(task_type: str) -> None:
    assert {render(NoInstruction("none"), task_type, side, "task", "x") for side in ("query", "document")} == {"x"}


def test_every_training_type_has_a_row_and_an_unknown_one_is_an_error() -> None:
    assert set(TASK_TYPES) <= set(TABLE)
    with pytest.raises(KeyError, match="TABLE"):
        render(NATURAL, "Guessing", "query", "", "")
