"""Merged weights are the average, merged adapters the sum of their updates, merged vectors the columns numpy would give."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness.encoder import EncodeCounts
from harness.identity import folder_digest
from models.adapter import ADAPTER_WEIGHTS, Adapter, CheckpointError, Full, Lora, attach, read_tensors, save, write_checkpoint
from models.concatenation import ConcatenatedEncoder
from models.merge import MergeSpec, merge
from models.network import load_model

RANKS = {"small": Lora("lora", 2, 8.0, 0.1, "all-linear"), "large": Lora("lora", 6, 32.0, 0.1, "all-linear")}
SHARES = {"small": 0.3, "large": 0.7}


def trained(root: Path, spec: Adapter, seed: int, out: Path) -> Path:
    """A checkpoint as training leaves it, with weights that do something."""
    import torch

    model = attach(spec, load_model(root / "mistral", "causal", "float32", [], "cpu", merge_last=True), 0)
    generator = torch.Generator().manual_seed(seed)
    for value in model.parameters():
        if value.requires_grad:
            value.data = value.data + torch.randn(value.shape, generator=generator) * 0.05
    out.mkdir()
    save(spec, model, "base", out)
    return out


def linear_weights(root: Path, checkpoints: Sequence[Path]) -> dict[str, Any]:
    """All weights of the backbone with everything merged into it."""
    model = load_model(root / "mistral", "causal", "float32", checkpoints, "cpu", merge_last=True)
    return dict(model.named_parameters())


def test_adapters_of_two_ranks_are_added_as_their_dense_updates_are(models_root: Path, tmp_path: Path) -> None:
    folders = {name: trained(models_root, spec, i, tmp_path / name) for i, (name, spec) in enumerate(RANKS.items())}
    merged = tmp_path / "merged"
    merged.mkdir()
    merge(MergeSpec(tuple(SHARES.values())), list(folders.values()), merged)

    stacked = read_tensors(merged / ADAPTER_WEIGHTS)
    for name in [name for name in stacked if ".lora_A." in name]:
        by_hand = 0.0
        for arm, folder in folders.items():
            factors, spec = read_tensors(folder / ADAPTER_WEIGHTS), RANKS[arm]
            update = factors[name.replace("lora_A", "lora_B")].double() @ factors[name].double()
            by_hand = by_hand + SHARES[arm] * spec.alpha / spec.rank * update
        found = stacked[name.replace("lora_A", "lora_B")] @ stacked[name]
        np.testing.assert_allclose(found.numpy(), by_hand.numpy(), atol=1e-6)  # type: ignore[attr-defined]
        assert np.abs(found.numpy()).max() > 1e-3, "premise: the adapters do something"
    base, one, other, both = (linear_weights(models_root, paths) for paths in ([], *([f] for f in folders.values()), [merged]))
    for name, value in both.items():
        by_hand = base[name] + 0.3 * (one[name] - base[name]) + 0.7 * (other[name] - base[name])
        np.testing.assert_allclose(value.numpy(), by_hand.numpy(), atol=1e-5)


def test_whole_weights_are_averaged(models_root: Path, tmp_path: Path) -> None:
    folders = [trained(models_root, Full("none"), seed, tmp_path / str(seed)) for seed in (1, 2)]
    (tmp_path / "merged").mkdir()
    merge(MergeSpec((0.25, 0.75)), folders, tmp_path / "merged")
    one, other, both = (linear_weights(models_root, [path]) for path in (*folders, tmp_path / "merged"))

    for name, value in both.items():
        np.testing.assert_allclose(value.numpy(), (0.25 * one[name] + 0.75 * other[name]).numpy(), atol=1e-6)
    assert any((one[name] != other[name]).any() for name in one)


def test_the_same_merge_gives_the_same_bytes(models_root: Path, tmp_path: Path) -> None:
    folders = [trained(models_root, spec, 3, tmp_path / name) for name, spec in RANKS.items()]
    for name in ("once", "again"):
        (tmp_path / name).mkdir()
        merge(MergeSpec((0.5, 0.5)), folders, tmp_path / name)

    once, again = ({path.name: path.read_bytes() for path in (tmp_path / name).iterdir()} for name in ("once", "again"))
    assert once == again


@pytest.mark.parametrize(
    ("kind", "digest"),
    [
        ("LORA", "d76b7958fc2a01cfa73a3bcb065d8bddf945435db74b5a85702f3e8475f77307"),
        (None, "f2511afc13f31396283005ff99518a6cd68e2050f67d55925cbb6469dbc266e3"),
    ],
    ids=["adapters", "weights"],
)
def test_the_bytes_of_a_merge_are_golden(kind: str | None, digest: str, tmp_path: Path) -> None:
    """If this fails: bump `merge` in `sweeps.plan.VERSIONS`, then write the new digest here. Exact on every machine."""
    import torch

    folders = []
    for number in (1, 2):
        folders.append(tmp_path / str(number))
        folders[-1].mkdir()
        count = torch.arange(3 * number, dtype=torch.float32) + number
        tensors = {"layer.lora_A.weight": count.reshape(number, 3), "layer.lora_B.weight": count.reshape(3, number).clone()}
        config = {"peft_type": kind, "r": number, "lora_alpha": 8} if kind else {"base": "base"}
        write_checkpoint(tensors if kind else {"layer.weight": count[:3]}, config, folders[-1])
    (tmp_path / "merged").mkdir()
    merge(MergeSpec((0.25, 0.75)), folders, tmp_path / "merged")

    assert folder_digest(tmp_path / "merged") == digest


def test_what_has_other_tensors_is_refused(models_root: Path, tmp_path: Path) -> None:
    lora = trained(models_root, RANKS["small"], 1, tmp_path / "lora")
    full = trained(models_root, Full("none"), 1, tmp_path / "full")

    with pytest.raises(CheckpointError, match=r"do not have the same tensors, such as .*merge runs of one backbone"):
        merge(MergeSpec((0.5, 0.5)), [lora, full], tmp_path)


class Rows:
    """An encoder that knows its vectors."""

    def __init__(self, name: str, vectors: Any) -> None:
        self.identity, self.vectors, self.counts = name, vectors, EncodeCounts()

    def encode(self, texts: Sequence[str]) -> Any:
        self.counts.texts += len(texts)
        return self.vectors[[int(text) for text in texts]]

    def token_ids(self, text: str) -> list[int]:
        return [int(text), len(self.identity)]


def test_vectors_side_by_side_are_those_of_numpy() -> None:
    draw = np.random.default_rng(0)
    parts = [Rows("a", draw.normal(size=(5, 3)).astype("f4")), Rows("bb", 100 * draw.normal(size=(5, 4)).astype("f4"))]
    encoder = ConcatenatedEncoder(parts, (0.2, 0.8))
    found = encoder.encode(["4", "0", "4"])
    units = [part.vectors / np.linalg.norm(part.vectors, axis=1, keepdims=True) for part in parts]
    by_hand = np.concatenate([np.sqrt(0.2) * units[0], np.sqrt(0.8) * units[1]], axis=1)[[4, 0, 4]]
    similarity = sum(share * (unit @ unit.T)[4, 0] for share, unit in zip((0.2, 0.8), units, strict=True))

    assert found.dtype == np.float32
    np.testing.assert_allclose(found, by_hand, atol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, atol=1e-6)
    assert found[0] @ found[1] == pytest.approx(similarity, abs=1e-6), "similarities are averaged by the weights"
    assert encoder.counts == EncodeCounts(texts=6)
    assert encoder.token_ids("3") == [3, 1, 3, 2]


def test_order_weights_and_parts_are_the_identity_of_a_concatenation() -> None:
    one, other = Rows("a", None), Rows("b", None)
    made = [([one, other], (0.5, 0.5)), ([other, one], (0.5, 0.5)), ([one, other], (0.4, 0.6)), ([one, one], (0.5, 0.5))]

    assert len({ConcatenatedEncoder(parts, weights).identity for parts, weights in made}) == len(made)


def test_a_vector_of_nothing_stays_one() -> None:
    found = ConcatenatedEncoder([Rows("a", np.zeros((1, 2), "f4")), Rows("b", np.ones((1, 1), "f4"))], (0.5, 0.5)).encode(["0"])

    np.testing.assert_allclose(found, [[0, 0, np.sqrt(0.5)]], atol=1e-6)
