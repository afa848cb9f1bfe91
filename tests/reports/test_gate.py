"""The gate: five exit codes on committed runs, what it refuses, and how often it errs."""

from __future__ import annotations

import json
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from harness.config import ConfigError, decode
from harness.record import read_record, write_record
from harness.scores import SubsetScore, TaskScores
from reports.baselines import BaselineError, baseline_frame, baselines, set_baseline
from reports.effects import Untestable
from reports.gate import CONF, Policy, gate, judge, read_policy
from reports.gate_output import github, junit, summary
from reports.gate_power import power_against
from reports.load import load
from reports.statistics import Estimate

ROOT = Path(__file__).parents[2]
RUNS = Path(__file__).parent / "runs"
LINES = [line.split(" ", 1) for line in (RUNS / "lines.txt").read_text(encoding="utf-8").splitlines()]


def candidate(name: str) -> str:
    return str(RUNS / name / "sweeps" / "gate" / "0123abcd")


@pytest.mark.parametrize(("code", "line"), LINES)
def test_exit_codes_of_committed_runs(code: str, line: str) -> None:
    """Five folders, five shell lines, every exit code."""
    assert {code for code, _ in LINES} == set("01234")
    done = subprocess.run(  # noqa: S602 - our own committed lines, as a shell runs them
        line.replace("python", sys.executable, 1), shell=True, cwd=ROOT, capture_output=True, text=True, check=False
    )  # fmt: skip

    assert done.returncode == int(code), done.stdout + done.stderr


def test_outputs_are_written_and_readable(tmp_path: Path, reports, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    files = [f"--{form}={tmp_path / form}" for form in ("junit", "summary", "json")]
    code, out, _ = reports(
        "gate", "--baselines", str(RUNS), "--baseline", "reference", "--candidate", candidate("worse"), *files
    )

    assert code == 1
    assert "::error title=Gate regression::worse than the margin: mean over tasks" in out
    suite = ET.parse(tmp_path / "junit").getroot().find("testsuite")  # noqa: S314 - written by the line above
    assert suite is not None
    assert (suite.get("tests"), suite.get("failures"), suite.get("errors")) == ("3", "1", "0")
    assert [case.get("name") for case in suite] == ["mean over tasks", "TaskA", "TaskB"]
    data = json.loads((tmp_path / "json").read_text(encoding="utf-8"))
    assert (data["verdict"], data["code"]) == ("regression", 1)
    assert data["judged"][0]["delta"] == pytest.approx(-2.95, abs=0.3)
    assert "### Gate: regression" in (tmp_path / "summary").read_text(encoding="utf-8")


def frames(name: str) -> tuple:
    (frame,) = load(RUNS, [candidate(name)], with_baseline=False)
    return baseline_frame(RUNS / "reference"), frame


def test_every_difference_is_named() -> None:
    verdict = gate(*frames("other_length"), read_policy("default"))

    assert verdict.reasons == tuple(f"{task}: encoder.max_length is 256, baseline 512" for task in ("TaskA", "TaskB"))


def pair(builder, change) -> tuple:
    """The rich store as baseline, and a changed second arm as candidate."""
    builder.write()
    set_baseline(builder.store, "quick:base", "b", builder.store.parent / "baselines")
    change(builder)
    builder.write()
    (frame,) = load(builder.store, ["quick:rank_4"], with_baseline=False)
    return baseline_frame(builder.store.parent / "baselines" / "b"), frame


def test_a_missing_task_is_not_comparable(rich) -> None:
    def drop(builder) -> None:
        key = ("rank_4", 1, "QuickSTS")
        del builder.scores[key]
        builder.unfinished.add(key)
        step = next(r for r in builder.write().runs if (r.arm, r.seed) == ("rank_4", 1)).evaluations["QuickSTS"]
        (builder.store / step.step / step.fingerprint / "record.json").unlink()

    verdict = gate(*pair(rich, drop), read_policy("default"))
    assert verdict.code == 3
    assert verdict.reasons == ("incomplete: rank_4 seed 1 lacks QuickSTS (not built yet)",)


def change_scores(builder, **changes: object) -> None:
    key = ("rank_4", 0, "QuickRetrieval")
    scores = builder.scores[key]
    cell = scores.subsets[0]
    fields = {
        "split": cell.split,
        "subset": cell.subset,
        "languages": cell.languages,
        "main": cell.main,
        "metrics": {},
        "n_items": 120,
    }
    top = {"dataset_revision": scores.dataset_revision, "mteb_version": scores.mteb_version}
    fields |= {name: value for name, value in changes.items() if name in fields}
    top |= {name: value for name, value in changes.items() if name in top}
    builder.scores[key] = TaskScores(
        scores.task,
        scores.task_type,
        scores.main_metric,
        top["mteb_version"],
        top["dataset_revision"],
        (SubsetScore(**fields),),
    )


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"n_items": 119}, "test/default has 119 items, baseline 120"),
        ({"dataset_revision": "r2"}, "dataset revision r2, baseline r1"),
        ({"mteb_version": "2.27.0"}, "mteb version 2.27.0, baseline 2.26.24"),
        ({"split": "dev"}, "split/subset dev/default is only in the candidate"),
    ],
)
def test_other_data_is_not_comparable(rich, changes: dict, says: str) -> None:
    verdict = gate(*pair(rich, lambda builder: change_scores(builder, **changes)), read_policy("default"))

    assert verdict.code == 3
    assert any(says in reason for reason in verdict.reasons), verdict.reasons


def test_other_hardware_is_not_comparable_where_policy_says(rich) -> None:
    both = pair(rich, lambda builder: builder.hardware.update(rank_4="cpu B"))
    strict = read_policy("default")

    assert gate(*both, strict).reasons == ("hardware cpu B, baseline cpu A",)
    assert gate(*both, decode(Policy, {**vars(strict), "comparable": [], "same_hardware": False})).code != 3


def test_trap_28_equal_scores_of_other_weights_are_a_fault(rich) -> None:
    """Every score of the candidate equals the baseline's, its weights do not: somebody answered from a cache."""

    def copy(builder) -> None:
        for (arm, seed, task), scores in list(builder.scores.items()):
            if arm == "base":
                builder.put("rank_4", seed, scores, builder.items[arm, seed, task])

    verdict = gate(*pair(rich, copy), read_policy("default"))
    assert verdict.code == 1
    assert verdict.summary.startswith("suspected cache fault: seed 0 has other weights")
    failure = ET.fromstring(junit(verdict)).find(".//failure")  # noqa: S314 - our own
    assert failure is not None


def test_nan_and_torn_scores_exit_with_3(rich, reports, tmp_path: Path) -> None:
    sweep = rich.write()
    set_baseline(rich.store, "quick:base", "b", tmp_path / "baselines")
    step = sweep.run("rank_4", 0).evaluations["QuickSTS"]
    path = rich.store / step.step / step.fingerprint
    text = (path / "payload" / "scores.json").read_text(encoding="utf-8")
    (path / "payload" / "scores.json").write_text(text.replace('"main": 0.', '"main": NaN, "x": 0.'), encoding="utf-8")
    code, out, _ = reports("gate", "--baselines", str(tmp_path / "baselines"), "--baseline", "b", "--candidate", "quick:rank_4")

    assert code == 3
    assert "a measurement cannot be read" in out


def test_baselines_are_immutable_and_checked(rich, tmp_path: Path, reports) -> None:
    rich.write()
    root = tmp_path / "baselines"
    assert reports("baseline", "set", "v1", "quick:base", "--baselines", str(root))[0] == 0
    assert baselines(root) == ["v1"]
    code, _, err = reports("baseline", "set", "v1", "quick:rank_4", "--baselines", str(root))
    assert (code, "immutable" in err) == (4, True)
    assert "QuickRetrieval" in reports("baseline", "show", "v1", "--baselines", str(root))[1]

    record = next((root / "v1").glob("evaluate/*/record.json"))
    write_record(record, read_record(record))  # the same bytes: still fine
    assert baseline_frame(root / "v1").arm_names == ("base",)
    record.write_text(record.read_text(encoding="utf-8") + " ", encoding="utf-8")
    with pytest.raises(BaselineError, match="changed since it was set"):
        baseline_frame(root / "v1")


def test_an_incomplete_run_is_no_baseline(rich, tmp_path: Path) -> None:
    key = ("base", 0, "QuickSTS")
    del rich.scores[key]
    rich.unfinished.add(key)
    rich.write()
    with pytest.raises(BaselineError, match="QuickSTS"):
        set_baseline(rich.store, "quick:base", "b", tmp_path)
    assert list(tmp_path.glob("b*")) == []


def estimate_of(delta: float, error: float, freedom: float = 100.0) -> Estimate:
    return Estimate(delta, error, freedom, 0.95, 0.5, "seeds and items", 0.5, freedom)


@pytest.mark.parametrize(
    ("delta", "error", "seeds", "code"),
    [
        (0.0, 0.2, 3, 0),
        (-3.0, 0.2, 3, 1),
        (-0.9, 0.2, 3, 2),
        (0.0, 0.6, 3, 2),
        (2.0, 0.6, 3, 2),
        (0.0, 0.2, 1, 2),
        (-9.0, 2.0, 3, 1),
    ],
)
def test_decisions_of_the_mean(delta: float, error: float, seeds: int, code: int) -> None:
    """Pass, regression, neither shown, power below 80 % (also when the estimate is good), too few seeds."""
    assert judge(estimate_of(delta, error), {}, seeds, read_policy("default")).code == code


def test_harm_on_one_task_fails_and_untestable_tasks_leave_it_open() -> None:
    policy, fine = read_policy("default"), estimate_of(0.0, 0.2)

    assert judge(fine, {"a": estimate_of(-8.0, 1.0), "b": fine}, 3, policy).code == 1
    assert judge(fine, {"a": estimate_of(-4.0, 1.0), "b": fine}, 3, policy).code == 0
    assert judge(fine, {"a": Untestable("no items")}, 3, policy).code == 2
    assert judge(fine, {"a": Untestable("no variation", 0.0)}, 3, policy).code == 0
    assert judge(estimate_of(9.0, 0.2), {}, 3, policy).notices


def test_power_has_the_range_that_few_seeds_leave() -> None:
    """Wide for two degrees of freedom, narrow for two hundred, and the chance between its ends."""
    few = power_against(Estimate(0.0, 0.3, 2.5, 0.95, 0.5, "seeds and items", 0.9, 2.0), 1.0, 0.05)
    many = power_against(Estimate(0.0, 0.3, 205.0, 0.95, 0.5, "seeds and items", 0.9, 200.0), 1.0, 0.05)
    items = power_against(Estimate(0.0, 0.3, 300.0, 0.95, 0.5, "this checkpoint"), 1.0, 0.05)

    assert few.low < 0.2 < few.chance < 0.9 < few.high
    for narrow in (many, items):
        assert narrow.low < narrow.chance < narrow.high < narrow.low + 0.15


def test_every_policy_decodes_and_bad_ones_are_named(tmp_path: Path) -> None:
    found = sorted(path.stem for path in CONF.glob("*.yaml"))
    assert found == ["checkpoint", "default"]
    for name in found:
        assert read_policy(name).margin > 0
    bad = tmp_path / "bad.yaml"
    bad.write_text("margin: -1\nnonsense: 2\n", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"(?s)margin.*nonsense"):
        read_policy(str(bad))
    with pytest.raises(ConfigError, match="default"):
        read_policy("nosuch")


def test_hostile_reasons_cannot_command_github() -> None:
    verdict = judge(Untestable("x\n::set-output name=a::b % <script>"), {}, 3, read_policy("default"))

    assert all(line.startswith("::warning") for line in github(verdict).splitlines())
    assert "%25" in github(verdict)
    assert "<script>" not in summary(verdict, "b|c", "[x](y)")
    ET.fromstring(junit(verdict))  # noqa: S314 - our own; raises if it is not well formed
