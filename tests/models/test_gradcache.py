"""Cached gradients are the plain ones: in float64, through real backbones, with dropout on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from harness.instructions import NoInstruction
from harness.kinds import members
from harness.pairs import Pair
from models import adapter as adapters
from models.adapter import Adapter, Full, Lora
from models.backbone import Folder
from models.batches import assemble
from models.gradcache import backward
from models.losses import InfoNce, loss
from models.network import Network, load_model, pad_id, plan_chunks
from models.pooling import Cls, LastToken, Mean, Pooling, WeightedMean
from models.seeds import seeded
from models.tokenizer import Tokenizer

LOSSES = [
    InfoNce("info_nce", 0.05, (), "joint", None, ()),
    InfoNce("info_nce", 0.05, ("document_to_query",), "per_direction", None, ()),
    InfoNce("info_nce", 0.05, ("document_to_query", "query_to_query", "document_to_document"), "joint", 0.1, ("sts",)),
]
POOLINGS = [LastToken("last_token"), Mean("mean"), WeightedMean("weighted_mean"), Cls("cls")]
ADAPTERS = [Lora("lora", 4, 8, 0.0, "all-linear"), Lora("lora", 4, 8, 0.3, "all-linear"), Full("none")]


class Case:
    """A float64 network on a real batch."""

    def __init__(self, family: str, pooling: Any, adapter: Any, spec: InfoNce, root: Path, pairs: Sequence[Pair]) -> None:
        model = load_model(root / family, "native", "float32", [], "cpu", merge_last=False).double()
        self.network = Network(adapters.attach(adapter, model, 1).double(), pooling, pad_id(root / family), "cpu")
        for name, value in adapters.trainable(self.network.model).items():
            if "lora_B" in name:  # zero at the start, which would hide every gradient of A
                torch.nn.init.normal_(value, std=0.1)
        batch = assemble(pairs, 2, NoInstruction("none"), spec.own_negatives_only)
        self.rows = [item.ids for item in Tokenizer(root / family, 32)(batch.texts)]
        self.parts = torch.tensor(batch.queries), torch.tensor(batch.documents), batch.candidates("cpu")
        self.spec = spec

    def objective(self, vectors: torch.Tensor) -> torch.Tensor:
        queries, documents, candidates = self.parts
        return loss(self.spec, vectors[queries], vectors[documents], candidates).loss

    def encode(self, chunk: Sequence[int]) -> torch.Tensor:
        return self.network.embed([self.rows[i] for i in chunk])

    def gradients(self, budget: int, activations: Any) -> tuple[float, dict[str, torch.Tensor]]:
        self.network.model.zero_grad(set_to_none=True)
        chunks = plan_chunks([len(row) for row in self.rows], budget)
        with seeded(5):
            value = backward(self.encode, chunks, self.objective, activations, "cpu")
        parameters = adapters.trainable(self.network.model).items()
        return float(value), {name: p.grad.clone() for name, p in parameters if p.grad is not None}


def assert_equal(one: tuple[float, dict[str, torch.Tensor]], two: tuple[float, dict[str, torch.Tensor]]) -> None:
    assert one[0] == pytest.approx(two[0], rel=1e-10)
    assert one[1].keys() == two[1].keys()
    scale = max(float(value.abs().max()) for value in one[1].values())
    assert scale > 1e-6
    for name, value in one[1].items():
        torch.testing.assert_close(value, two[1][name], rtol=1e-10, atol=1e-10 * scale)


def test_unions_are_covered() -> None:
    assert {type(p) for p in POOLINGS} == set(members(Pooling))
    assert {type(a) for a in ADAPTERS} == set(members(Adapter))


@pytest.mark.parametrize("adapter", ADAPTERS, ids=["lora", "lora_dropout", "full"])
@pytest.mark.parametrize("pooling", POOLINGS, ids=lambda p: p.kind)
@pytest.mark.parametrize("spec", LOSSES, ids=["plain", "symmetric", "everything"])
def test_trap_15_two_passes_equal_the_same_chunks_in_one_graph(
    adapter: Any, pooling: Any, spec: InfoNce, models_root: Path, make_pairs: Callable[..., list[Pair]]
) -> None:
    family = "bert" if isinstance(pooling, Cls) else "mistral"  # a causal BOS sees only itself: no gradient at all
    case = Case(family, pooling, adapter, spec, models_root, make_pairs(6))

    assert_equal(case.gradients(64, "keep"), case.gradients(64, "recompute"))


def test_trap_15_in_every_family_with_its_own_dropout(
    family: str, models_root: Path, make_pairs: Callable[..., list[Pair]]
) -> None:
    """Full training: encoders bring hidden and attention dropout of their own."""
    case = Case(family, Mean("mean"), Full("none"), LOSSES[0], models_root, make_pairs(6))

    assert_equal(case.gradients(64, "keep"), case.gradients(64, "recompute"))


def test_without_dropout_chunks_equal_the_whole_batch(models_root: Path, make_pairs: Callable[..., list[Pair]]) -> None:
    case = Case("llama", LastToken("last_token"), ADAPTERS[0], LOSSES[0], models_root, make_pairs(6))

    assert len(plan_chunks([len(row) for row in case.rows], 64)) > 2
    for budget in (1, 64, 128):
        assert_equal(case.gradients(10**6, "keep"), case.gradients(budget, "recompute"))


def test_premise_dropout_is_on_and_must_be_replayed(models_root: Path, make_pairs: Callable[..., list[Pair]]) -> None:
    case = Case("mistral", Mean("mean"), ADAPTERS[1], LOSSES[0], models_root, make_pairs(6))

    whole, parts = case.gradients(10**6, "keep"), case.gradients(64, "keep")

    assert whole[0] != pytest.approx(parts[0], rel=1e-6)


def test_the_generator_goes_on_as_if_there_were_one_pass(models_root: Path, make_pairs: Callable[..., list[Pair]]) -> None:
    """The step after must draw the same dropout whichever way this one was computed."""
    case = Case("mistral", Mean("mean"), ADAPTERS[1], LOSSES[0], models_root, make_pairs(6))
    chunks = plan_chunks([len(row) for row in case.rows], 64)
    after = []
    for activations in ("keep", "recompute"):
        with seeded(5):
            backward(case.encode, chunks, case.objective, activations, "cpu")  # type: ignore[arg-type]
            after.append(torch.rand(1))

    assert after[0] == after[1]


def test_trap_26_every_adapter_gradient_is_there(
    family: str, models_root: Path, make_pairs: Callable[..., list[Pair]], backbone: Callable[[str], Folder]
) -> None:
    case = Case(family, LastToken("last_token"), ADAPTERS[0], LOSSES[0], models_root, make_pairs(6))
    _, gradients = case.gradients(64, "recompute")

    assert gradients.keys() == adapters.trainable(case.network.model).keys()
    assert all("lora_" in name and value.abs().max() > 0 for name, value in gradients.items())
