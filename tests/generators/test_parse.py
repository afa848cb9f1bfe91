"""The parser against arbitrary and hostile text: it never raises, and what it accepts obeys its own schema."""

import json
import time

from hypothesis import given
from hypothesis import strategies as st

from generators.backends.reply import Reply
from generators.duplicates import Seen
from generators.filters import ACCEPTED, PaperFilters, StrictFilters
from generators.parse import MAX_CHARACTERS, parse_example, parse_tasks
from generators.prompts import TEMPLATES, Request
from generators.synthesize import judge_example
from generators.taxonomy import TAXONOMY

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


@given(st.data())
def test_no_accepted_pair_breaks_the_rules_of_its_template(data: st.DataObject) -> None:
    """The whole way from an answer to a pair, for every template, under both filters."""
    template = data.draw(st.sampled_from(TEMPLATES))
    filters = data.draw(st.sampled_from([PaperFilters("paper"), StrictFilters("strict", 0.5, 2.0, 0.8, None, None)]))
    value = data.draw(any_json | st.fixed_dictionaries(dict.fromkeys(template.keys, st.text())))
    answer = data.draw(noise) + json.dumps(value) + data.draw(noise)
    params = {**dict.fromkeys(template.needs, "Some given text."), "src_lang": "German", "tgt_lang": "English"}
    request = Request("example", template.task_type, "English", template.name, "Find it.", params, 0)
    judged = judge_example(request, Reply(answer, "stop"), filters, Seen(None))

    assert (judged.pair is None) == (judged.verdict != ACCEPTED)
    if judged.pair is not None:
        texts = [judged.pair.query, judged.pair.positive, *judged.pair.negatives]
        assert all(text == text.strip() != "" for text in texts)
        assert len(texts) == 2 + ((negative := TAXONOMY[template.task_type].negative) in (*template.keys, *template.given))
        if filters.kind == "strict":
            assert judged.pair.positive not in judged.pair.negatives
            assert template.task_type == "long_short" or judged.pair.query not in texts[1:], negative


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
