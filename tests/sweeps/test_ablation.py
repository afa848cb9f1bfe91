"""Ablations as data: every shipped one composes, decodes and changes something; grids expand as written."""

from pathlib import Path

import pytest

from harness.config import ConfigError
from sweeps.ablation import BASELINE, Ablation, Arm, grid, named
from sweeps.compose import Composer


def ablation(**changes: object) -> Ablation:
    arms = {"a": Arm(("seed=2",), "")}
    fields = {
        "question": "?", "baseline": ("seed=1",), "arms": arms, "grid": {}, "pairs": {}, "seeds": (0,), "primary": "mean",
        "family": ("a",), "table": "task_types", "reference": None, "conditional": "", "chosen_on": (), "assumed": {},
    }  # fmt: skip
    return Ablation(**(fields | changes))  # type: ignore[arg-type]


def test_trap_41_the_jobs_of_a_grid_are_these() -> None:
    name, found = grid(["model.adapter.rank=4,8", "model/pooling=mean,cls", "seed=0,1", "data=mixed"])

    assert found.overrides() == {
        BASELINE: ("data=mixed", "model.adapter.rank=4", "model/pooling=mean"),
        "rank=4_model_pooling=cls": ("data=mixed", "model.adapter.rank=4", "model/pooling=cls"),
        "rank=8_model_pooling=mean": ("data=mixed", "model.adapter.rank=8", "model/pooling=mean"),
        "rank=8_model_pooling=cls": ("data=mixed", "model.adapter.rank=8", "model/pooling=cls"),
    }
    assert found.seeds == (0, 1)
    assert name == grid(["data=mixed", "model/pooling=mean,cls", "model.adapter.rank=4,8", "seed=0,1"])[0]
    assert name != grid(["model.adapter.rank=4,16", "model/pooling=mean,cls", "seed=0,1", "data=mixed"])[0]


def test_ranges_are_hydras() -> None:
    assert list(grid(["model.adapter.rank=range(2,8,2)"])[1].arms) == ["rank=4", "rank=6"]


def test_a_grid_without_values_is_an_error() -> None:
    with pytest.raises(ConfigError, match="nothing is swept"):
        grid(["seed=1"])


def test_names_that_are_no_arms_are_named() -> None:
    with pytest.raises(ConfigError, match="'b' is no arm"):
        ablation(family=("b",))
    with pytest.raises(ConfigError, match=r"'aa' is no arm \(did you mean 'a'\?\)"):
        ablation().only(["aa"])
    with pytest.raises(ConfigError, match="names a seed twice"):
        ablation(seeds=(0, 0))


def test_overrides_of_the_command_line_lie_under_every_arm() -> None:
    data = {**vars(ablation()), "arms": {"a": {"overrides": ["model=minilm"], "description": ""}}}
    found = named({**data, "baseline": ["data=mixed"]}, ["data=english_only", "seed=3"])

    assert found.overrides() == {
        BASELINE: ("data=english_only", "seed=3"), "a": ("data=english_only", "seed=3", "model=minilm"),
    }  # fmt: skip


def test_grids_and_pairs_are_arms_too() -> None:
    found = ablation(
        grid={"model.adapter.rank": ("4", "8"), "data": ("mixed",)}, pairs={"finetune.steps": ("10", "20"), "seed": ("3", "4")}
    )

    assert {name: arm.overrides for name, arm in found.expanded().items()} == {
        "a": ("seed=2",),
        "rank=4_data=mixed": ("model.adapter.rank=4", "data=mixed"),
        "rank=8_data=mixed": ("model.adapter.rank=8", "data=mixed"),
        "steps=10_seed=3": ("finetune.steps=10", "seed=3"),
        "steps=20_seed=4": ("finetune.steps=20", "seed=4"),
    }
    assert list(found.only(["steps=10_seed=3"]).overrides()) == [BASELINE, "steps=10_seed=3"]
    with pytest.raises(ConfigError, match="as many values as the others"):
        ablation(pairs={"finetune.steps": ("10", "20"), "seed": ("3",)})


def test_only_keeps_the_baseline_and_trims_the_family() -> None:
    two = ablation(arms={"a": Arm(("seed=2",), ""), "b": Arm(("seed=3",), "")}, family=("a", "b")).only(["b"])

    assert list(two.overrides()) == [BASELINE, "b"]
    assert two.family == ("b",)


def test_the_quickstart_has_its_arms(conf: Path) -> None:
    found = named(Composer(conf).compose(["sweep=quickstart"])["sweep"], [])

    assert len(found.arms) == 10
    assert found.seeds == (0, 1)
    assert set(found.family) == set(found.arms)
