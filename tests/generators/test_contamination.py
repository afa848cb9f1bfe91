"""Which method finds which kind of leak, and that clean data stays clean."""

import gzip
import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import yaml

from generators import contamination
from generators.contamination import ContaminationError, ContaminationSpec, Hit, Item, inspect, split, squeezed
from generators.mined import MinedSpec, mine, pin
from harness.config import decode
from harness.identity import folder_digest
from harness.pairs import Pair, read_pairs, write_pairs
from harness.step import silent
from harness.tasks import plan_tasks
from harness.tasks.texts import judged_texts
from sweeps.compose import Composer
from sweeps.spec import Composed

CONF = Path(__file__).resolve().parents[2] / "conf"

SPEC = ContaminationSpec("report", min_words=5, phrase=8, near=0.7)


def found(spec: ContaminationSpec, pairs: list[Pair], items: list[Item], folder: Path) -> list[Hit]:
    out = folder / "out"
    out.mkdir(parents=True)
    write_pairs(folder / "pairs.parquet", pairs)
    inspect(spec, folder / "pairs.parquet", items, out, silent, {})
    return [Hit(**json.loads(line)) for line in (out / "hits.jsonl").read_text().splitlines()]


def pair(query: str, positive: str = "Something that has nothing to do with it.", source: str = "mined") -> Pair:
    return Pair("short_long", "English", "English", source, "Find it", query, positive, ())


SUBJECTS = ("comets", "glaciers", "violins", "harbours", "lichens")
ITEMS = [
    Item(
        "Task",
        "query",
        str(n),
        f"What do {subject} tell us about the {n + 3} oldest records of weather that survive in monasteries?",
    )
    for n, subject in enumerate(SUBJECTS * 4)
]


def leak(kind: str, text: str) -> str:
    words = text.split()
    return {
        "verbatim": text,
        "re-cased": text.upper(),
        "re-spaced": "  ".join(words[:4]) + "\n\t" + " ".join(words[4:]),
        "embedded": f"Somebody once asked in a letter to the editor: {text} Nobody knew, and so the matter rested there.",
        "edited": text.replace("tell us about", "teach us about"),
    }[kind]


def test_trap_38_each_kind_of_leak_is_found_by_the_methods_that_can(tmp_path: Path) -> None:
    """20 planted items, four of each kind."""
    kinds = {
        item.name: kind
        for item, kind in zip(ITEMS, ("verbatim", "re-cased", "re-spaced", "embedded", "edited") * 4, strict=True)
    }
    clean = [pair(f"Clean sentence number {n} about the trade of bricks in the valley of the river {n}") for n in range(200)]
    hits = found(SPEC, clean + [pair("A query", leak(kinds[item.name], item.text)) for item in ITEMS], ITEMS, tmp_path)
    # The items resemble each other, as test items do: a hit counts where the item met is the one planted.
    planted = {p.identity: item.name for p, item in zip(read_pairs(tmp_path / "pairs.parquet")[200:], ITEMS, strict=True)}
    own = Counter((kinds[hit.item], hit.method) for hit in hits if planted.get(hit.pair) == hit.item)

    for kind in ("verbatim", "re-cased", "re-spaced", "embedded", "edited"):
        print(f"{kind:10}", *(f"{method}: {own[kind, method]} of 4 " for method in ("exact", "phrase", "near")))
    assert len(planted) == len(kinds) == 20
    assert all(hit.pair in planted for hit in hits), "a clean pair was hit"
    assert own == {
        ("verbatim", "exact"): 4, ("verbatim", "phrase"): 4, ("verbatim", "near"): 4,
        ("re-cased", "exact"): 4, ("re-cased", "phrase"): 4, ("re-cased", "near"): 4,
        ("re-spaced", "exact"): 4, ("re-spaced", "phrase"): 4, ("re-spaced", "near"): 4,
        ("embedded", "phrase"): 4,
        ("edited", "phrase"): 4, ("edited", "near"): 4,
    }  # fmt: skip


def test_scores_say_how_much_was_met(tmp_path: Path) -> None:
    item = Item("T", "query", "1", "one two three four five six seven eight nine ten eleven twelve")
    hits = found(
        SPEC, [pair("x", "zero one two three four five six seven eight nine tail end of text here now")], [item], tmp_path
    )

    assert [(hit.method, hit.score, hit.field) for hit in hits] == [("phrase", 9.0, "positive")]


def test_scripts_without_spaces_are_met_letter_by_letter(tmp_path: Path) -> None:
    item = Item("T", "query", "1", "北京是哪个国家的首都城市呢")
    hits = found(SPEC, [pair("他问：北京是哪个国家的首都城市呢？没有人知道。")], [item], tmp_path)  # noqa: RUF001

    assert {hit.method for hit in hits} >= {"phrase"}
    assert split("Das  हिन्दी, Straße x2") == ["das", "हिन्दी", "strasse", "x2"]
    assert squeezed("A b\nC") == squeezed("abc")


def test_short_items_match_by_chance_and_are_not_looked_for(tmp_path: Path) -> None:
    assert found(SPEC, [pair("yes it is good")], [Item("T", "query", "1", "Yes it is good")], tmp_path) == []


@pytest.mark.parametrize("policy", ["report", "drop", "fail"])
def test_policies(policy: Any, tmp_path: Path) -> None:
    spec = ContaminationSpec(policy, 5, 8, 0.7)
    pairs = [pair(ITEMS[0].text), pair("an entirely clean query of some length")]
    if policy == "fail":
        with pytest.raises(ContaminationError, match='"Task": {"mined": {"exact": 1'):
            found(spec, pairs, ITEMS[:1], tmp_path)
        return
    assert found(spec, pairs, ITEMS[:1], tmp_path)
    out = tmp_path / "out"
    assert [path.name for path in out.glob("*.parquet")] == ([] if policy == "report" else ["pairs.parquet"])
    assert policy == "report" or read_pairs(out / "pairs.parquet") == pairs[1:]
    task = {"items": 1, "hit": 1, "sources": {"mined": {"exact": 1, "near": 1, "phrase": 1}}}
    assert json.loads((out / "counts.json").read_text()) == {"pairs": 2, "pairs_hit": 1, "tasks": {"Task": task}}


def test_clean_pairs_pass_a_failing_check_and_a_task_without_hits_is_counted_too(tmp_path: Path) -> None:
    pairs = [pair("an entirely clean query of some length")]

    assert (
        found(ContaminationSpec("fail", 5, 8, 0.7), pairs, [*ITEMS, Item("Other", "query", "1", "too short")], tmp_path) == []
    )
    assert read_pairs(tmp_path / "out" / "pairs.parquet") == pairs
    counts = json.loads((tmp_path / "out" / "counts.json").read_text())["tasks"]
    assert counts == {"Task": {"items": 20, "hit": 0, "sources": {}}, "Other": {"items": 0, "hit": 0, "sources": {}}}


def test_nothing_left_to_train_on_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ContaminationError, match="every one of 1 training pairs"):
        found(ContaminationSpec("drop", 5, 8, 0.7), [pair(ITEMS[0].text)], ITEMS[:1], tmp_path)


def test_items_in_groups_are_met_as_all_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pairs = [pair("A query", leak(kind, item.text)) for kind, item in zip(("verbatim", "edited") * 10, ITEMS, strict=True)]
    whole = found(SPEC, pairs, ITEMS, tmp_path / "whole")
    monkeypatch.setattr(contamination, "GROUP", 300)
    parts = found(SPEC, pairs, ITEMS, tmp_path / "parts")

    assert len(whole) > 40
    assert sorted(map(repr, parts)) == sorted(map(repr, whole))
    counts = [json.loads((tmp_path / name / "out" / "counts.json").read_text()) for name in ("whole", "parts")]
    assert counts[0] == counts[1]


def test_golden_payload(tmp_path: Path) -> None:
    """A changed digest means other bytes for the same spec: bump `contamination` in sweeps.plan.VERSIONS."""
    found(SPEC, [pair("A query", leak("edited", ITEMS[3].text)), pair(ITEMS[0].text)], ITEMS, tmp_path)

    assert folder_digest(tmp_path / "out") == "7c0f175ce6d6ff7d530f4155ba97eafebf59f09db60bab527ea383e2b2a45734"


LOCAL = (
    "AmazonCounterfactualClassification", "Banking77Classification", "EmotionClassification", "SciFact", "SICK-R", "STS12",
    "STS16", "STSBenchmark", "SummEval", "Tatoeba", "TwitterURLCorpus", "XQuADRetrieval",
)  # fmt: skip


def judged(folder: Path, *names: str) -> list[Item]:
    """The texts of real tasks, as mteb loads them."""
    root = str(folder / "mteb")
    composed = Composer(CONF).compose(["eval=local", f"runtime.data={root}", f"eval.tasks=[{','.join(names)}]"])
    tasks = plan_tasks(Composed.of(composed).decode_run().eval, root)
    return [Item(task.name, *text) for task in tasks for text in judged_texts(task, root)]


@pytest.mark.data
def test_the_real_leak_is_flagged(harness_data: Path, tmp_path: Path) -> None:
    """SQuAD's dev file, which XQuAD's English passages come from, is part of squad_sentences."""
    path = harness_data / "train" / "squad_sentences.jsonl.gz"
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        rows = [json.loads(line) for line in lines]
    items = judged(harness_data, "XQuADRetrieval")
    hits = found(SPEC, [pair(row["query"], row["positive"], "squad_sentences") for row in rows], items, tmp_path)
    questions = {hit.item for hit in hits if hit.part == "query" and hit.method == "exact"}
    passages = {hit.item for hit in hits if hit.part == "document" and hit.method == "phrase"}

    assert len(items) > 1400
    print(f"{len(questions)} questions and {len(passages)} passages of XQuADRetrieval are in {len(rows)} training pairs")
    assert len(questions) > 1000
    assert len(passages) > 200


@pytest.mark.data
@pytest.mark.slow
def test_exact_match_finds_nothing_in_ten_thousand_clean_pairs(harness_data: Path, tmp_path: Path) -> None:
    """Docstrings against all local tasks; every other hit is printed, and was read: letters of the alphabet one by one."""
    (tmp_path / "mined").mkdir()
    spec = yaml.safe_load((CONF / "pretrain" / "pairs" / "docstrings.yaml").read_text())
    mine(pin(decode(MinedSpec, spec)), tmp_path / "mined", silent, {})
    pairs = read_pairs(tmp_path / "mined" / "pairs.parquet")
    items = judged(harness_data, *LOCAL)
    hits = found(SPEC, pairs, items, tmp_path / "check")
    texts = {(item.task, item.part, item.name): item.text for item in items}

    print(f"{len(items)} test items of {len(LOCAL)} tasks, {len(pairs)} clean pairs: {Counter(hit.method for hit in hits)}")
    for hit in hits:
        print(f"{hit.method} {hit.score:g} {hit.task} {hit.part} {hit.item}: {texts[hit.task, hit.part, hit.item]!r}")
    assert len(pairs) >= 10_000
    assert len(items) > 300_000
    assert not [hit for hit in hits if hit.method == "exact"]
    assert all("a, b, c, d, e, f, g" in texts[hit.task, hit.part, hit.item] for hit in hits), "read these"
