"""From the last layer's states to one vector per text.

Every pooling reads the attention mask alone: which side is padded does not matter (trap 5), and a pad token that is also EOS
confuses nobody (trap 6). No argument is changed in place.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
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


@dataclass(frozen=True)
class Stated:
    """What the model's folder says of itself in sentence-transformers' files; one of the others once a run is planned."""

    kind: Literal["stated"]


Pooling = Annotated[LastToken | Mean | WeightedMean | Cls, BY_KIND]
PoolingChoice = Annotated[LastToken | Mean | WeightedMean | Cls | Stated, BY_KIND]

# By sentence-transformers' `pooling_mode` (since 6) and by the names of its older switches.
STATED: dict[str, Pooling] = {
    "lasttoken": LastToken("last_token"), "mean": Mean("mean"), "weightedmean": WeightedMean("weighted_mean"),
    "cls": Cls("cls"),
}  # fmt: skip
SWITCHES = {
    "pooling_mode_lasttoken": "lasttoken", "pooling_mode_mean_tokens": "mean", "pooling_mode_cls_token": "cls",
    "pooling_mode_weightedmean_tokens": "weightedmean",
}  # fmt: skip


class PoolingError(ValueError):
    """A folder that does not say how it is pooled, or in a way that is not ours; names the file and the remedy."""


def stated(folder: Path) -> Pooling:
    """The pooling of a sentence-transformers folder, read from the file its `modules.json` names. Raises PoolingError."""
    remedy = "choose model/pooling=mean, last_token, weighted_mean or cls"
    try:
        modules = json.loads((folder / "modules.json").read_text(encoding="utf-8"))
        place = next(module["path"] for module in modules if module["type"].endswith("Pooling"))
        config = json.loads((folder / place / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError, KeyError, TypeError, StopIteration) as error:
        raise PoolingError(f"{folder}: its modules.json does not lead to a pooling ({error!r}); {remedy}") from error
    known = {mode for switch, mode in SWITCHES.items() if config.get(switch) is True}
    known |= {switch for switch, on in config.items() if switch.startswith("pooling_mode_") and on is True} - set(SWITCHES)
    known |= {config["pooling_mode"]} if isinstance(config.get("pooling_mode"), str) else set()
    if len(known) != 1 or not known <= set(STATED):
        raise PoolingError(f"{folder / place / 'config.json'}: pools by {sorted(known)}, which is none of ours; {remedy}")
    return STATED[known.pop()]


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
