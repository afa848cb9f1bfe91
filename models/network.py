"""A backbone as a function: rows of token ids in, one vector per row out.

Training and encoding run through this one object, so that dtype, attention, padding and pooling cannot differ between them.
Chunks are cut from texts sorted by length under a budget of padded tokens; padding is masked, never seen.

Not here: text (`tokenizer.py`), what is trained (`adapter.py`), gradients (`gradcache.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple

from annotated_types import Gt

from models.adapter import is_adapter, restore_adapter, restore_full
from models.backbone import BackboneError, read_config
from models.pooling import Pooling, pool
from models.tokenizer import is_decoder

if TYPE_CHECKING:
    from torch import Tensor, nn

Attention = Literal["causal", "bidirectional", "native"]
Dtype = Literal["float32", "bfloat16"]
CHUNK_COST = 256
"""Padded tokens that take as long as a chunk takes besides its tokens: between MiniLM and the tiny decoder (LOG.md)."""
UNAFFORDABLE = 2**60


@dataclass(frozen=True)
class Positions:
    """How far the tokens of a text see each other, where it is not as `config.json` says (paper, figure 5)."""

    rope_base: Annotated[float, Gt(0)] | None
    """Of rotary positions; null: config.json's."""
    sliding_window: Annotated[int, Gt(0)] | None
    """Tokens a token sees, itself included, in every layer; null: config.json's. At the maximum length and above: no window."""


AS_CONFIGURED = Positions(None, None)


@dataclass
class Network:
    """A loaded backbone with its pooling."""

    model: nn.Module
    pooling: Pooling
    pad_id: int
    device: str
    fuse: bool = True
    """Whether `fused.py` may do it; False is the oracle of the tests."""

    def embed(self, rows: Sequence[Sequence[int]], width: int | None = None) -> Tensor:
        """Vectors (len(rows), dim), float32 at least, not normalised; gradients flow if they are enabled.

        Rows are padded to `width` tokens; None: to the longest of them.
        """
        import torch

        from models import fused

        lengths = torch.tensor([len(row) for row in rows])
        longest = width or int(lengths.max())
        ids = torch.full((len(rows), longest), self.pad_id, dtype=torch.long)
        for i, row in enumerate(rows):
            ids[i, : len(row)] = torch.tensor(row, dtype=torch.long)
        ids, lengths = ids.to(self.device), lengths.to(self.device)
        vectors = fused.embed(self.model, self.pooling, ids, lengths) if self.fuse else None
        if vectors is None:
            mask = (torch.arange(longest, device=ids.device) < lengths.unsqueeze(1)).long()
            vectors = pool(self.pooling, self.model(input_ids=ids, attention_mask=mask).last_hidden_state, mask)
        return vectors

    def weights(self) -> int:
        """Parameters that every token is multiplied with: all of the backbone's but embeddings, without adapters."""
        parts = self.model.named_parameters()
        return sum(value.numel() for name, value in parts if "embed" not in name and "lora_" not in name)

    def peak_memory(self) -> int:
        """Most bytes held so far: of the GPU's memory, or resident in this process."""
        import torch

        if self.device.startswith("cuda"):
            return torch.cuda.max_memory_allocated(self.device)
        import resource

        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024  # Linux counts in KiB


def plan_chunks(lengths: Sequence[int], budget: int) -> list[list[int]]:
    """Indices cut into chunks of similar length, longest first, of at most `budget` padded tokens (or one row) each.

    Cut where padding and chunks together cost least, not where the budget is full: a batch of docstrings is a third padding
    otherwise. Longest first: if memory does not suffice, the first chunk says so. Equal lengths keep their order.
    """
    import numpy as np

    order = sorted(range(len(lengths)), key=lambda i: (-lengths[i], i))
    widths = np.array([lengths[i] for i in order])
    best, start = np.zeros(len(order) + 1), np.zeros(len(order) + 1, dtype=int)
    for end in range(1, len(order) + 1):  # the cheapest way to cut the first `end`, by where its last chunk starts
        first = max(0, end - max(1, budget // widths[end - 1]))
        padded = (end - np.arange(first, end)) * widths[first:end]
        padded[:-1][padded[:-1] > budget] = UNAFFORDABLE
        costs = best[first:end] + padded + CHUNK_COST
        start[end] = first + costs.argmin()
        best[end] = costs.min()
    chunks, end = [], len(order)
    while end:
        chunks.append(order[start[end] : end])
        end = int(start[end])
    return chunks[::-1]


class Bucket(NamedTuple):
    """Rows of one padded width."""

    width: int
    rows: list[int]


def plan_buckets(lengths: Sequence[int], budget: int, limit: int) -> list[Bucket]:
    """Like `plan_chunks`, but the padded width of a row follows from its own length alone, never from its neighbours.

    Widths are eight to an octave (4 % padding on average), `limit` at most.
    """
    widths = [min(limit, _width(length)) for length in lengths]
    buckets: list[Bucket] = []
    for index in sorted(range(len(widths)), key=lambda i: (-widths[i], i)):
        width = widths[index]
        if buckets and buckets[-1].width == width and (len(buckets[-1].rows) + 1) * width <= budget:
            buckets[-1].rows.append(index)
        else:
            buckets.append(Bucket(width, [index]))
    return buckets


def _width(length: int) -> int:
    step = 1 << max(0, length.bit_length() - 4)
    return -(-length // step) * step


def load_model(
    folder: Path, attention: Attention, dtype: Dtype, checkpoints: Sequence[Path], device: str, *, merge_last: bool,
    positions: Positions = AS_CONFIGURED,
) -> nn.Module:  # fmt: skip
    """The backbone of a folder with the trained weights of `checkpoints` on it, in eval mode, in exactly `dtype` (trap 24).

    Earlier adapters are merged in float32 before the cast (trap 27); the last stays an adapter unless `merge_last`, which
    training says, because it puts its own on top. Raises CheckpointError if one does not fit.
    """
    import torch
    from transformers import AutoConfig, AutoModel

    config = AutoConfig.from_pretrained(folder, trust_remote_code=False, local_files_only=True)
    _set_attention(config, attention, folder)
    _set_positions(config, positions)
    config.use_cache = False
    first = torch.float32 if checkpoints else getattr(torch, dtype)
    options: dict[str, Any] = {} if is_decoder(folder) else {"add_pooling_layer": False}
    with quiet():
        model: nn.Module = AutoModel.from_pretrained(
            folder, config=config, dtype=first, trust_remote_code=False, local_files_only=True, use_safetensors=True,
            **options,
        )  # fmt: skip
    top = checkpoints[-1] if checkpoints and is_adapter(checkpoints[-1]) and not merge_last else None
    for checkpoint in checkpoints[:-1] if top else checkpoints:
        if is_adapter(checkpoint):
            model = restore_adapter(model, checkpoint).merge_and_unload()  # type: ignore[operator]
        else:
            restore_full(model, checkpoint)
    model = model.to(getattr(torch, dtype))
    if top:
        model = restore_adapter(model, top)
    return model.requires_grad_(requires_grad=False).eval().to(device)


def pad_id(folder: Path) -> int:
    """An id for padding: the model's own, because some (XLM-R) count positions by it; else 0, which the mask hides."""
    own = read_config(folder).get("pad_token_id")
    return own if isinstance(own, int) else 0


def _set_attention(config: Any, attention: Attention, folder: Path) -> None:
    """By public switches of the configuration; `native` leaves what the architecture does."""
    if attention == "native":
        return
    if attention == "causal" and not is_decoder(folder):  # is_causal holds for them only while nothing is padded
        raise BackboneError(
            f"model.attention: 'causal' is not to be had for {config.model_type!r}, an encoder; use native or bidirectional"
        )
    config.is_causal = attention == "causal"
    if hasattr(config, "use_bidirectional_attention"):  # the Gemma family has its own
        config.use_bidirectional_attention = attention == "bidirectional"


def _set_positions(config: Any, positions: Positions) -> None:
    """Before the model is built: afterwards, and by any other name, a change has no effect and nothing warns (trap 46)."""
    if positions.rope_base is not None:
        if "rope_theta" not in (getattr(config, "rope_parameters", None) or {}):
            raise BackboneError(f"model.positions.rope_base: {config.model_type!r} has no rotary base of its own; use null")
        config.rope_parameters = {**config.rope_parameters, "rope_theta": positions.rope_base}
    if positions.sliding_window is not None:
        if not hasattr(config, "sliding_window") or not getattr(config, "is_causal", True):
            raise BackboneError(
                f"model.positions.sliding_window: {config.model_type!r} has no window that looks back; use null, or a causal "
                "Mistral or Qwen3"
            )
        config.sliding_window = positions.sliding_window
        if hasattr(config, "layer_types"):
            config.use_sliding_window = True
            config.layer_types = ["sliding_attention"] * config.num_hidden_layers


class quiet:  # noqa: N801 - used as a verb
    """transformers without progress bars and load reports on stderr."""

    def __enter__(self) -> None:
        from transformers.utils import logging

        self._bars, self._level = logging.is_progress_bar_enabled(), logging.get_verbosity()
        logging.disable_progress_bar()
        logging.set_verbosity_error()

    def __exit__(self, *_: object) -> None:
        from transformers.utils import logging

        logging.set_verbosity(self._level)
        if self._bars:
            logging.enable_progress_bar()
