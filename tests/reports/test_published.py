"""Published results and the paper's tables: Table 1 follows from the authors' files and from Table 17."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from harness import catalogue
from reports.effects import Evidence, Untestable, compare_arms
from reports.means import type_columns
from reports.published import PublishedError, frame_of, published_frame, read_published, read_result, write_published
from reports.reference import UnknownReferenceError, disagreements, names, per_dataset_frame, read_reference
from reports.statistics import Estimate
from reports.tables import arms_table, with_reference

V1 = "MTEB(eng, v1)"
E5 = "intfloat__e5-mistral-7b-instruct"


def row_of(folder: Path, store: Path, label: str, *, cosine_ap: bool) -> dict[str, float]:
    write_published(store, read_published(folder, "x", V1, cosine_ap=cosine_ap))
    frame = published_frame(store, "x")
    (run,) = frame.of_arm(label)
    scores = {column.heading: column.score(run) for column in type_columns(frame)}
    assert None not in scores.values()
    return {heading: float(score or 0) for heading, score in scores.items()}


@pytest.mark.data
def test_the_authors_files_give_table_1(data: Path, tmp_path: Path) -> None:
    """66.6; 78.5, 50.3, 88.3 (cosine AP), 60.2, 56.9, 84.6, 31.4 out."""
    row = row_of(data / "published" / E5, tmp_path, "e5-mistral-7b-instruct@authors", cosine_ap=True)

    expected = {"Class.": 78.5, "Clust.": 50.3, "PairClass.": 88.3, "Rerank": 60.2, "Retr.": 56.9, "STS": 84.6, "Summ.": 31.4}
    assert {heading: round(score, 1) for heading, score in row.items()} == expected | {"Avg": 66.6}


@pytest.mark.data
def test_reruns_filled_from_external_give_66_46(data: Path, tmp_path: Path) -> None:
    row = row_of(data / "published", tmp_path, "e5-mistral-7b-instruct@07163b72", cosine_ap=False)

    assert round(row["Avg"], 2) == 66.46
    assert (round(row["PairClass."], 2), round(row["Retr."], 2)) == (88.42, 57.07)


@pytest.mark.data
def test_unfiltered_would_be_65_42_and_cannot_happen(data: Path) -> None:
    """The premise: the same files without filtering give 65.42; the import takes benchmarks only, and filters by them."""
    folder = data / "published" / E5
    means = []
    for selection in catalogue.benchmark(V1):
        path = next(p for p in sorted(folder.glob(f"*/{selection.task}.json")) if p.parent.name != "authors")
        cells = [
            cell["main_score"] for rows in json.loads(path.read_text(encoding="utf-8"))["scores"].values() for cell in rows
        ]
        means.append(sum(cells) / len(cells))

    assert round(100 * sum(means) / 56, 2) == 65.42
    with pytest.raises(ValueError, match="no text benchmark"):
        read_published(folder, "x", "everything")


@pytest.mark.data
def test_every_model_of_the_snapshot_is_complete(data: Path) -> None:
    found = read_published(data / "published", "all", V1)

    assert {model.label: len(model.tasks) for model in found.models} == {
        "bge-large-en-v1.5@d4aa6901": 56, "e5-mistral-7b-instruct@07163b72": 56, "e5-mistral-7b-instruct@authors": 56,
        "all-MiniLM-L6-v2@8b3219a9": 56,
    }  # fmt: skip
    assert found.models[1].filled["MSMARCO"] == "external"


def result(main: object, subset: str = "en", split: str = "test") -> str:
    cell = {"hf_subset": subset, "languages": ["eng-Latn"], "main_score": main, "accuracy": 0.5}
    return json.dumps({"task_name": "t", "mteb_version": None, "dataset_revision": "r", "scores": {split: [cell]}})


def test_a_missing_cell_or_nan_makes_the_task_missing(tmp_path: Path) -> None:
    """Bare NaN is what mteb writes; Python writes it too."""
    selection = next(s for s in catalogue.benchmark(V1) if s.task == "MassiveIntentClassification")
    assert selection.subsets == ("en",)
    path = tmp_path / "MassiveIntentClassification.json"

    path.write_text(result(float("nan")), encoding="utf-8")
    assert "NaN" in path.read_text(encoding="utf-8")
    assert read_result(path, selection) == "test/en has main score nan"
    path.write_text(result(0.5, subset="de"), encoding="utf-8")
    assert read_result(path, selection) == "no test/en"
    path.write_text(result(0.5, split="validation"), encoding="utf-8")
    assert read_result(path, selection) == "no test/en"
    path.write_text("[]", encoding="utf-8")
    with pytest.raises(PublishedError, match="not an MTEB result file"):
        read_result(path, selection)


def test_an_incomplete_model_has_no_average(tmp_path: Path, reports) -> None:
    folder = tmp_path / "results" / "org__m" / "rev"
    folder.mkdir(parents=True)
    (folder / "MassiveIntentClassification.json").write_text(result(0.5), encoding="utf-8")
    code, out, err = reports("import", str(tmp_path / "results"), "--name", "one")
    assert (code, err) == (0, "")
    assert "1 tasks, 55 missing" in out

    code, out, _ = reports("table", "one", "--format", "csv")
    assert code == 0
    assert "Avg (56),,,,,,,0,1/56" in out


def test_an_empty_folder_is_an_error(tmp_path: Path, reports) -> None:
    code, _, err = reports("import", str(tmp_path), "--name", "none")

    assert code == 4
    assert "no result files" in err


def test_table_17_gives_table_1_but_for_one_printed_digit(tmp_path: Path) -> None:
    (digit,) = disagreements(tmp_path)

    assert str(digit) == "full data, PairClass.: the mean is 88.37, so 88.4; printed is 88.3"


def test_the_fourth_mix_is_what_was_derived(tmp_path: Path) -> None:
    """The category means of `w/o synthetic data` are printed nowhere in the paper; derived.T17check has them."""
    frame, derived = per_dataset_frame("paper.T17", tmp_path), read_reference("derived.T17check")
    for mix in derived.columns[2:]:
        (run,) = frame.of_arm(mix)
        by_heading = {column.heading: column.score(run) for column in type_columns(frame)}
        by_heading["ALL"] = by_heading["Avg"]
        for index, row in enumerate(derived.rows):
            assert by_heading[str(row[0])] == pytest.approx(derived.value(index, mix), abs=0.0051)


def test_published_rows_are_tested_over_tasks_and_few_tasks_not_at_all(tmp_path: Path) -> None:
    frame = per_dataset_frame("paper.T17", tmp_path)
    evidence = Evidence(frame)
    found = {c.key: compare_arms(evidence, c, "synthetic only", "full data") for c in type_columns(frame)}

    assert isinstance(found["Retrieval"], Estimate)
    assert found["Retrieval"].about == "tasks"
    assert {key for key, value in found.items() if isinstance(value, Untestable)} == {
        "PairClassification", "Reranking", "Summarization",
    }  # fmt: skip


def test_reference_rows_stand_below_by_heading(tmp_path: Path) -> None:
    frame = per_dataset_frame("paper.T17", tmp_path)
    columns = type_columns(frame)
    table = with_reference(arms_table(frame, columns, "t", None), columns, "paper:T5")

    below = [row for row in table.rows if row.kind == "reference"]
    assert [cell.value for cell in below[-1].cells] == [71.1, 46.5, 79.7, 54.0, 52.7, 73.8, 30.0, 60.3]
    assert below[-1].label == "instruction: w/ task type prefix"
    assert "not compared" in table.footnotes[-1]


def test_every_reference_table_reads_with_source_and_confidence() -> None:
    tables = [read_reference(name) for name in names()]

    assert len(tables) == 44
    for table in tables:
        assert table.source
        assert table.confidence
        assert all(len(row) == len(table.columns) for row in table.rows), table.table
    with pytest.raises(UnknownReferenceError, match=r"paper\.T5"):
        read_reference("paper:T55")


def test_frames_of_rows_have_an_identity(tmp_path: Path) -> None:
    frame = per_dataset_frame("paper.T17", tmp_path)

    assert frame_of("paper.T17", "q", list(frame.runs), tmp_path).sweep.id == frame.sweep.id
