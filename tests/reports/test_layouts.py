"""The paper's tables as layouts: languages, bitext, groups, with and without; compare, types and power on known stores."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from harness.config import ConfigError
from harness.scores import SubsetScore, TaskScores
from reports.effects import Evidence
from reports.layouts import LAYOUTS, columns_of
from reports.load import load
from reports.power import Noise, power_of
from reports.tables import sweep_tables

LANGUAGES = {"en": "eng", "te": "tel", "fr": "fra", "sw": "swa", "ar": "ara"}


def miracl(shift: float) -> TaskScores:
    """A multilingual retrieval task; nDCG@10 of language i is 0.5 + i / 100 + shift, Recall@100 0.3 above it."""
    cells = []
    for index, (subset, code) in enumerate(LANGUAGES.items()):
        main = 0.5 + index / 100 + shift
        cells.append(
            SubsetScore("dev", subset, (f"{code}-Latn",), main, {"ndcg_at_10": main, "recall_at_100": main + 0.3}, 200)
        )
    return TaskScores("MIRACLRetrievalHardNegatives.v2", "Retrieval", "ndcg_at_10", "2.26.24", "r1", tuple(cells))


def bitext(task: str, main: float) -> TaskScores:
    cells = (SubsetScore("test", "deu-eng", ("deu-Latn", "eng-Latn"), main, {"f1": main}, 100),)
    return TaskScores(task, "BitextMining", "f1", "2.26.24", "r1", cells)


@pytest.fixture
def multilingual(builder):
    for arm, shift in (("base", 0.0), ("english_only", -0.1)):
        for seed in (0, 1):
            builder.put(arm, seed, miracl(shift + seed / 1000))
            builder.put(arm, seed, bitext("Tatoeba", 0.7 + shift))
            builder.put(arm, seed, bitext("BUCC.v2", 0.9 + shift))
    builder.write()
    return builder


def table(builder, layout: str):
    (frame,) = load(builder.store, ["quick"], with_baseline=True)
    return sweep_tables(frame, Evidence(frame), layout=layout)[0]


def test_table_2_means_high_and_low_resource_languages(multilingual) -> None:
    """En 50.05, fr 52.05 (mean 51.05); sw 53.05, te 51.05 (mean 52.05); ar belongs to neither."""
    found = table(multilingual, "T2")

    expected = {"en (1)": 50.05, "fr (1)": 52.05, "high-resource avg (2)": 51.05, "te (1)": 51.05, "sw (1)": 53.05}
    values = {column: cell.value for column, cell in zip(found.columns, found.rows[0].cells, strict=True)}
    assert {column: values[column] for column in expected} == pytest.approx(expected)
    assert values["low-resource avg (2)"] == pytest.approx(52.05)
    assert "ar (1)" not in values


def test_table_6_has_both_metrics_and_their_means(multilingual) -> None:
    found = table(multilingual, "T6")

    values = {column: cell.value for column, cell in zip(found.columns, found.rows[0].cells, strict=True)}
    assert values["Avg nDCG@10 (5)"] == pytest.approx(52.05)
    assert values["Avg R@100 (5)"] == pytest.approx(82.05)
    assert values["ar R@100 (1)"] == pytest.approx(84.05)
    assert len(found.columns) == 13  # with the primary


def test_table_4_is_one_column_per_bitext_task(multilingual) -> None:
    found = table(multilingual, "T4")

    values = dict(zip(found.columns, found.rows[1].cells, strict=True))
    assert values["Tatoeba (1)"].value == pytest.approx(60.0)
    assert values["BUCC 2018 (1)"].value == pytest.approx(80.0)


def test_table_17_has_every_task(small) -> None:
    small.write()
    found = table(small, "T17")

    assert set(found.columns) >= {"QuickBitext (1)", "QuickRetrieval (1)", "QuickSTS (1)", "SciFact (1)"}


def test_table_5_groups_arms_by_what_they_change(rich) -> None:
    from dataclasses import replace

    sweep = rich.write()
    overrides = {
        "rank_4": ("model.adapter.rank=4",),
        "rank_64": ("model.adapter.rank=64",),
        "mean_pooling": ("model/pooling=mean",),
    }
    arms = tuple(replace(arm, overrides=overrides.get(arm.name, ())) for arm in sweep.arms)
    (frame,) = load(rich.store, ["quick"], with_baseline=True)
    frame = replace(frame, sweep=replace(sweep, arms=arms))
    found = sweep_tables(frame, Evidence(frame), layout="T5")[0]

    assert (found.rows[0].group, found.rows[0].label) == ("", "base")
    groups = [row.group for row in found.rows]
    assert groups.count("model.adapter.rank") == 2
    assert groups == sorted(groups, key=groups.index), "rows of a group stand together"


def test_table_7_pairs_without_and_with(rich) -> None:
    from dataclasses import replace

    sweep = rich.write()
    overrides = {"rank_4": ("pretrain=none",), "rank_64": ("model=xlmr",), "english": ("model=xlmr", "pretrain=none")}
    arms = tuple(
        replace(arm, overrides=overrides.get(arm.name, ("other=1",) if arm.name != "base" else ())) for arm in sweep.arms
    )
    (frame,) = load(rich.store, ["quick"], with_baseline=True)
    frame = replace(frame, sweep=replace(sweep, arms=arms))
    found = sweep_tables(frame, Evidence(frame), layout="T7")[0]

    assert [row.label for row in found.rows] == ["rank_4", "base", "english", "rank_64"]
    without, with_ = found.rows[0].cells[-1].value, found.rows[1].cells[-1].value
    assert without is not None
    assert with_ is not None
    assert found.rows[1].effects[-1].delta == pytest.approx(with_ - without)
    assert found.rows[1].effects[-1].half is not None


def test_a_layout_without_scores_or_a_wrong_name_says_so(small) -> None:
    small.write()
    (frame,) = load(small.store, ["quick"], with_baseline=True)

    assert {"task_types", "T1", "T2", "T4", "T5", "T6", "T7", "T17"} <= set(LAYOUTS)
    with pytest.raises(ConfigError, match="did you mean 'task_types'"):
        columns_of(frame, "task_type")
    only = load(small.store, ["quick"], with_baseline=True)[0]
    for run in only.runs:
        run.tasks.pop("QuickBitext")
    with pytest.raises(ConfigError, match="no scores for layout 'T4'"):
        columns_of(only, "T4")


def test_compare_shows_only_what_differs(rich, reports) -> None:
    for (arm, seed, task), _ in list(rich.scores.items()):
        pooling = "mean" if arm == "mean_pooling" else "last_token"
        rich.specs[arm, seed, task] = {"encoder": {"pooling": {"kind": pooling}, "max_length": 512}, "task": {"name": task}}
    rich.write()
    code, out, _ = reports("compare", "quick:base", "quick:mean_pooling")

    assert code == 0
    assert "evaluate: encoder.pooling.kind" in out
    assert "max_length" not in out
    assert "Seconds by step" in out
    moved = [line for line in out.splitlines() if "default/" in line]
    assert len(moved) == 20


def test_compare_with_itself_is_refused(rich, reports) -> None:
    rich.write()
    assert reports("compare", "quick:base", "quick:base")[0] == 4


def test_items_come_with_their_texts(rich, reports) -> None:
    """QuickSTS and QuickClassification ship with us, so the moved items have words."""
    rich.write()
    _, out, _ = reports("compare", "quick:base", "quick:no_instruction", "--format", "md")

    assert "| Quick" in out
    assert out.count("not on this machine") < 20


def test_types_says_what_cannot_be_tested(reports) -> None:
    code, out, _ = reports("types", "reference:paper.T17:full data", "reference:paper.T17:synthetic only", "--format", "md")

    assert code == 0
    lines = {line.split("|")[1].strip(): line for line in out.splitlines() if line.startswith("|")}
    assert "differs" in lines["Retr. (15)"]
    assert "differs" in lines["STS (10)"]
    assert "not shown to differ" in lines["Class. (12)"]
    assert "not shown to differ" in lines["Clust. (11)"]
    assert all("not testable" in lines[name] for name in ("PairClass. (3)", "Rerank (4)", "Summ. (1)"))


def test_power_is_that_of_a_simulated_t_test() -> None:
    """Four arms, three seeds, seed variance 2, item variance 0.1: simulated and computed power agree."""
    noise, effect, seeds = Noise(2.0, 0.1, 4), 2.5, 3
    rng = np.random.default_rng(8)
    scores = rng.normal(0, 1.0, (20000, 4, seeds))
    scores[:, 1] += effect + rng.normal(0, np.sqrt(0.1), 20000)[:, None]
    residual = scores - scores.mean(2, keepdims=True) - scores.mean(1, keepdims=True) + scores.mean((1, 2), keepdims=True)
    seed_part = 2 * (residual**2).sum((1, 2)) / 6 / seeds
    variance = seed_part + 0.1
    from scipy import stats

    freedom = 6 * (variance / seed_part) ** 2
    t = (scores[:, 1].mean(1) - scores[:, 0].mean(1)) / np.sqrt(variance)
    simulated = float(np.mean(t > stats.t.ppf(0.975, freedom)))

    assert power_of(noise, effect, seeds, 1) == pytest.approx(simulated, abs=0.02)


def test_power_command_prints_the_least_design(rich, reports) -> None:
    rich.write()
    code, out, _ = reports("power", "quick", "--effect", "5")

    assert code == 0
    assert "Least work for 80 %" in out


def test_compare_pools_seed_noise_over_the_whole_sweep(rich, reports) -> None:
    """Two arms of a sweep have the interval that the sweep's own table gives them, not one of a single degree of freedom."""
    rich.write()
    (row,) = (row for row in table(rich, "task_types").rows if row.label == "no_instruction")
    _, out, _ = reports("compare", "quick:base", "quick:no_instruction", "--format", "md")

    half = row.effects[-1].half
    assert half is not None
    assert f"±{half:.1f} |" in out
    assert reports("compare", "reference:paper.T17:full data", "reference:paper.T17:synthetic only")[0] == 0


def test_figure_5_has_a_column_a_length_and_what_was_published_below(builder) -> None:
    """In the order of the suite, not of the alphabet; LongEmbed's authors print 96 and 100 for the released model."""
    for arm, shift in (("base", 0.0), ("window", -0.5)):
        for length, main in ((256, 0.9), (4096, 0.7)):
            cell = SubsetScore("test", "default", ("eng-Latn",), main + shift, {"ndcg_at_1": main + shift}, 50)
            builder.put(arm, 0, TaskScores(f"Passkey{length}", "Retrieval", "ndcg_at_1", "2.26.24", "made", (cell,)))
    builder.write()
    (frame,) = load(builder.store, ["quick"], with_baseline=True)
    found = sweep_tables(frame, Evidence(frame), layout="Fig5", reference="longembed:perlength")[0]
    rows = {row.label: [cell.value for cell in row.cells] for row in found.rows}

    assert found.columns[:2] == ("256 (1)", "4096 (1)")
    assert rows["base"][:2] == pytest.approx([90.0, 70.0])
    assert rows["window"][:2] == pytest.approx([40.0, 20.0])
    assert rows["Passkey: default (4k window, theta 1e4)"][:2] == [96.0, 100.0]


@pytest.mark.parametrize("form", ["term", "md", "tex", "html"])
def test_the_answer_to_the_question_is_said_once(rich, reports, form: str, tmp_path: Path) -> None:
    rich.write()
    said = "from base on mean after correction"
    code, out, _ = reports("table", "quick", "--format", form)

    assert code == 0
    assert " ".join(out.split()).count(said) == (0 if form == "html" else 1)
    reports("html", "quick", "--out", str(tmp_path / "pages"))
    page = (tmp_path / "pages" / "quick.html").read_text()
    assert page.count(said) == 1
