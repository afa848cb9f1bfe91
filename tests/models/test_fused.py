"""The fast forward pass is the slow one: vectors and every gradient, against transformers and peft."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn.functional import normalize, scaled_dot_product_attention

from models import adapter as adapters
from models import fused
from models.adapter import Full, Lora
from models.kernels import adapted_linear, attention, keep_mask, masked, plain_linear, product, product_gelu, rms_norm, rotate
from models.network import Network, load_model, pad_id
from models.pooling import Cls, LastToken, Mean, WeightedMean
from models.seeds import seeded
from models.tokenizer import Tokenizer

POOLINGS = [LastToken("last_token"), Mean("mean"), WeightedMean("weighted_mean"), Cls("cls")]
TEXTS = ["tide", "the moon of the sea " * 7, "question", "answer token loss " * 3, "a", "vector query of the tide"]


def both(
    folder: Path, attention: Any, pooling: Any, adapter: Any, dtype: torch.dtype
) -> list[tuple[torch.Tensor, dict[str, torch.Tensor]]]:
    """Vectors and gradients of (fused, stock) on the same network."""
    model = load_model(folder, attention, "float32", [], "cpu", merge_last=False).to(dtype)
    model = adapters.attach(adapter, model, 0).to(dtype).eval()
    for name, value in adapters.trainable(model).items():
        if "lora_B" in name:
            torch.nn.init.normal_(value, std=0.1, generator=torch.Generator().manual_seed(1))
    rows = [item.ids for item in Tokenizer(folder, 40)(TEXTS)]
    found = []
    for fuse in (True, False):
        model.zero_grad(set_to_none=True)
        vectors = normalize(Network(model, pooling, pad_id(folder), "cpu", fuse).embed(rows).double(), dim=1)
        (vectors * torch.linspace(-1, 1, vectors.numel()).view_as(vectors)).sum().backward()
        gradients = {n: p.grad.clone() for n, p in adapters.trainable(model).items() if p.grad is not None}
        found.append((vectors.detach(), gradients))
    return found


def assert_same(found: list[tuple[torch.Tensor, dict[str, torch.Tensor]]], vectors: float, gradients: float) -> None:
    (fast, fast_gradients), (slow, slow_gradients) = found
    assert (fast - slow).abs().max() <= vectors
    scale = max(float(value.abs().max()) for value in slow_gradients.values())
    for name, value in slow_gradients.items():
        assert (fast_gradients[name] - value).abs().max() <= gradients * scale, name


@pytest.mark.parametrize("pooling", POOLINGS, ids=lambda p: p.kind)
@pytest.mark.parametrize("adapter", [Lora("lora", 4, 8, 0.0, "all-linear"), Full("none")], ids=["lora", "full"])
@pytest.mark.parametrize("kind", ["native", "bidirectional"])
def test_fused_equals_stock(family: str, pooling: Any, adapter: Any, kind: str, models_root: Path) -> None:
    if family in ("bert", "xlmr"):  # the decoders of transformers compute norms in float32 whatever the dtype
        assert_same(both(models_root / family, kind, pooling, adapter, torch.float64), 1e-12, 1e-11)
    assert_same(both(models_root / family, kind, pooling, adapter, torch.float32), 1e-6, 1e-5)


@pytest.mark.parametrize("pooling", [LastToken("last_token"), Mean("mean")], ids=lambda p: p.kind)
@pytest.mark.parametrize("decoder", ["mistral", "llama", "qwen3"])
def test_the_causal_kernel_of_a_gpu_gives_the_same(
    decoder: str, pooling: Any, models_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same branch on a CPU, where the kernel exists too."""
    used: list[bool] = []
    monkeypatch.setattr(fused, "_has_causal_kernel", lambda ids: not used.append(True))
    found = both(models_root / decoder, "native", pooling, Lora("lora", 4, 8, 0.0, "all-linear"), torch.float32)

    assert used
    assert_same(found, 1e-6, 1e-5)


def test_premise_these_families_are_fused_and_gemma_is_not(family: str, models_root: Path) -> None:
    model = load_model(models_root / family, "native", "float32", [], "cpu", merge_last=False)
    found = fused.embed(model, POOLINGS[1], torch.tensor([[1, 5, 2]]), torch.tensor([3]))

    assert (found is None) == (family == "gemma")


def test_bfloat16_is_as_near_to_float32_as_stock(family: str, models_root: Path) -> None:
    rows = [item.ids for item in Tokenizer(models_root / family, 40)(TEXTS)]
    nearness = {}
    exact = load_model(models_root / family, "native", "float32", [], "cpu", merge_last=False)
    half = load_model(models_root / family, "native", "bfloat16", [], "cpu", merge_last=False)
    with torch.no_grad():
        reference = normalize(Network(exact, POOLINGS[1], pad_id(models_root / family), "cpu", fuse=False).embed(rows), dim=1)
        for fuse in (True, False):
            found = normalize(Network(half, POOLINGS[1], pad_id(models_root / family), "cpu", fuse).embed(rows), dim=1)
            nearness[fuse] = float(1 - (found * reference).sum(1).min())

    assert nearness[False] > 0
    assert nearness[True] < 3 * nearness[False] + 1e-4


def test_rows_longer_than_the_sliding_window_go_to_transformers(models_root: Path) -> None:
    model: Any = load_model(models_root / "mistral", "native", "float32", [], "cpu", merge_last=False)
    model.config.sliding_window = 4
    ids = torch.tensor([[1, 5, 6, 7, 8, 2]])

    assert fused.embed(model, POOLINGS[0], ids, torch.tensor([6])) is None
    assert fused.embed(model, POOLINGS[0], ids[:, :4], torch.tensor([4])) is not None


def test_an_encoders_own_dropout_goes_to_transformers(models_root: Path) -> None:
    model = load_model(models_root / "bert", "native", "float32", [], "cpu", merge_last=False)
    ids = torch.tensor([[2, 5, 6, 3]])

    assert fused.embed(model.train(), POOLINGS[0], ids, torch.tensor([4])) is None
    assert fused.embed(model.eval(), POOLINGS[0], ids, torch.tensor([4])) is not None


def test_attention_at_any_length_equals_the_stock_kernel() -> None:
    for rows, tokens, heads, groups in ((3, 7, 4, 2), (1, 400, 4, 4), (2, 1, 6, 1)):
        q, k, v = (torch.randn(rows, tokens, n, 8, dtype=torch.float64) for n in (heads, groups, groups))
        bias = torch.zeros(tokens, tokens, dtype=torch.float64).masked_fill_(
            torch.ones(tokens, tokens).triu(1).bool(), -torch.inf
        )
        expected = scaled_dot_product_attention(
            q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2), attn_mask=bias, scale=0.3, enable_gqa=True
        ).transpose(1, 2)
        torch.testing.assert_close(attention(q, k, v, bias.unsqueeze(0), 0.3), expected)


@pytest.mark.parametrize("p", [0.0, 0.4])
def test_kernels_have_the_gradients_of_their_formulas(p: float) -> None:
    def adapted(*tensors: torch.Tensor) -> Any:
        with seeded(3):
            return adapted_linear(*tensors, 0.7, p)

    def leaf(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, dtype=torch.float64, requires_grad=True)

    gradcheck = torch.autograd.gradcheck
    assert gradcheck(adapted, (leaf(5, 4), leaf(6, 4), leaf(6), leaf(2, 4), leaf(6, 2)))
    assert gradcheck(plain_linear, (leaf(5, 4), leaf(6, 4), leaf(6)))
    assert gradcheck(lambda x, w: rms_norm(x, w, 1e-6), (leaf(5, 4), leaf(4)))
    cos, sin = (torch.full((1, 3, 1, 2), value, dtype=torch.float64) for value in (0.6, 0.8))
    assert gradcheck(lambda x: rotate(x, cos, sin), (leaf(2, 3, 2, 4),))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
def test_dropout_drops_its_share_and_keeps_the_rest(dtype: torch.dtype) -> None:
    with seeded(0):
        x = torch.randn(400, 501, dtype=dtype)
        found = masked(x, keep_mask(x.shape, 0.1, x))
        again = masked(x, keep_mask(x.shape, 0.1, x))

    dropped = found == 0
    assert torch.equal(found[~dropped], x[~dropped])
    assert float(dropped.double().mean()) == pytest.approx(0.1, abs=5 * math.sqrt(0.09 / x.numel()))
    assert float((dropped & (again == 0)).double().mean()) == pytest.approx(0.01, abs=2e-3)


def test_the_mean_over_dropout_is_the_layer_without_it() -> None:
    with seeded(0):
        x, w, a, b = torch.randn(1, 64), torch.randn(8, 64), torch.randn(4, 64), torch.randn(8, 4)
        draws = torch.cat([adapted_linear(x, w, None, a, b, 2.0, 0.3) for _ in range(4000)])

    exact = x @ w.T + 2.0 * (x @ a.T) @ b.T
    assert (draws.mean(0) - exact).abs().max() < 5 * draws.std(0).max() / math.sqrt(4000)
    assert draws.std(0).min() > 1


@pytest.mark.parametrize("rows", [2, 77, 1024])
def test_gelu_in_one_pass_has_the_bits_of_two(rows: int) -> None:
    with seeded(0):
        x, w, b = torch.randn(rows, 384), torch.randn(1536, 384) / 20, torch.randn(1536)
    found = product_gelu(x, w, b)

    assert torch.equal(found, torch.nn.functional.gelu(product(x, w, b)))
    torch.testing.assert_close(found.double(), torch.nn.functional.gelu(x.double() @ w.double().T + b), atol=1e-5, rtol=1e-5)


def test_encoding_an_encoder_gives_the_same_bits_as_walking_it_layer_by_layer(models_root: Path) -> None:
    """Inference mode takes the short ways; what comes out is what no_grad gives, where every row is padded alike."""
    model = load_model(models_root / "bert", "native", "float32", [], "cpu", merge_last=False)
    network = Network(model, POOLINGS[1], 0, "cpu")
    rows = [[2, 5, 6, 3], [2, 7, 3]]
    with torch.no_grad():
        slow = network.embed(rows)
    with torch.inference_mode():
        fast = network.embed(rows)

    assert torch.equal(fast, slow)
