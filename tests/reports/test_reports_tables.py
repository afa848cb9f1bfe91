"""`reports scores` and `reports table` on stores whose numbers are known."""

from __future__ import annotations

import csv
import io
import subprocess
import sys
import time
from pathlib import Path

import pytest

from reports.frame import Frame
from reports.load import RunError, load, parse_reference
from reports.means import language_columns, type_columns
from reports.tables import Table, arms_table


def arms_by_task_type(frame: Frame) -> Table:
    return arms_table(frame, type_columns(frame), "types", None)


def arms_by_language(frame: Frame) -> Table:
    return arms_table(frame, language_columns(frame), "languages", None)


def rows_of(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


def test_scores_are_points_with_their_item_counts(small, reports) -> None:
    small.write()
    code, out, err = reports("scores", "quick")

    rows = rows_of(out)
    assert code == 0, err
    assert len(rows) == 2 * 2 * 5  # arms x seeds x (three tasks of one cell and one of two)
    first = next(row for row in rows if row["task"] == "QuickRetrieval")
    assert list(first) == ["arm", "seed", "task", "task_type", "subset", "split", "metric", "score", "n_items"]
    assert (first["arm"], first["seed"], first["score"], first["n_items"]) == ("base", "0", "50", "50")


def test_scores_of_one_arm_and_seed(small, reports) -> None:
    small.write()
    _, out, _ = reports("scores", "quick@abc:mean:1", "--every-metric")

    rows = rows_of(out)
    assert {(row["arm"], row["seed"]) for row in rows} == {("mean", "1")}
    assert {row["metric"] for row in rows} == {"ndcg_at_10", "other", "cosine_spearman", "f1"}


def test_table_means_types_tasks_and_seeds(small) -> None:
    """Expected numbers by hand: Retrieval of base is the mean of (55, 58); Avg weights its four tasks equally."""
    small.write()
    (frame,) = load(small.store, ["quick"], with_baseline=True)
    table = arms_by_task_type(frame)

    assert table.columns == ("Retr. (2)", "STS (1)", "Bitext (1)", "Avg (4)")
    base, mean = table.rows
    assert (base.label, base.kind, mean.kind) == ("base", "baseline", "arm")
    assert [cell.value for cell in base.cells] == pytest.approx([56.5, 71.0, 56.0, (56.5 * 2 + 71 + 56) / 4])
    assert (base.cells[0].low, base.cells[0].high) == pytest.approx((55.0, 58.0))
    assert [effect.delta for effect in mean.effects] == pytest.approx([-1.25, 1.5, 1.5, (-2.5 + 3.0) / 4])


def test_language_table_has_one_column_per_foreign_language(small) -> None:
    small.write()
    (frame,) = load(small.store, ["quick"], with_baseline=True)
    table = arms_by_language(frame)

    assert table.columns == ("deu (1)", "fra (1)")
    assert [cell.value for cell in table.rows[0].cells] == pytest.approx([61.0, 51.0])


def test_trap_36_no_mean_over_missing_tasks(small) -> None:
    """One task of one seed is missing: its type and the average have no value; complete columns keep theirs."""
    key = ("mean", 1, "SciFact")
    del small.scores[key]
    small.unfinished.add(key)
    small.write()
    (frame,) = load(small.store, ["quick"], with_baseline=True)
    table = arms_by_task_type(frame)

    retrieval, sts, _, average = table.rows[1].cells
    assert (retrieval.value, retrieval.why, average.value, average.why) == (None, "1/2", None, "3/4")
    assert sts.value == pytest.approx(72.5)
    assert table.rows[1].effects[0].delta is None
    assert any("SciFact: not built yet" in note for note in table.footnotes)


def test_a_language_without_its_subset_has_no_value(small) -> None:
    key = ("mean", 0, "QuickBitext")
    small.unfinished.add(key)
    del small.scores[key]
    small.write()
    (frame,) = load(small.store, ["quick"], with_baseline=True)

    table = arms_by_language(frame)
    assert [cell.value for cell in table.rows[1].cells] == [None, None]
    assert [column.count for column in language_columns(frame)] == [1, 1]


def test_other_hardware_is_marked(small) -> None:
    small.hardware["mean"] = "cpu B"
    small.write()
    (frame,) = load(small.store, ["quick"], with_baseline=True)
    table = arms_by_task_type(frame)

    assert [row.note for row in table.rows] == ["", "‡"]
    assert any("hardware cpu B (baseline: cpu A)" in note for note in table.footnotes)


def test_edited_scores_are_refused(small, reports) -> None:
    small.write()
    path = next(small.store.glob("evaluate/*/payload/scores.json"))
    path.write_text(path.read_text(encoding="utf-8").replace('"main": 0.', '"main": 0.9'), encoding="utf-8")
    code, out, err = reports("table", "quick")

    assert (code, out) == (4, "")
    assert str(path) in err


@pytest.mark.parametrize("form", ["term", "md", "csv"])
def test_every_format_says_that_quick_is_no_substitute(small, reports, form: str) -> None:
    small.write()
    code, out, _ = reports("table", "quick", "--format", form)

    assert code == 0
    assert "base" in out
    assert ("no substitute for MTEB" in out) == (form != "csv")


def test_table_by_path_needs_no_store(small, tmp_path: Path, reports) -> None:
    sweep = small.write()
    folder = small.store / "sweeps" / sweep.name / sweep.id
    code, out, _ = reports("table", str(folder), "--store", str(tmp_path / "nowhere"))

    assert code == 0
    assert "Retr. (2)" in out


def test_an_arm_alone_brings_its_baseline(small, reports) -> None:
    small.write()
    _, out, _ = reports("table", "quick:mean", "--format", "csv")

    assert {row["row"] for row in rows_of(out)} == {"base", "mean"}


@pytest.mark.parametrize(
    ("run", "says"),
    [
        ("nope", "no sweep"),
        ("quick:nope", "no arm 'nope'"),
        ("quick:mean:7", "no seed 7"),
        ("quick:a:b", "not an integer"),
        (":x", "is not"),
    ],
)
def test_bad_runs_name_what_there_is(small, reports, run: str, says: str) -> None:
    small.write()
    code, _, err = reports("table", run)

    assert code == 4
    assert says in err


def test_usage_errors_exit_with_4(reports) -> None:
    assert reports("table")[0] == 4
    assert reports("nonsense")[0] == 4


def test_references_are_taken_apart() -> None:
    reference = parse_reference("a@1f:arm:3")
    assert (reference.sweep, reference.arm, reference.seed) == ("a@1f", "arm", 3)
    with pytest.raises(RunError):
        parse_reference("a:b:c:d")


def test_help_starts_at_once_and_without_heavy_imports() -> None:
    """`--help` within 0.3 s of CPU (the median of three), and no torch, hydra, transformers or mteb even for a table."""
    times = []
    for _ in range(3):
        started = time.perf_counter()
        subprocess.run([sys.executable, "-m", "reports", "--help"], check=True, capture_output=True)
        times.append(time.perf_counter() - started)
    probe = (
        "import sys, reports.__main__, reports.tables, reports.render, reports.load, reports.listing\n"
        "print([m for m in ('torch','transformers','hydra','omegaconf','mteb','sklearn','pandas') if m in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", probe], check=True, capture_output=True, text=True).stdout

    assert sorted(times)[1] < 0.9  # 0.3 s on an idle machine; the suite may share its two cores
    assert found.strip() == "[]"


def test_columns_follow_the_paper(small) -> None:
    small.write()
    (frame,) = load(small.store, ["quick"], with_baseline=True)

    assert [column.key for column in type_columns(frame)] == ["Retrieval", "STS", "BitextMining", "mean"]
