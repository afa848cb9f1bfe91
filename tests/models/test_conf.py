"""conf/model and conf/finetune compose with Hydra into specs, and a backbone keeps its habits."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from harness.config import decode
from models.encoder import ModelSpec
from models.train import TrainSpec

CONF = Path(__file__).parents[2] / "conf"
BACKBONES = sorted(path.stem for path in (CONF / "model").glob("*.yaml") if path.stem != "server")
GROUPS = {group: sorted(path.stem for path in (CONF / "model" / group).glob("*.yaml"))
          for group in ("pooling", "adapter", "instruction")}  # fmt: skip
HABITS = {  # backbone: pooling, adapter, instruction, maximum length
    "tiny": ("last_token", "lora", "natural", 128),
    "minilm": ("mean", "lora", "none", 256),
    "e5_mistral": ("last_token", "lora", "natural", 512),
    "xlmr_large": ("mean", "none", "none", 512),
    "qwen3_06b": ("last_token", "lora", "natural", 512),
    "llama2_7b": ("last_token", "lora", "natural", 512),
    "e5_mistral_instruct": ("last_token", "none", "natural", 512),
    "me5_large_instruct": ("mean", "none", "natural", 512),
    "peft": ("last_token", "none", "natural", 512),
}


def compose(*overrides: str) -> dict[str, Any]:
    """The composed `model` and `finetune` of a run with nothing else in it."""
    from hydra import compose as hydra_compose
    from hydra import initialize_config_dir
    from omegaconf import OmegaConf

    with initialize_config_dir(str(CONF), version_base="1.3"):
        data = OmegaConf.to_container(hydra_compose(overrides=list(overrides)), resolve=True, throw_on_missing=True)
    assert isinstance(data, dict)
    return {str(key): value for key, value in data.items()}


def test_every_backbone_has_its_row_of_habits() -> None:
    assert set(BACKBONES) == set(HABITS)
    assert GROUPS["pooling"] == ["cls", "last_token", "mean", "stated", "weighted_mean"]


@pytest.mark.parametrize("backbone", BACKBONES)
def test_a_backbone_brings_its_own_habits(backbone: str) -> None:
    spec = decode(ModelSpec, compose(f"+model={backbone}")["model"])

    assert (spec.pooling.kind, spec.adapter.kind, spec.instruction.kind, spec.max_length) == HABITS[backbone]


@pytest.mark.parametrize("backbone", BACKBONES)
def test_every_group_member_replaces_the_habit_and_nothing_else(backbone: str) -> None:
    plain = decode(ModelSpec, compose(f"+model={backbone}")["model"])
    for group, names in GROUPS.items():
        for name in names:
            spec = decode(ModelSpec, compose(f"+model={backbone}", f"model/{group}={name}")["model"])
            assert getattr(spec, group).kind == name
            others = [field for field in ModelSpec.__dataclass_fields__ if field != group]
            assert [getattr(spec, field) for field in others] == [getattr(plain, field) for field in others]


@pytest.mark.parametrize("name", ["tiny", "paper"])
def test_recipes_decode(name: str) -> None:
    spec = decode(TrainSpec, compose(f"+finetune={name}")["finetune"])

    assert spec.loss.temperature == 0.02
    if name == "paper":
        assert (spec.batch_size, spec.learning_rate, spec.warmup_steps, spec.weight_decay) == (2048, 1e-4, 100, 0.1)


def test_a_value_on_the_command_line_arrives() -> None:
    found = compose("+model=tiny", "model.adapter.rank=4", "+finetune=tiny", "finetune.loss.temperature=0.05")

    assert decode(ModelSpec, found["model"]).adapter.rank == 4  # type: ignore[union-attr]
    assert decode(TrainSpec, found["finetune"]).loss.temperature == 0.05


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("model.adapter.rank=0", "model.adapter.*rank: 0: input should be greater than 0"),
        ("model.attention=sideways", "model.attention"),
        ("model.dtype=float16", "model.dtype"),
        ("model.max_length='128'", "model.max_length"),
        ("finetune.steps=20 finetune.warmup_steps=21", "warmup_steps: 21 exceed the 20 steps"),
        ("finetune.loss.partition=per_direction finetune.loss.extra_directions=[query_to_query]", "use joint"),
        ("finetune.loss.temperature=0", "finetune.loss.*temperature"),
    ],
)
def test_bad_values_are_errors_that_name_the_key(override: str, message: str) -> None:
    from harness.config import ConfigError

    found = compose("+model=tiny", "+finetune=tiny", *override.split())

    cls, group = (ModelSpec, "model") if override.startswith("model") else (TrainSpec, "finetune")
    with pytest.raises(ConfigError, match=message):
        decode(cls, found[group], group)
