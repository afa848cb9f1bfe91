"""Rotary base and sliding window are values of the model: they change what they should and nothing else."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness.identity import fingerprint
from harness.instructions import Natural
from harness.step import silent
from models.adapter import Lora
from models.backbone import BackboneError, Folder
from models.batches import Mixed
from models.encoder import EncoderSpec, load_encoder
from models.losses import InfoNce
from models.network import AS_CONFIGURED, Positions, load_model
from models.pooling import LastToken, Mean
from models.train import TrainingSpec, TrainSpec, train

PLAN = TrainSpec(
    kind="contrastive", loss=InfoNce("info_nce", 0.05, (), "joint", None, ()), sampler=Mixed("mixed"), batch_size=8,
    negatives=1, steps=2, learning_rate=5e-3, warmup_steps=0, schedule="linear", weight_decay=0.1, betas=(0.9, 0.999),
    eps=1e-8, max_grad_norm=None, chunk_tokens=128, activations="keep",
)  # fmt: skip
TEXTS = ["the moon of the sea and the gravity of the water " * 2, "answer token loss query " * 3]
FAR, NEAR = Positions(1e6, None), Positions(None, 4)


def spec_of(backbone: Folder, positions: Positions = AS_CONFIGURED) -> EncoderSpec:
    return EncoderSpec(backbone, Mean("mean"), "native", 64, True, "float32", 256, positions)


@pytest.mark.parametrize("family", ["mistral", "llama", "qwen3", "gemma"])
def test_trap_46_the_rotary_base_of_the_spec_changes_vectors_as_config_json_would(
    family: str, models_root: Path, backbone: Callable[[str], Folder], tmp_path: Path
) -> None:
    """And is part of the identity; the oracle is the same base written into the folder's config.json."""
    folder = Path(shutil.copytree(models_root / family, tmp_path / family))
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    config["rope_parameters"]["rope_theta"] = FAR.rope_base
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    plain, set_ = (load_encoder(spec_of(backbone(family), p), [], str(models_root), "cpu") for p in (AS_CONFIGURED, FAR))
    written = load_encoder(spec_of(backbone(family)), [], str(tmp_path), "cpu")

    assert np.abs(plain.encode(TEXTS) - set_.encode(TEXTS)).max() > 1e-3
    np.testing.assert_array_equal(set_.encode(TEXTS), written.encode(TEXTS))
    assert plain.identity != set_.identity


def test_trap_46_premise_the_obvious_ways_have_no_effect(models_root: Path) -> None:
    import torch
    from transformers import AutoConfig, AutoModel

    folder, ids = models_root / "mistral", torch.tensor([[1, 5, 9, 7, 6, 8, 11, 2]])
    config: Any = AutoConfig.from_pretrained(folder)
    config.rope_theta = FAR.rope_base
    late = AutoModel.from_pretrained(folder, dtype=torch.float32).eval()
    late.config.rope_parameters["rope_theta"] = FAR.rope_base
    plain = load_model(folder, "native", "float32", [], "cpu", merge_last=False)
    set_ = load_model(folder, "native", "float32", [], "cpu", merge_last=False, positions=FAR)
    early = AutoModel.from_pretrained(folder, config=config, dtype=torch.float32).eval()
    with torch.no_grad():
        states = [model(input_ids=ids).last_hidden_state for model in (plain, early, late, set_)]

    assert torch.equal(states[0], states[1])
    assert torch.equal(states[0], states[2])
    assert (states[0] - states[3]).abs().max() > 1e-3


@pytest.mark.parametrize("family", ["mistral", "qwen3"])
def test_a_window_of_n_lets_a_token_see_n_in_every_layer(family: str, models_root: Path) -> None:
    """Two layers of window 4: the last state depends on the 3 + 3 tokens before it, and on none further back."""
    import torch

    ids = torch.tensor([[1, 5, 9, 7, 6, 8, 11, 12, 10, 2]])
    model = load_model(models_root / family, "native", "float32", [], "cpu", merge_last=False, positions=NEAR)
    with torch.no_grad():
        states = model(input_ids=ids).last_hidden_state[0, -1]
        moved = []
        for place in range(ids.shape[1]):
            edited = ids.clone()
            edited[0, place] += 1
            moved.append(bool((model(input_ids=edited).last_hidden_state[0, -1] - states).abs().max() > 1e-6))

    assert moved == [False, False, False, *[True] * 7]


@pytest.mark.parametrize("family", ["mistral", "qwen3"])
def test_a_window_changes_long_texts_only(family: str, models_root: Path, backbone: Callable[[str], Folder]) -> None:
    root = str(models_root)
    plain, near, wide = (load_encoder(spec_of(backbone(family), p), [], root, "cpu")
                         for p in (AS_CONFIGURED, NEAR, Positions(None, 64)))  # fmt: skip

    assert np.abs(plain.encode(TEXTS) - near.encode(TEXTS)).max() > 1e-3
    assert len(near.token_ids("tide")) <= 4
    np.testing.assert_allclose(near.encode(["tide"]), plain.encode(["tide"]), atol=1e-6)
    np.testing.assert_allclose(wide.encode(TEXTS), plain.encode(TEXTS), atol=1e-6)
    assert len({encoder.identity for encoder in (plain, near, wide)}) == 3


@pytest.mark.parametrize("positions", [FAR, NEAR], ids=["rope_base", "sliding_window"])
def test_training_sees_them_too(
    positions: Positions, models_root: Path, backbone: Callable[[str], Folder], pairs_file: Path, tmp_path: Path
) -> None:
    lora = Lora("lora", 4, 8, 0.1, "all-linear")
    base = TrainingSpec(
        backbone("mistral"), LastToken("last_token"), "native", lora, Natural("natural"), 32, "float32", PLAN, 0
    )
    losses = []
    for name, spec in (("plain", base), ("set", replace(base, positions=positions))):
        (tmp_path / name).mkdir()
        train(spec, pairs_file, (), tmp_path / name, str(models_root), "cpu", silent, {})
        losses.append(json.loads((tmp_path / name / "metrics.jsonl").read_text().splitlines()[0])["loss"])

    assert abs(losses[0] - losses[1]) > 1e-3


def test_as_configured_is_no_part_of_an_identity_and_anything_else_is(backbone: Callable[[str], Folder]) -> None:
    specs = [spec_of(backbone("mistral"), p) for p in (AS_CONFIGURED, FAR, NEAR, Positions(1e6, 4))]

    assert len({fingerprint(spec) for spec in specs}) == 4


@pytest.mark.parametrize(
    ("family", "attention", "positions", "message"),
    [
        ("bert", "native", FAR, r"positions\.rope_base: 'bert' has no rotary base"),
        ("bert", "native", NEAR, r"positions\.sliding_window: 'bert'"),
        ("llama", "native", NEAR, r"positions\.sliding_window: 'llama'"),
        ("mistral", "bidirectional", NEAR, r"positions\.sliding_window: 'mistral'.*causal"),
    ],
)
def test_what_an_architecture_lacks_is_refused(
    family: str, attention: Any, positions: Positions, message: str, models_root: Path
) -> None:
    with pytest.raises(BackboneError, match=message):
        load_model(models_root / family, attention, "float32", [], "cpu", merge_last=False, positions=positions)
