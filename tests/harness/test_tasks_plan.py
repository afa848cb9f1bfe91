"""A suite becomes task specs that hold all that decides a score; problems come together and before any work."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from harness import catalogue
from harness.config import ConfigError, decode
from harness.identity import fingerprint
from harness.instructions import TABLE
from harness.kinds import members
from harness.tasks import HUB, Mteb, Quick, Suite, plan_tasks, quick
from harness.tasks.prompts import CQADUPSTACK, MIRACL, MtebPrompts, NoPrompts, PaperPrompts, Prompts, PromptTable

CONF = Path(__file__).resolve().parents[2] / "conf" / "eval"


def named(*tasks: str, benchmark: str | None = None, data: str = "hub", prompts: Prompts | None = None) -> Mteb:
    return (
        decode(
            Mteb,
            {
                "kind": "mteb",
                "benchmark": benchmark,
                "tasks": list(tasks),
                "types": [],
                "languages": [],
                "subsets": {},
                "splits": {},
                "data": data,
                "instructions": {"kind": "mteb"},
                "mteb": catalogue.version(),
            },
        )
        if prompts is None
        else replace(named(*tasks, benchmark=benchmark, data=data), instructions=prompts)
    )


def layout(root: Path, *names: str) -> Path:
    """Folders in the hub's layout with one file each."""
    for name in names:
        (root / name).mkdir(parents=True)
        (root / name / "test.jsonl").write_text('{"sentence1": "a", "sentence2": "b", "score": 1.0}\n', encoding="utf-8")
    return root


PLANNED = {
    "quick": 8, "dev": 5, "mteb_eng_v1": 56 + 11, "mteb_eng_v2": 41, "mteb_multilingual_v2": 131, "beir": 15 + 11,
    "miracl": 1, "miracl_hard": 1, "bitext": 2, "longembed": 6, "rteb": 17, "mteb_eng_v1_smoke": 7, "mteb_eng_v1_subset": 19,
    "paper_multilingual": 3, "languages": 4, "passkey": 8,
}  # fmt: skip


def test_every_suite_in_conf_plans() -> None:
    """CQADupstackRetrieval is planned as its twelve parts; `local` waits for tasks."""
    yaml = pytest.importorskip("yaml")
    files = {file.stem: file for file in CONF.rglob("*.yaml")}

    assert set(files) == {*PLANNED, "local"}
    for name, file in files.items():
        suite = decode(Suite, yaml.safe_load(file.read_text(encoding="utf-8")))
        assert type(suite) in members(Suite)
        assert suite.mteb == catalogue.version()
        if name in PLANNED:
            assert len(plan_tasks(suite, None)) == PLANNED[name], name


def test_trap_37_the_dev_suite_shares_no_split_with_the_suites_that_are_published() -> None:
    yaml = pytest.importorskip("yaml")

    def cells(name: str) -> set[tuple[str, str]]:
        suite = decode(Suite, yaml.safe_load((CONF / f"{name}.yaml").read_text(encoding="utf-8")))
        return {(spec.name, split) for spec in plan_tasks(suite, None) for split in spec.splits}

    published = set.union(*(cells(name) for name in PLANNED if name not in {"dev", "quick", "passkey"}))

    assert len(published) > 200
    assert not published & cells("dev")


def test_quick_suite_has_a_task_of_every_type() -> None:
    specs = plan_tasks(Quick("quick", tuple(quick.TASKS), PaperPrompts("paper"), catalogue.version()), None)

    assert {spec.task_type for spec in specs} == {
        "Retrieval", "Reranking", "STS", "PairClassification", "Classification", "Clustering", "Summarization", "BitextMining",
    }  # fmt: skip
    assert all(len(spec.data) == 64 and spec.instruction for spec in specs)
    assert len({fingerprint(spec) for spec in specs}) == 8


def test_all_problems_at_once(tmp_path: Path) -> None:
    layout(tmp_path, "mteb/stsbenchmark-sts")
    suite = replace(named("STSBenchmark", "STSBenchmrk", "SciFact", "STS22", data="local"), mteb="2.0.0", languages=("eng",))
    with pytest.raises(ConfigError) as caught:
        plan_tasks(suite, str(tmp_path))
    message = str(caught.value)

    assert len(caught.value.problems) == 4
    assert "'2.0.0' is asked for" in message
    assert "did you mean 'STSBenchmark'" in message
    assert "'SciFact' has no data in" in message
    assert "mteb/scifact" in message
    assert "'STS22' has no data" in message


def test_local_suite_without_tasks_or_data_says_what_to_write(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"eval.tasks: is empty.*STSBenchmark"):
        plan_tasks(named(data="local"), str(tmp_path))
    with pytest.raises(ConfigError, match="runtime.data: is not set"):
        plan_tasks(named("STSBenchmark", data="local"), None)


def test_trap_31_the_data_is_part_of_the_identity(tmp_path: Path) -> None:
    """A changed file, and a changed revision, are another task."""
    layout(tmp_path, "mteb/stsbenchmark-sts")
    (spec,) = plan_tasks(named("STSBenchmark", data="local"), str(tmp_path))
    (again,) = plan_tasks(named("STSBenchmark", data="local"), str(tmp_path))
    file = tmp_path / "mteb/stsbenchmark-sts/test.jsonl"
    file.write_text(file.read_text(encoding="utf-8").replace("1.0", "2.0"), encoding="utf-8")
    (changed,) = plan_tasks(named("STSBenchmark", data="local"), str(tmp_path))
    (hub,) = plan_tasks(named("STSBenchmark"), None)

    assert spec == again
    assert fingerprint(spec) != fingerprint(changed)
    assert hub.data == HUB
    assert fingerprint(hub) != fingerprint(replace(hub, revision="another"))


def test_where_the_data_lies_is_not_part_of_the_identity(tmp_path: Path) -> None:
    one, two = layout(tmp_path / "one", "mteb/stsbenchmark-sts"), layout(tmp_path / "two", "mteb/stsbenchmark-sts")

    assert plan_tasks(named("STSBenchmark", data="local"), str(one)) == plan_tasks(
        named("STSBenchmark", data="local"), str(two)
    )


def test_aggregates_are_their_parts() -> None:
    specs = plan_tasks(named("CQADupstackRetrieval"), None)

    assert [spec.name for spec in specs] == list(catalogue.entry("CQADupstackRetrieval").parts)
    assert len(specs) == 12


def test_benchmarks_are_filtered_as_published() -> None:
    specs = {spec.name: spec for spec in plan_tasks(named(benchmark="MTEB(eng, v1)"), None)}

    assert len(specs) == 56 + 12 - 1
    assert specs["MSMARCO"].splits == ("dev",)
    assert specs["AmazonCounterfactualClassification"].subsets == ("en",)


def test_languages_types_subsets_and_splits_select() -> None:
    suite = replace(named("Tatoeba", "STS17", "SciFact"), languages=("deu", "eng-Latn"), types=("STS", "Retrieval"))
    specs = {spec.name: spec for spec in plan_tasks(suite, None)}

    assert set(specs) == {"STS17", "SciFact"}
    assert "en-de" in specs["STS17"].subsets
    assert "es-es" not in specs["STS17"].subsets
    (chosen,) = plan_tasks(replace(named("Tatoeba"), subsets={"Tatoeba": ("deu-eng",)}, splits={"Tatoeba": ("dev",)}), None)
    assert (chosen.subsets, chosen.splits) == (("deu-eng",), ("dev",))
    with pytest.raises(ConfigError, match="did you mean 'deu-eng'"):
        plan_tasks(replace(named("Tatoeba"), subsets={"Tatoeba": ("deu_eng",)}), None)


def test_tasks_whose_items_cannot_be_kept_are_refused() -> None:
    with pytest.raises(ConfigError, match="for which no items can be kept"):
        plan_tasks(named("RuSciBenchYearPublRegression"), None)


def test_instructions_by_choice() -> None:
    def sentence(task: str, prompts: Prompts) -> str:
        return plan_tasks(named(task, prompts=prompts), None)[0].instruction

    mteb, paper, none = MtebPrompts("mteb"), PaperPrompts("paper"), NoPrompts("none")
    claim = "Given a claim about climate change, retrieve documents that support or refute the claim"
    table = PromptTable("table", {"SciFact": "Find evidence"})

    assert sentence("SciFact", mteb) == "Given a scientific claim, retrieve documents that support or refute the claim"
    assert sentence("STSBenchmark", mteb) == sentence("STSBenchmark", paper) == "Retrieve semantically similar text."
    assert sentence("ClimateFEVERHardNegatives", mteb) == "Retrieve text based on user query."
    assert sentence("ClimateFEVERHardNegatives", paper) == claim
    assert sentence("CQADupstackUnixRetrieval", paper) == CQADUPSTACK
    assert sentence("MIRACLRetrievalHardNegatives", paper) == MIRACL
    assert sentence("SciFact", none) == ""
    assert sentence("SciFact", table) == "Find evidence"
    assert sentence("NFCorpus", table) == sentence("NFCorpus", paper)


def test_the_instruction_is_part_of_the_identity() -> None:
    prompts: list[Prompts] = [MtebPrompts("mteb"), NoPrompts("none"), PromptTable("table", {"SciFact": "Find evidence"})]
    specs = [plan_tasks(named("SciFact", prompts=prompt), None)[0] for prompt in prompts]

    assert len({fingerprint(spec) for spec in specs}) == 3


def test_every_planned_type_has_a_template() -> None:
    for name in ("MTEB(eng, v1)", "MTEB(eng, v2)", "BEIR", "LongEmbed"):
        for spec in plan_tasks(named(benchmark=name), None):
            assert spec.task_type in TABLE
