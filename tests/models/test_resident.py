"""A base that many arms used is the base that was loaded."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from harness.identity import folder_digests
from harness.instructions import Natural
from harness.step import silent
from models.adapter import Full, Lora
from models.backbone import Folder
from models.batches import Mixed
from models.losses import InfoNce
from models.network import Network, pad_id
from models.pooling import LastToken, Mean
from models.resident import Resident, ResidentError
from models.train import TrainingSpec, TrainSpec, train

PLAN = TrainSpec(
    kind="contrastive", loss=InfoNce("info_nce", 0.05, (), "joint", None, ()), sampler=Mixed("mixed"), batch_size=8,
    negatives=1, steps=2, learning_rate=5e-3, warmup_steps=0, schedule="linear", weight_decay=0.1, betas=(0.9, 0.999),
    eps=1e-8, max_grad_norm=None, chunk_tokens=128, activations="keep",
)  # fmt: skip
ROWS = [[1, 5, 9, 2], [1, 7, 2]]


def specs(backbone: Folder) -> list[TrainingSpec]:
    """Arms that share a base."""
    base = TrainingSpec(backbone, LastToken("last_token"), "native", Lora("lora", 4, 8, 0.1, "all-linear"),
                        Natural("natural"), 32, "float32", PLAN, 0)  # fmt: skip
    return [base, replace(base, adapter=Lora("lora", 16, 8, 0.0, "all-linear")), replace(base, pooling=Mean("mean")),
            replace(base, seed=3)]  # fmt: skip


def states(resident: Resident, folder: Path) -> tuple[dict[str, torch.Tensor], torch.Tensor, list[str]]:
    with resident.borrow(folder, "native", "float32", [], "cpu") as base, torch.no_grad():
        vectors = Network(base, Mean("mean"), pad_id(folder), "cpu").embed(ROWS)
        names = [f"{name}: {type(module).__name__}" for name, module in base.named_modules()]
        return {name: value.clone() for name, value in base.state_dict().items()}, vectors, names


def test_arms_leave_the_base_as_it_was_and_get_the_same_bits(
    family: str, models_root: Path, backbone: Callable[[str], Folder], pairs_file: Path, tmp_path: Path
) -> None:
    resident, folder = Resident(), models_root / family
    before = states(resident, folder)
    loaded = resident._model
    digests: dict[str, list[Any]] = {"resident": [], "fresh": []}
    for number, spec in enumerate(specs(backbone(family))):
        for name, room in (("resident", resident), ("fresh", None)):
            out = tmp_path / f"{name}{number}"
            out.mkdir()
            train(spec, pairs_file, (), out, str(models_root), "cpu", silent, {}, resident=room)
            digests[name].append(folder_digests(out))
    after = states(resident, folder)

    assert digests["resident"] == digests["fresh"]
    assert resident._model is loaded
    assert resident.loads == 1
    assert before[2] == after[2]
    assert before[0].keys() == after[0].keys()
    assert all(torch.equal(value, after[0][name]) for name, value in before[0].items())
    assert torch.equal(before[1], after[1])
    assert not any(value.requires_grad for value in loaded.parameters())


def test_full_training_finds_the_room_empty_and_changes_no_base_of_others(
    models_root: Path, backbone: Callable[[str], Folder], pairs_file: Path, tmp_path: Path
) -> None:
    resident, folder = Resident(), models_root / "mistral"
    before = states(resident, folder)
    spec = replace(specs(backbone("mistral"))[0], adapter=Full("none"))
    train(spec, pairs_file, (), tmp_path, str(models_root), "cpu", silent, {}, resident=resident)
    emptied = resident._model is None
    after = states(resident, folder)

    assert emptied
    assert resident.loads == 2
    assert all(torch.equal(value, after[0][name]) for name, value in before[0].items())


def test_a_chain_of_checkpoints_on_a_resident_base(
    models_root: Path, backbone: Callable[[str], Folder], pairs_file: Path, tmp_path: Path
) -> None:
    from models.encoder import EncoderSpec, load_encoder

    folder, resident, spec = models_root / "mistral", Resident(), specs(backbone("mistral"))[0]
    paths: list[Path] = []
    for number in range(2):
        (tmp_path / str(number)).mkdir()
        train(spec, pairs_file, paths, tmp_path / str(number), str(models_root), "cpu", silent, {}, resident=resident)
        paths.append(tmp_path / str(number))
    encoder = load_encoder(
        EncoderSpec(spec.backbone, spec.pooling, "native", 32, normalize=False, dtype="float32", chunk_tokens=64),
        paths, str(models_root), "cpu",
    )  # fmt: skip
    ids = encoder.token_ids("tide")

    with resident.with_checkpoints(folder, "native", "float32", paths, "cpu") as model, torch.inference_mode():
        found = Network(model, spec.pooling, pad_id(folder), "cpu").embed([ids]).numpy()

    assert (found == encoder.encode(["tide"])).all()


def test_a_base_serves_one_arm_at_a_time(models_root: Path) -> None:
    resident, folder = Resident(), models_root / "bert"

    with resident.borrow(folder, "native", "float32", [], "cpu"):  # noqa: SIM117
        with pytest.raises(ResidentError, match="one arm|lent"), resident.borrow(folder, "native", "float32", [], "cpu"):
            pass
    with resident.borrow(folder, "native", "float32", [], "cpu"):
        pass


def test_an_arm_on_a_resident_base_starts_in_half_a_second(models_root: Path) -> None:
    from models import adapter as adapters

    resident, folder = Resident(), models_root / "mistral"
    spec = Lora("lora", 16, 32, 0.1, "all-linear")
    for _ in range(2):
        start = time.process_time()
        with resident.borrow(folder, "native", "float32", [], "cpu") as base:
            adapters.attach(spec, base, 0)
            used = time.process_time() - start

    assert used < 0.5
