"""The cache beside a sweep: the same table to the last digit, never a reason to fail, never inside a baseline."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from reports import parts_cache
from reports.effects import Evidence
from reports.load import load
from reports.means import type_columns
from reports.parts_cache import FILE, cache_of
from reports.tables import arms_table

RUNS = Path(__file__).parent / "runs"


def cached(builder) -> Path:
    return builder.store / "sweeps" / "quick" / "abc123" / FILE


def test_the_second_table_is_the_first_and_reads_no_items(rich, reports) -> None:
    rich.write()
    first = reports("table", "quick", "--format", "csv")
    kept = cached(rich).read_bytes()
    for path in rich.store.glob("evaluate/*/payload/items.parquet"):
        path.unlink()

    assert reports("table", "quick", "--format", "csv") == first
    assert cached(rich).read_bytes() == kept
    assert "±" in reports("table", "quick", "--format", "md")[1]


def test_other_items_or_other_code_are_other_keys(rich, reports, monkeypatch: pytest.MonkeyPatch) -> None:
    """A changed item file is read anew, and its table is that of a store without a cache."""
    rich.write()
    reports("table", "quick")
    rich.put("rank_4", 1, rich.scores["rank_4", 0, "QuickSTS"], rich.items["rank_4", 0, "QuickSTS"])
    rich.write()
    with_cache = reports("table", "quick", "--format", "csv")
    cached(rich).unlink()
    assert reports("table", "quick", "--format", "csv") == with_cache

    before = cached(rich).read_bytes()
    monkeypatch.setattr(parts_cache, "_code", lambda: "other")
    (frame,) = load(rich.store, ["quick"], with_baseline=True)
    evidence = Evidence(frame, cache=cache_of(frame))
    known = len(evidence.cache.known)
    arms_table(frame, type_columns(frame), "t", evidence)
    assert len(evidence.cache.known) == 2 * known
    assert before == cached(rich).read_bytes(), "nothing is written before it is asked for"


@pytest.mark.parametrize("text", ["", "{", "[1]", '{"a": 1}', '{"a": [[1, 2]]}'])
def test_a_torn_cache_is_no_error(rich, reports, text: str) -> None:
    rich.write()
    first = reports("table", "quick", "--format", "csv")
    cached(rich).write_text(text, encoding="utf-8")

    assert reports("table", "quick", "--format", "csv") == first


def test_a_folder_that_cannot_be_written_and_a_baseline_stay_as_they_are(rich, reports, tmp_path: Path) -> None:
    rich.write()
    cached(rich).mkdir()
    assert reports("table", "quick")[0] == 0
    copy = tmp_path / "same"
    shutil.copytree(RUNS / "same", copy)
    before = sorted(copy.rglob("*"))
    assert reports("table", str(copy / "sweeps" / "gate" / "0123abcd"))[0] == 0
    assert sorted(copy.rglob("*")) == before
