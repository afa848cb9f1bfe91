"""A faster forward pass through the same modules: the parameters stay where transformers and peft hold them.

For the two layouts that matter here, Mistral-like decoders (Mistral, Llama, Qwen3) and BERT-like encoders (BERT, XLM-R), the
layers are walked by hand over `kernels.py`. Where only one position of a text is pooled, the last layer is computed for that
position alone. Everything else (Gemma, dropout inside a fully trained encoder, rows longer than a sliding window, autocast)
goes through transformers, whose result is also the oracle of the tests.

In inference mode (encoding), and at one padded width, a text's vector has the same bits whatever texts share its batch: every
row of oneDNN's product of many rows is that of few.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from models.kernels import adapted_linear, attention, plain_linear, product_gelu, rms_norm, rotate
from models.pooling import Cls, LastToken, Pooling, pool

if TYPE_CHECKING:
    from torch import nn

DECODERS = ("MistralModel", "LlamaModel", "Qwen3Model")
ENCODERS = ("BertModel", "XLMRobertaModel")


def embed(model: nn.Module, pooling: Pooling, ids: Tensor, lengths: Tensor) -> Tensor | None:
    """Pooled states (rows, dim) of right-padded ids (rows, tokens), or None where transformers has to do it."""
    core: Any = model.get_base_model() if hasattr(model, "peft_config") else model  # type: ignore[operator]
    if not _possible(core, ids.shape[1]):
        return None
    rows = torch.arange(len(ids), device=ids.device)
    place = None
    if isinstance(pooling, (LastToken, Cls)):
        place = lengths - 1 if isinstance(pooling, LastToken) else torch.zeros_like(lengths)
    walk = _decode if type(core).__name__ in DECODERS else _encode
    states = walk(core, ids, lengths, rows, place)
    if place is not None:
        return states.squeeze(1).to(torch.promote_types(states.dtype, torch.float32))
    mask = torch.arange(ids.shape[1], device=ids.device) < lengths.unsqueeze(1)
    return pool(pooling, states, mask)


def _possible(core: Any, tokens: int) -> bool:
    name, config = type(core).__name__, core.config
    if name not in (*DECODERS, *ENCODERS) or torch.is_autocast_enabled(core.device.type):
        return False
    window = getattr(config, "sliding_window", None)
    names = ("attention_dropout", "hidden_dropout_prob", "attention_probs_dropout_prob")
    dropout = (getattr(config, name, 0.0) for name in names)
    return (window is None or tokens <= window) and not (core.training and any(dropout))


def _decode(core: Any, ids: Tensor, lengths: Tensor, rows: Tensor, place: Tensor | None) -> Tensor:
    """States (rows, tokens, dim), or (rows, 1, dim) at `place`."""
    config = core.config
    x = core.embed_tokens(ids)
    half = core.layers[0].self_attn.head_dim // 2
    cos, sin = (part[..., :half].unsqueeze(2) for part in core.rotary_emb(x, torch.arange(ids.shape[1]).unsqueeze(0)))
    keys = torch.arange(ids.shape[1], device=ids.device)
    causal = getattr(config, "is_causal", True)
    by_kernel = causal and _has_causal_kernel(ids)
    if causal:
        bias = None if by_kernel else _bias(keys.unsqueeze(0) > keys.unsqueeze(1), x.dtype).unsqueeze(0)
        pruned = _bias(keys > place.unsqueeze(1), x.dtype).unsqueeze(1) if place is not None else None
    else:
        bias = pruned = _padding(keys, lengths, x.dtype)
    for number, layer in enumerate(core.layers, start=1):
        at = place if number == len(core.layers) else None
        inner = _rms(layer.input_layernorm, x)
        x = x if at is None else x[rows, at].unsqueeze(1)
        here = bias if at is None else pruned
        x = x + _rotary_attention(layer.self_attn, inner, cos, sin, here, rows, at, causal=by_kernel and at is None)
        inner = _rms(layer.post_attention_layernorm, x)
        gated = layer.mlp.act_fn(_linear(layer.mlp.gate_proj, inner)) * _linear(layer.mlp.up_proj, inner)
        x = x + _linear(layer.mlp.down_proj, gated)
    return _rms(core.norm, x)


def _has_causal_kernel(ids: Tensor) -> bool:
    """On a GPU. Padding stands on the right: no real token sees any of it, and no other bias is needed."""
    return ids.device.type != "cpu"


def _rotary_attention(
    module: Any, x: Tensor, cos: Tensor, sin: Tensor, bias: Tensor | None, rows: Tensor, at: Tensor | None,
    *, causal: bool,
) -> Tensor:  # fmt: skip
    """A decoder's self-attention; with `at`, queries are asked at one position a row."""
    asking = x if at is None else x[rows, at].unsqueeze(1)
    query = _heads(_linear(module.q_proj, asking), module.head_dim)
    key = _heads(_linear(module.k_proj, x), module.head_dim)
    value = _heads(_linear(module.v_proj, x), module.head_dim)
    if hasattr(module, "q_norm"):
        query, key = _rms(module.q_norm, query), _rms(module.k_norm, key)
    turn = (cos, sin) if at is None else (cos[0, at].unsqueeze(1), sin[0, at].unsqueeze(1))
    mixed = attention(rotate(query, *turn), rotate(key, cos, sin), value, bias, module.scaling, causal=causal)
    return _linear(module.o_proj, mixed.flatten(2))


def _encode(core: Any, ids: Tensor, lengths: Tensor, rows: Tensor, place: Tensor | None) -> Tensor:
    """States (rows, tokens, dim), or (rows, 1, dim) at `place`."""
    x: Tensor = core.embeddings(input_ids=ids)
    bias = _padding(torch.arange(ids.shape[1], device=ids.device), lengths, x.dtype)
    for number, layer in enumerate(core.encoder.layer, start=1):
        own = layer.attention.self
        size = own.attention_head_size
        asking = x
        if number == len(core.encoder.layer) and place is not None:
            asking = x[rows, place].unsqueeze(1)
        query = _heads(_linear(own.query, asking), size)
        key, value = (_heads(_linear(part, x), size) for part in (own.key, own.value))
        mixed = attention(query, key, value, bias, own.scaling).flatten(2)
        output = layer.attention.output
        x = output.LayerNorm(_linear(output.dense, mixed) + asking)
        inner = _intermediate(layer.intermediate, x, core.config.hidden_act)
        x = layer.output.LayerNorm(_linear(layer.output.dense, inner) + x)
    return x


def _intermediate(module: Any, x: Tensor, activation: str) -> Tensor:
    """The widening layer of an encoder with its activation."""
    dense = module.dense
    plain = activation == "gelu" and not hasattr(dense, "base_layer") and x.shape[0] * x.shape[1] > 1
    if plain and torch.is_inference_mode_enabled():
        return product_gelu(x.reshape(-1, x.shape[-1]), dense.weight, dense.bias).view(*x.shape[:-1], -1)
    found: Tensor = module.intermediate_act_fn(_linear(dense, x))
    return found


def _padding(keys: Tensor, lengths: Tensor, dtype: torch.dtype) -> Tensor | None:
    """(rows, 1, tokens), minus infinity at padding; None if nothing is padded, but for encoding: the path is another."""
    padded = keys >= lengths.unsqueeze(1)
    return _bias(padded, dtype).unsqueeze(1) if torch.is_inference_mode_enabled() or bool(padded.any()) else None


def _bias(masked: Tensor, dtype: torch.dtype) -> Tensor:
    return torch.zeros(masked.shape, dtype=dtype, device=masked.device).masked_fill_(masked, -torch.inf)


def _heads(x: Tensor, size: int) -> Tensor:
    return x.view(*x.shape[:-1], -1, size)


def _rms(module: Any, x: Tensor) -> Tensor:
    return rms_norm(x, module.weight, module.variance_epsilon)


def _linear(module: Any, x: Tensor) -> Tensor:
    """A linear layer with or without an adapter of peft's on it; x (..., i) -> (..., o)."""
    flat = x.reshape(-1, x.shape[-1])
    if len(flat) == 1 and torch.is_inference_mode_enabled():  # oneDNN takes another kernel for a single row
        return _linear(module, x.expand(2, *x.shape[1:]))[:1]
    base = getattr(module, "base_layer", module)
    if base is module or module.disable_adapters or not module.active_adapters:
        found = plain_linear(flat, base.weight, base.bias)
    else:
        (name,) = module.active_adapters
        dropout = module.lora_dropout[name]
        found = adapted_linear(
            flat, base.weight, base.bias, module.lora_A[name].weight, module.lora_B[name].weight, module.scaling[name],
            dropout.p if dropout.training and hasattr(dropout, "p") else 0.0,
        )  # fmt: skip
    return found.view(*x.shape[:-1], -1)
