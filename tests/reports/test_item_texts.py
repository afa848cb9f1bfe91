"""The words of items, as mteb loads them: row for row what the files say, and refused where the files are others."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from harness.item_texts import MARK, Asked, ItemTextsError, find
from harness.tasks import Mteb, TaskSpec, plan_tasks
from harness.tasks.prompts import PaperPrompts
from reports import texts as asking
from reports.texts import NoTextsError, ask


def spec_of(task: str, root: Path, subsets: dict[str, tuple[str, ...]] | None = None) -> TaskSpec:
    suite = Mteb("mteb", None, (task,), (), (), subsets or {}, {}, "local", PaperPrompts("paper"), "2.26.24")
    (spec,) = plan_tasks(suite, str(root))
    return spec


def texts(spec: TaskSpec, root: Path, *items: str) -> dict[str, str]:
    return find(Asked(asdict(spec), str(root), items))


def column(root: Path, name: str, *columns: str) -> list[tuple[str, ...]]:
    return [tuple(row[c] for c in columns) for row in pq.read_table(root / "mteb" / name).to_pylist()]


@pytest.mark.data
def test_rows_are_those_of_the_files(data: Path) -> None:
    """Pairs, classes, queries by id, two languages of a bitext, and pairs that mteb 1 keeps in one row of lists."""
    root = data / "mteb"
    pairs = column(root, "sts16-sts/data/test.parquet", "sentence1", "sentence2")
    assert texts(spec_of("STS16", root), root, "test/default/7") == {"test/default/7": " | ".join(pairs[7])}

    rows = column(root, "banking77/data/test.parquet", "text")
    found = texts(spec_of("Banking77Classification", root), root, "test/default/0", "test/default/3079")
    assert found == {"test/default/0": rows[0][0], "test/default/3079": rows[3079][0]}

    queries = dict(column(root, "scifact/queries/queries.parquet", "_id", "text"))
    assert texts(spec_of("SciFact", root), root, "test/default/1137") == {"test/default/1137": queries["1137"]}

    bitext = column(root, "tatoeba-bitext-mining/test/deu-eng.parquet", "sentence1", "sentence2")
    spec = spec_of("Tatoeba", root, {"Tatoeba": ("deu-eng",)})
    assert texts(spec, root, "test/deu-eng/11") == {"test/deu-eng/11": " | ".join(bitext[11])}

    ((first, second),) = column(root, "twitterurlcorpus-pairclassification/data/test.parquet", "sent1", "sent2")
    found = texts(spec_of("TwitterURLCorpus", root), root, "test/default/51533")
    assert found == {"test/default/51533": f"{first[51533]} | {second[51533]}"}


@pytest.mark.data
def test_other_data_are_refused(data: Path, tmp_path: Path) -> None:
    spec = spec_of("STS16", data / "mteb")
    with pytest.raises(ItemTextsError, match="holds other data than those that were scored"):
        texts(replace(spec, data="0" * 64), data / "mteb", "test/default/7")
    with pytest.raises(ItemTextsError, match="does not exist"):
        texts(spec, tmp_path, "test/default/7")


@pytest.mark.data
def test_the_program_answers_and_says_why_not(data: Path, tmp_path: Path) -> None:
    spec = spec_of("STS16", data / "mteb")
    pairs = column(data / "mteb", "sts16-sts/data/test.parquet", "sentence1", "sentence2")

    assert MARK == asking.MARK
    assert ask(asdict(spec), data / "mteb", ["test/default/7"]) == {"test/default/7": " | ".join(pairs[7])}
    with pytest.raises(NoTextsError, match="does not exist"):
        ask(asdict(spec), tmp_path, ["test/default/7"])


def test_the_items_that_moved_have_their_own_change(rich, reports) -> None:
    """A mean's item has its own difference: one query goes from 1 to 0, and that is -100 points whatever the mean did."""
    key = ("no_instruction", 0, "QuickRetrieval")
    for arm, value in (("base", 1.0), ("no_instruction", 0.0)):
        for seed in (0, 1):
            items = rich.items[arm, seed, key[2]]
            rich.items[arm, seed, key[2]] = [replace(items[0], value=value), *items[1:]]
    for (arm, seed, task), items in rich.items.items():
        if task == key[2]:
            scores = rich.scores[arm, seed, task]
            mean = sum(item.value for item in items) / len(items)
            rich.scores[arm, seed, task] = replace(scores, subsets=(replace(scores.subsets[0], main=mean),))
    rich.write()
    _, out, _ = reports("compare", "quick:base", "quick:no_instruction", "--format", "md")

    assert "| QuickRetrieval | default/q0 | \N{MINUS SIGN}100.0 |" in out
