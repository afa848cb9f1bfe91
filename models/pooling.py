"""From the last layer's states to one vector per text.

Every pooling reads the attention mask alone: which side is padded does not matter (trap 5), and a pad token that is also EOS
confuses nobody (trap 6). No argument is changed in place.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Literal

from harness.kinds import BY_KIND

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class LastToken:
    """The state of the last real token, the EOS that `tokenizer.py` appends (E5-Mistral, section 3.2)."""

    kind: Literal["last_token"]


@dataclass(frozen=True)
class Mean:
    """The mean over real tokens, specials included."""

    kind: Literal["mean"]


@dataclass(frozen=True)
class WeightedMean:
    """The mean weighted by position, 1 for the first real token to n for the last (SGPT, arXiv 2202.08904)."""

    kind: Literal["weighted_mean"]


@dataclass(frozen=True)
class Cls:
    """The state of the first real token."""

    kind: Literal["cls"]


Pooling = Annotated[LastToken | Mean | WeightedMean | Cls, BY_KIND]


def pool(spec: Pooling, hidden: Tensor, mask: Tensor) -> Tensor:
    """Vectors of shape (batch, dim) from states (batch, tokens, dim) and a mask (batch, tokens) of ones for real tokens.

    Sums are taken in float32 at least; the result is not normalised. Every row needs a real token.
    """
    import torch

    real = mask.to(torch.long)
    wide = torch.promote_types(hidden.dtype, torch.float32)
    if isinstance(spec, (LastToken, Cls)):
        index = (real * torch.arange(1, mask.shape[1] + 1, device=mask.device)).argmax(1)
        if isinstance(spec, Cls):
            index = real.argmax(1)  # the first of equal maxima
        return hidden[torch.arange(hidden.shape[0], device=hidden.device), index].to(wide)
    weights = (real.cumsum(1) * real if isinstance(spec, WeightedMean) else real).to(wide).unsqueeze(-1)
    return (hidden.to(wide) * weights).sum(1) / weights.sum(1)
