"""Several trained checkpoints as one: their weights averaged, or their LoRAs added over the base they share.

The result is a checkpoint like those of training, so it is loaded, judged and kept like one. Adapters are added exactly,
without touching the base: the factors are stacked, B = [w1 s1 B1, w2 s2 B2 ...] over A = [A1; A2; ...], whose product is the
weighted sum of the updates w s B A (s = alpha / rank). The rank of the sum is the sum of the ranks.

Not here: which checkpoints may be merged (`sweeps/merging.py` says so before anything is trained), and merging vectors
(`concatenation.py`).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from annotated_types import Gt

from models.adapter import (
    ADAPTER_CONFIG,
    FULL_CONFIG,
    CheckpointError,
    is_adapter,
    read_tensors,
    weights_file,
    write_checkpoint,
)

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class MergeSpec:
    """How much of each checkpoint, in the order of the step's inputs."""

    weights: tuple[Annotated[float, Gt(0)], ...]


def merge(spec: MergeSpec, checkpoints: Sequence[Path], out: Path) -> None:
    """Write the merged checkpoint into `out`, float32; raises CheckpointError unless all have the same tensors."""
    tensors = [read_tensors(weights_file(checkpoint)) for checkpoint in checkpoints]
    for checkpoint, found in zip(checkpoints, tensors, strict=True):
        if differing := sorted(set(found) ^ set(tensors[0])):
            raise CheckpointError(
                f"{checkpoint} and {checkpoints[0]} do not have the same tensors, such as {differing[0]}; merge runs of one "
                "backbone and one kind of adapter"
            )
    if not is_adapter(checkpoints[0]):
        config = json.loads((checkpoints[0] / FULL_CONFIG).read_text(encoding="utf-8"))
        write_checkpoint(_averaged(spec.weights, tensors), config, out)
        return
    configs = [json.loads((checkpoint / ADAPTER_CONFIG).read_text(encoding="utf-8")) for checkpoint in checkpoints]
    shares = [weight * config["lora_alpha"] / config["r"] for weight, config in zip(spec.weights, configs, strict=True)]
    rank = sum(config["r"] for config in configs)
    write_checkpoint(_stacked(shares, tensors), configs[0] | {"r": rank, "lora_alpha": rank}, out)


def _averaged(weights: Sequence[float], tensors: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """The weighted sum, taken in float64."""
    import torch

    merged = {}
    for name in sorted(tensors[0]):
        parts = [weight * found[name].double() for weight, found in zip(weights, tensors, strict=True)]
        merged[name] = torch.stack(parts).sum(0).float()
    return merged


def _stacked(shares: Sequence[float], tensors: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """Factors (sum of ranks, in) and (out, sum of ranks) whose product is the weighted sum of the updates."""
    import torch

    merged = {}
    for name in sorted(tensors[0]):
        if ".lora_A." in name:
            merged[name] = torch.cat([found[name].float() for found in tensors], dim=0)
        else:
            parts = [share * found[name].float() for share, found in zip(shares, tensors, strict=True)]
            merged[name] = torch.cat(parts, dim=1)
    return merged
