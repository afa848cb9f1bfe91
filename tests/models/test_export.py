"""What is exported is what was trained, in sentence-transformers' own hands."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from harness.instructions import Natural
from harness.step import silent
from models.adapter import Lora
from models.backbone import Folder
from models.batches import Mixed
from models.encoder import EncoderSpec, load_encoder
from models.export import export
from models.losses import InfoNce
from models.pooling import Cls, LastToken, Mean, WeightedMean, stated
from models.train import TrainingSpec, TrainSpec, train

PLAN = TrainSpec(
    kind="contrastive", loss=InfoNce("info_nce", 0.05, (), "joint", None, ()), sampler=Mixed("mixed"), batch_size=8,
    negatives=1, steps=2, learning_rate=5e-3, warmup_steps=0, schedule="linear", weight_decay=0.1, betas=(0.9, 0.999),
    eps=1e-8, max_grad_norm=None, chunk_tokens=128, activations="keep",
)  # fmt: skip
TEXTS = ["tide", "moon of the sea " * 40, "answer token loss query"]


@pytest.mark.parametrize(
    ("family", "pooling"),
    [
        ("mistral", LastToken("last_token")),
        ("qwen3", Mean("mean")),
        ("bert", Cls("cls")),
        ("xlmr", WeightedMean("weighted_mean")),
    ],
)
def test_sentence_transformers_gives_the_same_vectors(
    family: str, pooling: Any, models_root: Path, backbone: Callable[[str], Folder], pairs_file: Path, tmp_path: Path
) -> None:
    from sentence_transformers import SentenceTransformer

    lora = Lora("lora", 4, 8, 0.1, "all-linear")
    spec = TrainingSpec(backbone(family), pooling, "native", lora, Natural("natural"), 32, "float32", PLAN, 0)
    (tmp_path / "adapter").mkdir()
    train(spec, pairs_file, (), tmp_path / "adapter", str(models_root), "cpu", silent, {})
    encoder = EncoderSpec(spec.backbone, pooling, "native", 32, normalize=True, dtype="float32", chunk_tokens=128)
    export(encoder, [tmp_path / "adapter"], {"query": "Find: ", "document": ""}, str(models_root), tmp_path / "st")

    assert stated(tmp_path / "st") == pooling

    ours = load_encoder(encoder, [tmp_path / "adapter"], str(models_root), "cpu")
    theirs = SentenceTransformer(str(tmp_path / "st"), device="cpu")

    assert (ours.encode(TEXTS) * theirs.encode(TEXTS)).sum(1).min() > 0.99999
    prompted = theirs.encode(["tide"], prompt_name="query")
    assert (ours.encode(["Find: tide"]) * prompted).sum() > 0.99999


def test_an_attention_that_others_would_drop_is_refused(
    models_root: Path, backbone: Callable[[str], Folder], tmp_path: Path
) -> None:
    spec = EncoderSpec(
        backbone("mistral"), Mean("mean"), "bidirectional", 32, normalize=True, dtype="float32", chunk_tokens=128
    )

    with pytest.raises(ValueError, match="bidirectional"):
        export(spec, [], {}, str(models_root), tmp_path / "st")
