"""An arm that merges other arms: planned out of their steps, scored like one model, refused where nothing can be merged."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from harness.config import ConfigError
from harness.runtime import Runtime
from harness.scores import SCORES_FILE, read_scores
from harness.step import Step
from harness.store import Store
from models.adapter import ADAPTER_CONFIG
from models.merge import MergeSpec
from sweeps import run as sweeps_run
from sweeps.ablation import Ablation, Arm, Merge, named
from sweeps.compose import Composer
from sweeps.merging import plan_again
from sweeps.run import Planned, plan_sweep
from sweeps.status import causes
from sweeps.steps import body_of
from tests.golden.run import HERE, OVERRIDES

CONF = Path(__file__).parents[2] / "conf"
ARMS = {"wide": Arm(("model.adapter.rank=32",), ""), "mean": Arm(("model/pooling=mean",), "")}


def question(merges: dict[str, Merge], arms: dict[str, Arm] = ARMS, **changes: Any) -> Ablation:
    baseline = (*OVERRIDES, "finetune.learning_rate=0.02")
    blank = Ablation("?", baseline, arms, {}, {}, (0,), "mean", (), "task_types", None, "", (), {}, merges)
    return replace(blank, **changes)


def merge(*arms: str, how: Any = "weights", weights: tuple[float, ...] = (0.5, 0.5)) -> Merge:
    return Merge(arms, weights, how, "")


@pytest.fixture
def here(runtime: Runtime, monkeypatch: pytest.MonkeyPatch) -> Runtime:
    """The repository's configuration, and sources of the golden run."""
    monkeypatch.setattr(sweeps_run, "_conf", CONF)
    return replace(runtime, sources=str(HERE / "sources"))


def plans(planned: Planned) -> dict[str, dict[str, Step]]:
    return {name.split(":")[0]: dict(steps) for name, steps, _ in planned.runs}


def test_members_are_inputs_in_their_order_and_other_arms_do_not_move(here: Runtime) -> None:
    merges = {"soup": merge("wide", "baseline"), "pair": merge("mean", "wide", how="vectors")}
    plain, planned = (plans(plan_sweep("q", question(asked), here)) for asked in ({}, merges))
    soup, pair = planned["soup"]["evaluate/QuickSTS"], planned["pair"]["evaluate/QuickSTS"]
    merged = soup.inputs["finetune"]

    assert {arm: planned[arm] for arm in plain} == plain
    assert (merged.name, merged.spec) == ("merge", MergeSpec((0.5, 0.5)))
    assert [merged.inputs[role].key for role in "01"] == [planned[arm]["finetune"].key for arm in ("wide", "baseline")]
    assert soup.inputs["pretrain"].key == plain["baseline"]["pretrain"].key
    assert soup.spec == plain["baseline"]["evaluate/QuickSTS"].spec
    assert {role: step.key for role, step in pair.inputs.items()} == {
        f"{i}.{role}": planned[arm][role].key for i, arm in enumerate(("mean", "wide")) for role in ("pretrain", "finetune")
    }  # fmt: skip
    assert [part.pooling.kind for part in pair.spec.encoder.parts] == ["mean", "last_token"]
    for steps in planned.values():
        seen: set[str] = set()
        for step in steps.values():
            assert all(source.key in seen for source in step.inputs.values()), "inputs stand first"
            seen.add(step.key)


def test_a_worker_plans_the_same_again(here: Runtime) -> None:
    merges = {"soup": merge("wide", "baseline"), "pair": merge("mean", "wide", how="vectors")}
    for _, steps, config in plan_sweep("q", question(merges, seeds=(0, 1)), here).runs:
        again = plan_again(json.loads(json.dumps(config)), here)
        assert {label: step.key for label, step in again.items()} == {label: step.key for label, step in steps.items()}


def test_a_record_tells_what_was_merged_and_a_failed_member_blocks_it(here: Runtime) -> None:
    record = plan_sweep("q", question({"soup": merge("wide", "baseline", weights=(0.25, 0.75))}), here).record
    run = record.run("soup", 0)
    mixed, tuned = run.steps["baseline:mix"].key, run.steps["baseline:finetune"].key

    assert record.arms[-1].description == "weights merged: 0.25 wide + 0.75 baseline"
    assert list(run.evaluations) == ["QuickSTS"]
    assert causes(run, {mixed: "failed"})["evaluate/QuickSTS"] == mixed
    assert causes(run, {tuned: "failed"}) == {"merge": tuned, "evaluate/QuickSTS": tuned}


def test_naming_a_merge_brings_its_members_along() -> None:
    found = question({"soup": merge("wide", "baseline"), "pair": merge("mean", "wide")}, family=("soup", "mean")).only(["soup"])

    assert (list(found.arms), list(found.merges), found.family) == (["wide"], ["soup"], ("soup",))


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (merge("wyde", "mean"), r"sweep.merges.soup.arms: 'wyde' is no arm \(did you mean 'wide'\?\)"),
        (merge("wide", "mean", weights=(0.5, 0.6)), "sweep.merges.soup.weights: have to be one for each arm, and one in sum"),
        (merge("wide", "mean", weights=(1.0,)), "sweep.merges.soup.weights: have to be one for each arm"),
    ],
)
def test_a_merge_that_is_badly_written_is_refused(bad: Merge, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        question({"soup": bad})
    with pytest.raises(ConfigError, match=r"sweep.merges.wide: is the name of another arm"):
        question({"wide": merge("wide", "mean")})


@pytest.mark.parametrize(
    ("overrides", "how", "message"),
    [
        (["model/pooling=mean"], "weights", "differ in model.pooling; only the weights of models that encode alike"),
        (["model.unnormalized=[STS]"], "weights", "differ in model.normalize"),
        (["model/adapter=none"], "weights", "differ in model.adapter.kind"),
        (["pretrain.seed=7"], "weights", "differ in pretrain, on which the adapters lie"),
        (["pretrain=none", "finetune=none"], "weights", "other' trains nothing, it has no weights of its own"),
        (["model/instruction=none"], "vectors", r"are judged on other tasks, or with other instructions \(eval, model"),
        (["eval.tasks=[QuickBitext]"], "vectors", "are judged on other tasks"),
    ],
)  # fmt: skip
def test_members_that_do_not_fit_are_refused_before_anything_is_built(
    overrides: list[str], how: str, message: str, here: Runtime
) -> None:
    whole = tuple(text for text in OVERRIDES if not text.startswith(("pretrain.", "finetune.")))  # which `none` has not
    asked = question({"soup": merge("baseline", "other", how=how)}, {"other": Arm(tuple(overrides), "")}, baseline=whole)
    with pytest.raises(ConfigError, match=rf"sweep.merges.soup.arms: '.*{message}"):
        plan_sweep("q", asked, here)


def test_what_yaml_says_is_what_is_merged() -> None:
    data = Composer(CONF).compose(["sweep=quickstart"])["sweep"]
    written = {"soup": {"arms": ["lora_4", "lora_64"], "weights": [0.5, 0.5], "how": "weights", "description": "two ranks"}}
    found = named({**data, "merges": written}, [])

    assert found.merges == {"soup": Merge(("lora_4", "lora_64"), (0.5, 0.5), "weights", "two ranks")}
    with pytest.raises(ConfigError, match=r"sweep.merges.soup.how"):
        named({**data, "merges": {"soup": written["soup"] | {"how": "both"}}}, [])


def test_a_run_merged_with_itself_has_its_own_scores(here: Runtime) -> None:
    """By weights and by vectors; two ranks together are neither of the two."""
    merges = {"same": merge("baseline", "baseline"), "twice": merge("baseline", "baseline", how="vectors"),
              "soup": merge("baseline", "wide")}  # fmt: skip
    planned = plan_sweep("q", question(merges, {"wide": ARMS["wide"]}), replace(here, embeddings=0.1))
    scores = {}
    for name, steps in plans(planned).items():
        for step in steps.values():
            planned.store.realize(step, body_of(step), planned.runtime)
        scores[name] = main_score(planned.store, steps["evaluate/QuickSTS"])
    config = json.loads((planned.store.payload(plans(planned)["soup"]["merge"]) / ADAPTER_CONFIG).read_text())

    assert scores["same"] == pytest.approx(scores["baseline"], abs=1e-5)
    assert scores["twice"] == pytest.approx(scores["baseline"], abs=1e-5)
    assert scores["wide"] != pytest.approx(scores["baseline"], abs=1e-3), "premise: ranks differ"
    assert config["r"] == 16 + 32
    spent = planned.store.record(plans(planned)["twice"]["evaluate/QuickSTS"])
    assert spent.inputs.keys() == {"0.pretrain", "0.finetune", "1.pretrain", "1.finetune"}


def main_score(store: Store, step: Step) -> float:
    return read_scores(store.payload(step) / SCORES_FILE).subsets[0].main
