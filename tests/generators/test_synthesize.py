"""The path from draws to pairs, on the recording that ships with us."""

import json
import random
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from generators.backends.recorded import FOLDER, Recorded, Recording
from generators.backends.reply import Access, Reply
from generators.draws import Draw, Replay
from generators.duplicates import Seen
from generators.filters import PaperFilters, StrictFilters
from generators.prompts import Request
from generators.synthesize import NothingAcceptedError, SynthesizeSpec, converse, judge_example, judge_tasks, synthesize
from generators.taxonomy import TAXONOMY
from harness.config import ConfigError, decode
from harness.identity import folder_digests
from harness.pairs import read_pairs
from harness.step import silent
from sweeps.compose import Composer

CONF = Path(__file__).parents[2] / "conf"
STRICT = StrictFilters("strict", shortest=0.5, longest=2.0, alike=0.8, near=0.8, language=None)
PAPER = PaperFilters("paper")


def spec_data() -> dict[str, Any]:
    data: dict[str, Any] = Composer(CONF).compose(["generator=recorded"])["generator"]
    return data


@pytest.fixture(scope="module")
def spec() -> SynthesizeSpec:
    return decode(SynthesizeSpec, spec_data())


@pytest.fixture(scope="module")
def recording(spec: SynthesizeSpec) -> Recording:
    assert isinstance(spec.backend, Recorded)
    return spec.backend.open(Access(Path("unused"), None, silent))


@pytest.fixture(scope="module")
def payload(spec: SynthesizeSpec, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("synthesize")
    synthesize(spec, out, silent, {}, out / "ledger.sqlite")
    return out


def test_every_recorded_conversation_becomes_its_pair(payload: Path) -> None:
    """Oracle: the recording itself, read without any of our code."""
    pairs = read_pairs(payload / "pairs.parquet")
    lines = [json.loads(line) for line in (FOLDER / "seed_corpus.jsonl").read_text(encoding="utf-8").splitlines()]

    assert len(lines) == 1110
    assert len(pairs) == len(lines)
    for pair, line in zip(pairs, lines, strict=True):
        texts = [text.strip() for text in line["output"].values()]
        assert [pair.query, pair.positive, *pair.negatives] == texts
        assert pair.task_type == line["task_type"]
        if line["task_type"] == "bitext":
            assert (pair.language, pair.positive_language) == (line["params"]["src_lang"], line["params"]["tgt_lang"])
        else:
            assert pair.language == pair.positive_language == line["language"]
            assert pair.instruction == ("Retrieve semantically similar text" if pair.task_type == "sts" else line["task"])


def test_payload_is_the_same_twice_and_counts_add_up(spec: SynthesizeSpec, payload: Path, tmp_path: Path) -> None:
    synthesize(spec, tmp_path, silent, {}, tmp_path / "ledger.sqlite")
    counts = json.loads((payload / "counts.json").read_text())
    answers = [json.loads(line) for line in (payload / "answers.jsonl").read_text().splitlines()]

    assert folder_digests(tmp_path) == folder_digests(payload)
    assert counts["accepted"] + sum(counts["rejected"].values()) == 1110
    assert len(answers) == 1110 + sum(counts["brainstorms"].values())
    by_cell = Counter((row["task_type"], row["language"]) for row in answers if row["stage"] == "example")
    told = {(t, n): sum(v.values()) for t, cells in counts["examples"].items() for n, v in cells.items()}
    assert told == dict(by_cell)


def test_the_order_of_requests_changes_no_answer(recording: Recording, spec: SynthesizeSpec) -> None:
    assert isinstance(spec.draws, Replay)
    judged = list(converse(list(spec.draws.draws(recording, spec.templates)), recording, PAPER))
    requests = [each.request for each in judged]
    shuffled = random.Random(0).sample(requests, len(requests))
    replies = dict(zip((request.key for request in shuffled), recording.ask(shuffled), strict=True))

    assert requests != shuffled
    assert len(replies) == len(requests), "request keys are not unique"
    assert all(replies[each.request.key] == each.reply for each in judged)


def test_what_was_not_recorded_is_counted_as_such(recording: Recording) -> None:
    template = "plain/short_long@1"
    draws = [
        Draw("short_long", "English", template, 0, 0, {"num_words": 51}, 0),  # a value nobody recorded
        Draw("short_long", "Icelandic", template, 0, 0, {}, 0),  # a language nobody recorded
        Draw("short_long", "English", template, 999, 0, {}, 0),  # a chunk beyond the recording
    ]
    verdicts = Counter((each.request.stage, each.verdict) for each in converse(draws, recording, PAPER))

    assert verdicts == {
        ("brainstorm", "accepted"): 1,
        ("brainstorm", "not_recorded"): 2,
        ("example", "not_recorded"): 1,
    }


def test_nothing_accepted_is_an_error_that_names_the_verdicts(tmp_path: Path) -> None:
    data = spec_data()
    data["draws"] = {
        "kind": "sample", "size": 5, "seed": 0, "task_types": {"sts": 1.0}, "languages": {"Icelandic": 1.0},
        "placeholders": "uniform", "examples_per_task": 3,
    }  # fmt: skip
    with pytest.raises(NothingAcceptedError, match=r"none of 5 draws gave a pair.*not_recorded"):
        synthesize(decode(SynthesizeSpec, data), tmp_path, silent, {}, tmp_path / "ledger.sqlite")


def test_a_changed_recording_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"backend\.sha256"):
        Recorded("recorded", "seed_corpus", "0" * 64).open(Access(tmp_path, None, silent))
    with pytest.raises(ValueError, match="did you mean 'seed_corpus'"):
        Recorded("recorded", "sed_corpus", "0" * 64).open(Access(tmp_path, None, silent))


def test_an_unknown_template_names_the_nearest(spec: SynthesizeSpec, tmp_path: Path) -> None:
    data = spec_data() | {"templates": ["plain/short_long@99"]}
    with pytest.raises(ConfigError, match="did you mean 'plain/short_long@1'"):
        decode(SynthesizeSpec, data)


REQUEST = Request("example", "short_long", "English", "plain/short_long@1", "A task", {"num_words": 50}, 0)
GOOD = {"user_query": "how do tides work", "positive_document": "moon " * 50, "hard_negative_document": "boat " * 50}


@pytest.mark.parametrize(
    ("change", "verdict"),
    [
        ({}, "accepted"),
        ({"positive_document": "moon " * 10}, "wrong_length"),
        ({"positive_document": "moon " * 200}, "wrong_length"),
        ({"positive_document": "He asked how  do Tides work. " + "moon " * 50}, "query_in_document"),
        ({"hard_negative_document": "moon " * 51}, "positive_like_negative"),
        ({"positive_document": "how do tides work"}, "copied_query"),
        ({"positive_document": "$num_words words: " + "moon " * 50}, "leaked_placeholder"),
        ({"positive_document": "This hard_negative_document is " + "moon " * 50}, "leaked_placeholder"),
        ({"positive_document": "Sure, here is it: " + "moon " * 50}, "preamble"),
        ({"positive_document": "As an AI I " + "moon " * 50}, "preamble"),
    ],
)
def test_strict_rejects_for_its_reason_what_paper_accepts(change: dict[str, str], verdict: str) -> None:
    reply = Reply(json.dumps(GOOD | change), "stop")

    assert judge_example(REQUEST, reply, STRICT, Seen(None)).verdict == verdict
    assert judge_example(REQUEST, reply, PAPER, Seen(None)).verdict == "accepted"


def test_a_label_in_the_text_is_a_leak_only_as_a_word() -> None:
    request = Request("example", "long_short", "English", "plain/long_short@1", "A task", {}, 0)
    verdicts = [
        judge_example(
            request,
            Reply(json.dumps({"input_text": text, "label": "joy", "misleading_label": "anger"}), "stop"),
            STRICT,
            Seen(None),
        ).verdict
        for text in ("I enjoy it all day", "What a Joy, said he")
    ]
    chinese = Request("example", "long_short", "Chinese", "plain/long_short@1", "A task", {}, 0)
    output = {"input_text": "今天我非常高兴地出门", "label": "高兴", "misleading_label": "悲伤"}

    assert verdicts == ["accepted", "leaked_answer"]
    assert judge_example(chinese, Reply(json.dumps(output), "stop"), STRICT, Seen(None)).verdict == "leaked_answer"


@pytest.mark.parametrize(
    ("text", "finish", "verdict"),
    [
        ('{"S1": "a", "S2": "b", "S3": "c"}', "length", "truncated"),
        ("", "content_filter", "content_filter"),
        ("", "failed", "failed"),
        ("I'm sorry, but I can't help with that.", "stop", "refusal"),
        ("no json here", "stop", "not_json"),
        ('{"S1": "a", "S2": "b"}', "stop", "wrong_schema"),
        ('{"S1": "a", "S2": "b", "S3": "c", "note": "d"}', "stop", "wrong_schema"),
        ('{"S1": "a", "S2": "b", "S3": 3}', "stop", "wrong_schema"),
        ('{"S1": "a", "S2": "b", "S3": " "}', "stop", "wrong_schema"),
        ('{"S1": "a", "S1": "x", "S2": "b", "S3": "c"}', "stop", "not_json"),
        ('{"S1": "a", "S2": "b", "S3": "\\ud800"}', "stop", "wrong_schema"),
        ('{"S1": "a", "S2": "b", "S3": "\\u001b[31m"}', "stop", "wrong_schema"),
        ('Here:\n```json\n{"S1": "a", "S2": "b", "S3": "c"}\n```', "stop", "accepted"),
        ('{"S1": "a", "S2": "b", "S3": "c"} or {"S1": "x", "S2": "b", "S3": "c"}', "stop", "wrong_schema"),
    ],
)
def test_verdicts_of_malformed_answers(text: str, finish: Any, verdict: str) -> None:
    request = Request("example", "sts", "English", "plain/sts@1", "", {}, 0)

    assert judge_example(request, Reply(text, finish), PAPER, Seen(None)).verdict == verdict


def test_exact_duplicates_are_dropped_once(recording: Recording) -> None:
    reply = Reply(json.dumps(GOOD), "stop")
    seen = Seen(None)

    assert [judge_example(REQUEST, reply, PAPER, seen).verdict for _ in range(3)] == [
        "accepted", "duplicate", "duplicate",
    ]  # fmt: skip


def test_a_failed_brainstorm_gives_no_example_and_its_reason() -> None:
    request = Request("brainstorm", "short_long", "English", "plain/short_long@1", "", {}, 0)
    judged, tasks = judge_tasks(request, Reply("I cannot help you with this request.", "stop"))

    assert (judged.verdict, tasks) == ("refusal", ())
    assert judge_tasks(request, Reply('1. ["A", "B\\nC", "A"]', "stop"))[1] == ("A", "B C")


def test_instructions_are_the_tasks_and_the_two_fixed_ones() -> None:
    assert TAXONOMY["sts"].instruction == "Retrieve semantically similar text"
    assert TAXONOMY["bitext"].instruction == "Retrieve parallel sentences."
    assert [row.name for row in TAXONOMY.values() if row.brainstormed] == [
        "short_long", "long_short", "short_short", "long_long",
    ]  # fmt: skip
