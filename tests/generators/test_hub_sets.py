"""Sets of the hub in the columns their authors publish, read from folders in the hub's own layout."""

from __future__ import annotations

import csv
import gzip
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from generators.hub_sets import HubSet
from generators.labelled import LabelledSpec, check, gather
from harness.config import ConfigError, decode
from harness.identity import fingerprint
from harness.pairs import read_pairs
from harness.step import silent

SOURCES = Path(__file__).resolve().parents[2] / "conf" / "natural" / "source"
ROWS = Path(__file__).resolve().parents[1] / "fixtures" / "labelled"
NAMES = sorted(path.stem for path in SOURCES.glob("*.yaml"))
PAPER = {  # appendix A: the ratio of every set
    "eli5": 0.1, "hotpotqa": 1.0, "fever": 1.0, "miracl": 1.0, "msmarco_passage": 0.5, "msmarco_document": 0.2, "nq": 1.0,
    "nli": 1.0, "squad": 1.0, "triviaqa": 1.0, "quora": 0.1, "mrtydi": 1.0, "dureader": 1.0, "t2ranking": 0.5,
}  # fmt: skip


def shipped(name: str) -> HubSet:
    """A set of conf/natural/source."""
    return decode(HubSet, yaml.safe_load((SOURCES / f"{name}.yaml").read_text(encoding="utf-8")))


def rows_of(name: str) -> list[dict[str, Any]]:
    """Its three rows, in the hub's columns."""
    return [json.loads(line) for line in (ROWS / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()]


def write(path: Path, rows: list[dict[str, Any]]) -> None:
    """Rows as a file of the kind its name says."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(rows), path)
    elif path.suffix == ".csv":
        with path.open("w", encoding="utf-8", newline="") as handle:
            writer = csv.DictWriter(handle, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
    else:
        content = "".join(json.dumps(row) + "\n" for row in rows).encode()
        path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)


def copy(each: HubSet, root: Path, rows: list[dict[str, Any]]) -> Path:
    """A folder in the hub's layout with these rows in every file the set names."""
    for pattern in each.files.values():
        write(root / each.id / pattern.replace("*", "00000-of-00001"), rows)
    return root


def own(**changes: Any) -> HubSet:
    """A set that is nobody's."""
    fields: dict[str, Any] = {
        "kind": "hub", "name": "own", "id": "us/own", "revision": "0" * 40, "files": {"English": "train-*.jsonl"},
        "query": "q", "positive": "p", "negatives": ("n",), "ratio": 1.0, "instruction": "Find it", "task_type": "short_long",
    }  # fmt: skip
    return HubSet(**(fields | changes))


@pytest.fixture(autouse=True)
def _no_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)


def cells(value: Any) -> Iterator[str]:
    """The texts of a cell of a fixture."""
    yield from value if isinstance(value, list) else [value]


@pytest.mark.parametrize("name", NAMES)
def test_every_shipped_set_reads_its_columns(name: str, tmp_path: Path) -> None:
    each, rows = shipped(name), rows_of(name)
    pairs = [pair for pair in each.read(copy(each, tmp_path, rows), 7) if pair is not None]

    assert len(rows) == 3
    assert len(pairs) == 3 * len(each.files)
    for pair, row in zip(pairs, rows * len(each.files), strict=True):
        assert (pair.query, pair.positive) == (row[each.query], next(cells(row[each.positive])))
        assert pair.negatives == tuple(text for column in each.negatives for text in cells(row[column]))
        assert (pair.source, pair.task_type, pair.instruction) == (name, each.task_type, each.instruction)
    assert list(dict.fromkeys(pair.language for pair in pairs)) == sorted(each.files)


def test_the_papers_fourteen_sets_ship_with_its_ratios() -> None:
    found = {name: shipped(name).ratio for name in NAMES if name != "paq"}

    assert found | {"eli5": 0.1} == PAPER
    assert found["eli5"] == 1.0, "the copy is a sample of a tenth already"


def test_the_same_rows_in_every_kind_of_file_give_the_same_pairs(tmp_path: Path) -> None:
    rows = [{"q": f"query {n}", "p": f"positive {n}", "n": f"negative {n}"} for n in range(5)]
    found = []
    for ending in ("parquet", "jsonl", "jsonl.gz", "csv"):
        each = own(files={"English": f"train-*.{ending}"})
        found.append(list(each.read(copy(each, tmp_path / ending, rows), 1)))

    assert len(found[0]) == 5
    assert all(pairs == found[0] for pairs in found)


def test_texts_lists_and_passages_are_texts_and_blank_rows_are_counted(tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = [
        {"q": "a", "p": [{"title": "Bee", "text": "b"}, {"title": "", "text": "c"}], "n": [{"text": "d"}, {"text": "b"}]},
        {"q": "a", "p": ["b", "c"], "n": ["a", "b", "d", "d", "e"]},
        {"q": "a", "p": [], "n": []},
        {"q": " ", "p": ["b"], "n": []},
        {"q": "same", "p": ["same"], "n": []},
        {"q": "a", "p": "b", "n": None},
    ]
    each = own()
    found = list(each.read(copy(each, tmp_path, rows), 2))
    kept = [(pair.positive, pair.negatives) for pair in found if pair is not None]
    (tmp_path / "out").mkdir()
    gather(LabelledSpec("labelled", {"own": each}, 2, 0), tmp_path / "out", silent, {}, tmp_path)
    counts = json.loads((tmp_path / "out" / "counts.json").read_text())

    assert kept == [("Bee b", ("d", "b")), ("b", ("d", "e")), ("b", ())]
    assert [pair is None for pair in found] == [False, False, True, True, True, False]
    assert counts == {"pairs": 3, "sets": {"own": {"rows": 6, "unusable": 3, "kept": 3}}}


def test_what_is_no_text_and_columns_that_are_not_there_are_named(tmp_path: Path) -> None:
    each = own()
    with pytest.raises(ValueError, match=r"train-00000-of-00001\.jsonl, row 2: 3 is neither a text nor a passage"):
        list(each.read(copy(each, tmp_path / "a", [{"q": "x", "p": "y", "n": []}, {"q": 3, "p": "y", "n": []}]), 1))
    with pytest.raises(ValueError, match=r"has no column p, n; its columns are q, x"):
        list(each.read(copy(each, tmp_path / "b", [{"q": "x", "x": "y"}]), 1))
    table = own(files={"English": "train-*.parquet"})
    with pytest.raises(ValueError, match=r"has no column p, n; its columns are q, x"):
        list(table.read(copy(table, tmp_path / "c", [{"q": "x", "x": "y"}]), 1))


def test_sets_that_cannot_be_had_are_named_together_and_nothing_is_downloaded(tmp_path: Path) -> None:
    there, gone = own(name="there"), own(name="gone", id="us/gone")
    half = own(name="half", id="us/half", files={"English": "train-*.jsonl", "German": "de-*.jsonl"})
    copy(there, tmp_path, [{"q": "x", "p": "y", "n": []}])
    copy(replace(half, files={"English": "train-*.jsonl"}), tmp_path, [{"q": "x", "p": "y", "n": []}])
    with pytest.raises(ValueError, match=r"gone: us/gone at 0{12} is neither .*sources/us/gone .*; half: .* has no de-"):
        check(LabelledSpec("labelled", {"a": there, "b": gone, "c": half}, 1, 0), tmp_path)
    check(LabelledSpec("labelled", {"a": there}, 1, 0), tmp_path)
    with pytest.raises(ValueError, match=r"OfflineModeIsEnabled|LocalEntryNotFoundError"):
        list(gone.read(tmp_path, 1))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"revision": "main"}, "is no commit"),
        ({"files": {"English": "train-*.bin"}}, "can be read"),
        ({"files": {}}, "at least 1"),
        ({"task_type": "retrieval"}, "is none of"),
        ({"ratio": 0.0}, "greater than 0"),
    ],
)
def test_a_set_that_would_be_another_tomorrow_is_refused(changes: dict[str, Any], message: str) -> None:
    data = yaml.safe_load((SOURCES / "nq.yaml").read_text(encoding="utf-8")) | changes
    with pytest.raises(ConfigError, match=message):
        decode(HubSet, data)


def test_the_order_in_which_sets_are_written_changes_no_byte(tmp_path: Path) -> None:
    """Their mapping has one canonical form, so it must have one payload."""
    a, b = (own(name=name, id=f"us/{name}") for name in ("a", "b"))
    for each in (a, b):
        copy(each, tmp_path, [{"q": f"{each.name} {n}", "p": f"positive {n}", "n": []} for n in range(5)])
    found: list[tuple[str, bytes, bytes]] = []
    for spec in (LabelledSpec("labelled", {"a": a, "b": b}, 1, 0), LabelledSpec("labelled", {"b": b, "a": a}, 1, 0)):
        out = tmp_path / f"out{len(found)}"
        out.mkdir()
        gather(spec, out, silent, {}, tmp_path)
        found.append((fingerprint(spec), (out / "pairs.parquet").read_bytes(), (out / "counts.json").read_bytes()))

    assert found[0] == found[1]


def test_a_pair_keeps_its_place_whatever_the_ratio(tmp_path: Path) -> None:
    each = own()
    copy(each, tmp_path, [{"q": f"query {n}", "p": f"positive {n}", "n": []} for n in range(400)])
    found = []
    for ratio in (0.1, 0.5):
        out = tmp_path / str(ratio)
        out.mkdir()
        gather(LabelledSpec("labelled", {"own": replace(each, ratio=ratio)}, 1, 5), out, silent, {}, tmp_path)
        found.append(read_pairs(out / "pairs.parquet"))

    assert 20 < len(found[0]) < 65
    assert 160 < len(found[1]) < 240
    assert found[1][: len(found[0])] == found[0]
