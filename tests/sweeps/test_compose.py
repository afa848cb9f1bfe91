"""Overrides: all problems at once, before Hydra sees them; what Hydra would drop or invent silently is refused."""

from pathlib import Path

import pytest
from hydra import compose
from omegaconf import OmegaConf

from harness.config import ConfigError
from sweeps.ablation import named
from sweeps.compose import Composer, composing, layered


def messages(conf: Path, *overrides: str, sweeps: bool = False) -> dict[str, str]:
    return {problem.path: problem.message for problem in Composer(conf).check(overrides, sweeps=sweeps)}


def test_all_problems_at_once_with_the_nearest_right_name(conf: Path) -> None:
    found = messages(conf, "model.adapter.rnk=4", "model/pooling=men", "modle=tiny", "finetune.stps=3", "seed=1")

    assert set(found) == {"model.adapter.rnk", "model/pooling", "modle", "finetune.stps"}
    assert "model.adapter.rank" in found["model.adapter.rnk"]
    assert "'mean'" in found["model/pooling"]
    assert "'model'" in found["modle"]


@pytest.mark.parametrize(
    ("override", "reason"),
    [
        ("+model.adapter.extra=1", "neither added nor removed"),
        ("~seed", "neither added nor removed"),
        ("model={max_length: 3}", "merged over the group silently"),
        ("model.adapter.rank=4,8", "add -m"),
        ("model.pooling=mean", "choose model/pooling="),
        ("model.adapter.rank.deeper=1", "has no keys"),
        ("model.adapter.rank=[", "is not an override"),
    ],
)
def test_trap_41_what_hydra_would_do_silently_is_refused(conf: Path, override: str, reason: str) -> None:
    (message,) = messages(conf, override).values()

    assert reason in message


def test_trap_41_a_key_given_twice_is_refused(conf: Path) -> None:
    assert "given twice" in messages(conf, "seed=1", "seed=2")["seed"]
    assert "given twice" in messages(conf, "seed=0,1", "seed=2,3", sweeps=True)["seed"]


@pytest.mark.parametrize("override", ["hydra.job.name=a,b", "runtime.workers=1,2", "preview=true,false"])
def test_how_to_run_cannot_be_swept(conf: Path, override: str) -> None:
    assert "cannot be swept" in next(iter(messages(conf, override, sweeps=True).values()))


def test_good_overrides_have_no_problems(conf: Path) -> None:
    assert messages(conf, "model=minilm", "pretrain=none", "finetune=none", "eval=local", "eval.tasks=[STS12]", "seed=3") == {}
    assert messages(conf, "model.adapter.rank=4,8,16", "model/pooling=mean,cls", sweeps=True) == {}


def test_keys_are_held_against_the_chosen_groups(conf: Path) -> None:
    assert messages(conf, "pretrain.train.steps=3") == {}
    assert "pretrain.train.steps" in messages(conf, "pretrain=none", "pretrain.train.steps=3")


def test_an_arm_takes_the_place_of_the_same_key_below() -> None:
    assert layered(("seed=0", "data=mixed"), ("data=synthetic_only",)) == ("seed=0", "data=synthetic_only")


@pytest.mark.parametrize("backbone", ["tiny", "minilm", "e5_mistral", "xlmr_large", "qwen3_06b"])
@pytest.mark.parametrize("pooling", ["last_token", "mean", "weighted_mean", "cls"])
def test_every_backbone_takes_every_pooling(conf: Path, backbone: str, pooling: str) -> None:
    model = Composer(conf).compose([f"model={backbone}", f"model/pooling={pooling}"])["model"]

    assert model["pooling"]["kind"] == pooling


def test_minilm_brings_its_own_habits(conf: Path) -> None:
    model = Composer(conf).compose(["model=minilm"])["model"]

    assert (model["pooling"]["kind"], model["max_length"], model["instruction"]["kind"]) == ("mean", 256, "none")


def test_compositions_are_kept_until_conf_changes(conf: Path, tmp_path: Path) -> None:
    copied = tmp_path / "conf"
    copied.mkdir()
    (copied / "run.yaml").write_text("seed: 0\n")
    composer = Composer(copied, tmp_path / "kept")
    first = composer.compose(["seed=3"])
    (kept,) = (tmp_path / "kept").iterdir()
    kept.write_text(kept.read_text().replace("3", "4"))

    assert first == {"seed": 3}
    assert composer.compose(["seed=3"]) == {"seed": 4}, "premise: the kept composition is what is read"
    assert Composer(conf, tmp_path / "kept").compose(["seed=3"])["seed"] == 3


def test_hydras_own_complaint_becomes_a_problem(conf: Path) -> None:
    with pytest.raises(ConfigError):
        Composer(conf).compose(["model=nothing_of_that_name"])


def test_values_set_on_composed_groups_are_what_hydra_composes(conf: Path) -> None:
    """All arms of all shipped ablations, against Hydra composing each from the start."""
    composer, compared = Composer(conf), 0
    with composing(conf):
        for path in sorted((conf / "sweep").glob("*.yaml")):
            ablation = named(composer.compose([f"sweep={path.stem}"])["sweep"], ["runtime.workers=3"])
            for overrides in ablation.overrides().values():
                whole = compose(config_name="run", overrides=list(overrides))
                assert composer.compose(overrides) == OmegaConf.to_container(whole, resolve=True)
                compared += 1
    assert compared > 40
