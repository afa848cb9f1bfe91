"""The arithmetic of a transformer's layers where the stock one is slow: on a CPU, for short rows, over a frozen base.

What was measured (two AMD EPYC cores, torch 2.13): MKL runs float32 products at half the speed of oneDNN on this processor,
at equal bits; `scaled_dot_product_attention` loses to plain products below a few hundred tokens; peft's chain of small modules
costs as much as its mathematics; `bernoulli_` is four times slower than 16 random bits a number. On other devices and in
float64 the stock operations stand in, same formulas.

Everything here is differentiable in all tensors. Not here: what a layer is (`fused.py`).
"""

from __future__ import annotations

import os
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import gelu, scaled_dot_product_attention
from torch.nn.functional import linear as stock_linear

# oneDNN compiles a product for every shape and keeps 1,024 of them: 140 MB in a training of mixed lengths. A chunk needs about
# twenty; it reads this when the first one is compiled. Same kernels, same bits, no measurable time.
os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "128")

PLAIN_ATTENTION_TOKENS = 384  # above, the stock kernel wins: by a factor of two at 512 tokens
_ONEDNN = bool(torch.backends.mkldnn.is_available())  # type: ignore[no-untyped-call]
BITS = {2: torch.int16, 4: torch.int32, 8: torch.int64}


def product(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """X (n, i) times weight (o, i) transposed, plus bias (o,): through oneDNN where that is the faster one."""
    if x.device.type == "cpu" and x.dtype in (torch.float32, torch.bfloat16) and _ONEDNN:
        found: Tensor = torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")  # noqa: SLF001
        return found
    return stock_linear(x, weight, bias)


def product_gelu(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """The exact GELU of `product`: in float32 on a CPU in one pass, at the same bits as in two; no gradients."""
    if x.device.type == "cpu" and x.dtype == torch.float32 and _ONEDNN:
        found: Tensor = torch.ops.mkldnn._linear_pointwise(x, weight, bias, "gelu", [], "none")  # noqa: SLF001
        return found
    return gelu(product(x, weight, bias))


def keep_mask(shape: torch.Size, p: float, like: Tensor) -> Tensor:
    """Bit masks as integers of `like`'s width: all ones, or zero with probability p (in steps of 2**-16).

    Drawn from the global generator. Integers, because arithmetic on booleans is slow and a masked product is one `and`.
    """
    width = BITS[like.element_size()]
    if like.device.type != "cpu":
        return (torch.rand(shape, device=like.device) < p).to(width).sub_(1)
    count, threshold = shape.numel(), round(p * 65536) - 32768
    bits = torch.empty((count + 3) // 4, dtype=torch.int64).random_(-(2**63), None).view(torch.int16)[:count]
    return bits.clamp_(threshold - 1, threshold).neg_().add_(threshold - 1).to(width).view(shape)


def masked(x: Tensor, mask: Tensor | None) -> Tensor:
    """X where the mask has ones, zero elsewhere; not rescaled."""
    return x if mask is None else (x.view(mask.dtype) & mask).view(x.dtype)


class _AdaptedLinear(torch.autograd.Function):
    """y = x W' + bias + scale * dropout(x) A' B': one node of the graph instead of peft's seven modules."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, a: Tensor, b: Tensor, scale: float, p: float
    ) -> Tensor:
        """X (n, i), weight (o, i), a (r, i), b (o, r) -> (n, o)."""
        scale /= 1 - p  # dropout's own factor, taken once where it is cheapest
        mask = keep_mask(x.shape, p, x) if p > 0 else None
        low = product(masked(x, mask), a.to(x.dtype))
        ctx.save_for_backward(x, weight, a, b, mask, low)
        ctx.scale = scale
        return product(x, weight, bias).add_(product(low, (b * scale).to(x.dtype)))

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Any:
        """Gradients of x, weight, bias, a and b; those nobody asked for are not computed."""
        x, weight, a, b, mask, low = ctx.saved_tensors
        gradient = gradient.contiguous()
        low_gradient = product(gradient, (b * ctx.scale).to(x.dtype).T)
        grad_b = product(low.T, gradient.T).T.to(b.dtype) * ctx.scale
        grad_a = product(low_gradient.T, masked(x, mask).T).to(a.dtype)
        grad_x = None
        if ctx.needs_input_grad[0]:
            grad_x = product(gradient, weight.T).add_(masked(product(low_gradient, a.to(x.dtype).T), mask))
        grad_weight = product(gradient.T.contiguous(), x.T.contiguous()) if ctx.needs_input_grad[1] else None
        return grad_x, grad_weight, gradient.sum(0) if ctx.needs_input_grad[2] else None, grad_a, grad_b, None, None


class _PlainLinear(torch.autograd.Function):
    """y = x W' + bias, with oneDNN in both directions."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """X (n, i), weight (o, i) -> (n, o)."""
        ctx.save_for_backward(x, weight)
        return product(x, weight, bias)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Any:
        """Gradients of x, weight and bias, where asked for."""
        x, weight = ctx.saved_tensors
        gradient = gradient.contiguous()
        return (
            product(gradient, weight.T) if ctx.needs_input_grad[0] else None,
            product(gradient.T.contiguous(), x.T.contiguous()) if ctx.needs_input_grad[1] else None,
            gradient.sum(0) if ctx.needs_input_grad[2] else None,
        )


class _RmsNorm(torch.autograd.Function):
    """x / rms(x) * weight, the mean square in float32 at least."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, eps: float) -> Tensor:
        """X (..., d), weight (d,) -> (..., d)."""
        wide = x.to(torch.promote_types(x.dtype, torch.float32))
        inverse = (wide.square().mean(-1, keepdim=True) + eps).rsqrt()
        ctx.save_for_backward(x, weight, inverse)
        return (wide * inverse).to(x.dtype) * weight

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Any:
        """Gradients of x and, where asked for, weight."""
        x, weight, inverse = ctx.saved_tensors
        unit = x.to(inverse.dtype) * inverse
        scaled = gradient.to(inverse.dtype) * weight
        grad_x = (scaled - unit * (scaled * unit).mean(-1, keepdim=True)).mul_(inverse).to(x.dtype)
        grad_weight = None
        if ctx.needs_input_grad[1]:
            grad_weight = (gradient.to(inverse.dtype) * unit).flatten(0, -2).sum(0).to(weight.dtype)
        return grad_x, grad_weight, None


class _Rotary(torch.autograd.Function):
    """Rotary positions: a rotation, so that the gradient is the rotation back."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        """X (rows, tokens, heads, d); cos and sin (rows or 1, tokens, 1, d/2)."""
        ctx.save_for_backward(cos, sin)
        return _rotate(x, cos, sin)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Any:
        """The gradient of x."""
        cos, sin = ctx.saved_tensors
        return _rotate(gradient, cos, -sin), None, None


def _rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    first, second = x.chunk(2, -1)
    return torch.cat((first * cos - second * sin, second * cos + first * sin), -1)


def adapted_linear(x: Tensor, weight: Tensor, bias: Tensor | None, a: Tensor, b: Tensor, scale: float, p: float) -> Tensor:
    """X W' + bias + scale * dropout(x) A' B', of x (n, i), weight (o, i), a (r, i), b (o, r) -> (n, o)."""
    found: Tensor = _AdaptedLinear.apply(x, weight, bias, a, b, scale, p)  # type: ignore[no-untyped-call]
    return found


def plain_linear(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """X W' + bias, of x (n, i) and weight (o, i) -> (n, o)."""
    found: Tensor = _PlainLinear.apply(x, weight, bias)  # type: ignore[no-untyped-call]
    return found


def rms_norm(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    """X / rms(x) * weight over the last dimension, the mean square in float32 at least."""
    found: Tensor = _RmsNorm.apply(x, weight, eps)  # type: ignore[no-untyped-call]
    return found


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotary positions on x (rows, tokens, heads, d); cos and sin (rows or 1, tokens, 1, d/2)."""
    found: Tensor = _Rotary.apply(x, cos, sin)  # type: ignore[no-untyped-call]
    return found


def attention(query: Tensor, key: Tensor, value: Tensor, bias: Tensor | None, scale: float, *, causal: bool = False) -> Tensor:
    """Softmax attention with grouped heads: query (rows, m, heads, d), key and value (rows, t, groups, d) -> like query.

    `bias` (rows or 1, m or 1, t) is added to the scores of every head; None: all keys count, or with `causal` those up to a
    token itself, by the kernel that never holds a score of every pair.
    """
    rows, m, heads, d = query.shape
    t, groups = key.shape[1], key.shape[2]
    if causal:
        stock = scaled_dot_product_attention(
            query.transpose(1, 2), key.transpose(1, 2), value.transpose(1, 2), scale=scale, is_causal=True,
            enable_gqa=heads != groups,
        )  # fmt: skip
        return stock.transpose(1, 2)
    if query.device.type != "cpu" and heads != groups:  # no kernel of a GPU takes both a bias and grouped heads
        key, value = (part.repeat_interleave(heads // groups, dim=2) for part in (key, value))
        groups = heads
    if query.device.type != "cpu" or t > PLAIN_ATTENTION_TOKENS:
        stock = scaled_dot_product_attention(
            query.transpose(1, 2), key.transpose(1, 2), value.transpose(1, 2), scale=scale, enable_gqa=heads != groups,
            attn_mask=None if bias is None else bias.unsqueeze(1).to(query.dtype),
        )  # fmt: skip
        return stock.transpose(1, 2)
    per = heads // groups
    q = query.view(rows, m, groups, per, d).permute(0, 2, 3, 1, 4).reshape(rows * groups, per * m, d)
    k = key.transpose(1, 2).reshape(rows * groups, t, d)
    v = value.transpose(1, 2).reshape(rows * groups, t, d)
    if bias is None:
        scores = torch.bmm(q * scale, k.transpose(1, 2))
    else:
        scores = torch.baddbmm(_per_group(bias.to(q.dtype), rows, groups, per), q, k.transpose(1, 2), alpha=scale)
    mixed = torch.bmm(scores.softmax(-1), v)
    return mixed.view(rows, groups, per, m, d).permute(0, 3, 1, 2, 4).reshape(rows, m, heads, d)


def _per_group(bias: Tensor, rows: int, groups: int, per: int) -> Tensor:
    """A bias (rows or 1, m or 1, t) as the batched product wants it: (rows * groups or 1, per * m or 1, t)."""
    if bias.shape[1] > 1:
        bias = bias.repeat(1, per, 1)
    if bias.shape[0] > 1:
        bias = bias.unsqueeze(1).expand(rows, groups, *bias.shape[1:]).reshape(rows * groups, *bias.shape[1:])
    return bias
