"""The catalogue says what mteb says, and nothing heavy is imported to read it."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from harness import catalogue
from harness.config import ConfigError


def test_catalogue_is_what_the_installed_mteb_generates() -> None:
    fresh = catalogue.generate()
    stored = json.loads(catalogue.FILE.read_text(encoding="utf-8"))

    assert len(fresh["tasks"]) > 1300
    assert stored == json.loads(json.dumps(fresh))


def test_catalogue_stays_small() -> None:
    assert catalogue.FILE.stat().st_size < 1_000_000


def test_entries_unpack_to_what_mteb_holds() -> None:
    import mteb

    for name in ("FloresBitextMining", "NTREXBitextMining", "Tatoeba", "SciFact", "STS17", "BelebeleRetrieval"):
        meta = mteb.get_task(name).metadata
        entry = catalogue.entry(name)
        expected = {subset: tuple(codes) for subset, codes in meta.hf_subsets_to_langscripts.items()}

        assert dict(entry.subsets) == expected
        assert list(entry.subsets) == list(expected), "mteb's order decides what a sampled task draws"
        assert (entry.path, entry.revision) == (meta.dataset["path"], meta.dataset["revision"])


@pytest.mark.parametrize(
    ("name", "tasks"),
    [("MTEB(eng, v1)", 56), ("MTEB(eng, v2)", 41), ("MTEB(Multilingual, v2)", 131), ("LongEmbed", 6), ("NanoBEIR", 13)],
)
def test_benchmarks_have_their_tasks(name: str, tasks: int) -> None:
    assert len(catalogue.benchmark(name)) == tasks


def test_benchmarks_keep_their_own_splits_and_subsets() -> None:
    rows = {row.task: row for row in catalogue.benchmark("MTEB(eng, v1)")}

    assert rows["MSMARCO"].splits == ("dev",)
    assert rows["AmazonCounterfactualClassification"].subsets == ("en",)
    assert rows["STS17"].subsets == ("en-en",)
    assert rows["STS22"].subsets == ("en",)
    assert rows["MassiveIntentClassification"].subsets == ("en",)


def test_unknown_names_are_answered_with_the_nearest() -> None:
    with pytest.raises(ConfigError, match="did you mean 'STSBenchmark'"):
        catalogue.entry("STSBenchmrk")
    with pytest.raises(ConfigError, match=r"did you mean 'MTEB\(eng, v2\)'"):
        catalogue.benchmark("MTEB(eng,v2)")


def test_planning_imports_nothing_heavy() -> None:
    code = (
        "import sys; from harness import catalogue, tasks, items, evaluate; from harness.tasks.prompts import MtebPrompts;"
        "suite = tasks.Mteb('mteb', 'MTEB(eng, v1)', (), (), (), {}, {}, 'hub', MtebPrompts('mteb'), '2.26.24');"
        "tasks.plan_tasks(suite, None);"
        "print([m for m in ('mteb', 'torch', 'sklearn', 'datasets', 'pandas', 'transformers', 'scipy') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == "[]"
