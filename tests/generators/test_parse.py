"""The parser against arbitrary and hostile text: it never raises, and what it accepts obeys its own schema."""

import json
import time

from hypothesis import given
from hypothesis import strategies as st

from generators.parse import MAX_CHARACTERS, parse_example, parse_tasks

KEYS = ("S1", "S2", "S3")

any_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from([*KEYS, "x"]) | st.text(), inner, max_size=5),
    max_leaves=12,
)
noise = st.text(alphabet='{}[]",:\\u0019nulltrues S123`\n', max_size=60) | st.text(max_size=60)
answers = st.builds(
    lambda before, value, after, cut: (before + json.dumps(value) + after)[:cut],
    noise,
    any_json | st.fixed_dictionaries(dict.fromkeys(KEYS, st.text())),
    noise,
    st.integers(0, 400),
)


@given(answers)
def test_no_accepted_example_breaks_the_schema(text: str) -> None:
    found = parse_example(text, KEYS)

    if isinstance(found, str):
        assert found in {"not_json", "wrong_schema"}
    else:
        assert set(found) == set(KEYS)
        for value in found.values():
            assert value == value.strip() != ""
            value.encode("utf-8")
            assert all(letter in "\n\t\r" or ord(letter) >= 32 for letter in value)


@given(answers)
def test_no_accepted_task_is_empty_or_of_two_lines(text: str) -> None:
    found = parse_tasks(text)

    if isinstance(found, str):
        assert found in {"not_json", "wrong_schema"}
    else:
        assert found
        assert len(set(found)) == len(found)
        assert all(task.strip() and "\n" not in task for task in found)


texts = st.text(alphabet=st.characters(exclude_categories=("Cs", "Cc")), min_size=1).filter(lambda text: text.strip() != "")


@given(st.fixed_dictionaries(dict.fromkeys(KEYS, texts)))
def test_a_good_answer_survives_fences_and_prose(output: dict[str, str]) -> None:
    for answer in (
        json.dumps(output),
        f"Here is your example:\n```json\n{json.dumps(output, indent=2, ensure_ascii=False)}\n```\nI hope it helps!",
        f"Thinking {{about}} it {{ ... {json.dumps(output)}",
    ):
        assert parse_example(answer, KEYS) == {key: text.strip() for key, text in output.items()}


def test_hostile_sizes_are_refused_quickly() -> None:
    start = time.process_time()
    for text in ("[" * 100_000, '{"S1":' * 30_000, "9" * 100_000, "{" * (MAX_CHARACTERS + 1), "x" * 50_000_000):
        assert parse_example(text, KEYS) == "not_json"
        assert parse_tasks(text) == "not_json"

    assert time.process_time() - start < 5
