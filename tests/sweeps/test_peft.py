"""A published adapter is an arm: planned by digest, judged in a worker's way, refused as something to train."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from harness.config import ConfigError, decode
from harness.identity import plain
from harness.runtime import Runtime
from harness.scores import SCORES_FILE, read_scores
from harness.store import Store
from models.backbone import Shipped, locate
from sweeps.compose import Composer
from sweeps.plan import pin, plan
from sweeps.spec import Composed, RunSpec
from sweeps.steps import body_of

CONF = Path(__file__).parents[2] / "conf"
BASE = yaml.safe_load((CONF / "model" / "tiny.yaml").read_text())["backbone"]
UNTRAINED = ("pretrain=none", "finetune=none", "eval.tasks=[QuickSTS]")


def of(*overrides: str) -> RunSpec:
    return Composed.of(Composer(CONF).compose(overrides)).decode_run()


def composed(*overrides: str) -> RunSpec:
    return of("model=peft", "model.max_length=128", *overrides)


def publish(folder: Path, deviation: float) -> None:
    """An adapter on the shipped decoder; with no deviation it changes nothing."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModel

    model = AutoModel.from_pretrained(locate(Shipped(**BASE), None))
    wrapped = get_peft_model(model, LoraConfig(r=2, target_modules=["q_proj", "v_proj"]))
    generator = torch.Generator().manual_seed(0)
    for name, value in wrapped.named_parameters():
        if "lora_B" in name:
            value.data = torch.randn(value.shape, generator=generator) * deviation
    wrapped.save_pretrained(folder)


def judged(spec: RunSpec, runtime: Runtime) -> float:
    """The main score, planned again from what is written down, as a worker does."""
    store = Store(runtime.store_path)
    written = json.loads(json.dumps(plain(pin(spec, runtime))))
    step = plan(decode(RunSpec, written), runtime)["evaluate/QuickSTS"]
    store.realize(step, body_of(step), runtime)
    return read_scores(store.payload(step) / SCORES_FILE).subsets[0].main


def test_an_adapter_without_effect_scores_as_its_base_and_one_with_effect_does_not(tmp_path: Path, runtime: Runtime) -> None:
    publish(tmp_path / "neutral", 0.0)
    publish(tmp_path / "strong", 0.5)
    runtime = replace(runtime, models=str(tmp_path), device="cpu")
    base = f"model.backbone.base={{kind: shipped, name: tiny, sha256: {BASE['sha256']}}}"
    scores = {name: judged(composed(*UNTRAINED, base, f"model.backbone.adapter.name={name}"), runtime)
              for name in ("neutral", "strong")}  # fmt: skip
    plain_score = judged(of("model=tiny", *UNTRAINED), runtime)

    assert scores["neutral"] == pytest.approx(plain_score, abs=1e-6)
    assert abs(scores["strong"] - plain_score) > 1e-3


def test_training_it_further_is_refused(tmp_path: Path, runtime: Runtime) -> None:
    with pytest.raises(ConfigError) as refused:
        pin(composed(), replace(runtime, models=str(tmp_path)))

    assert "model.backbone.kind is peft, which cannot be trained; choose finetune=none" in str(refused.value)
    assert "adapter_config.json does not exist" in str(refused.value)
