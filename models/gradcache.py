"""Gradients of any loss over more texts than fit in memory: one engine around an unchanged objective.

GradCache (arXiv 2101.06983): encode chunk by chunk without a graph, take the objective's gradient at the vectors, encode
each chunk again with a graph and feed it its part. Dropout is replayed exactly: a chunk's second pass starts from the
generator state of its first (trap 15). Where all activations fit, `keep` holds one graph and saves the second pass; the
spec decides, never the memory that happens to be free.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    import torch
    from torch import Tensor

Activations = Literal["keep", "recompute"]
Encode = Callable[[Sequence[int]], "Tensor"]
"""Vectors (len(chunk), dim) of the texts at these indices, with a graph if gradients are enabled."""
Objective = Callable[["Tensor"], "Tensor"]
"""A scalar from the vectors (n, dim) of all texts, in order."""


def backward(
    encode: Encode, chunks: Sequence[Sequence[int]], objective: Objective, activations: Activations, device: str
) -> Tensor:
    """Accumulate the objective's gradients into the parameters `encode` uses; returns its value, without a graph.

    `chunks` holds every text's index once. Both ways give the same value and gradients up to rounding, dropout included.
    """
    import torch

    if activations == "keep":
        value = objective(_in_order([encode(chunk) for chunk in chunks], chunks))
        value.backward()  # type: ignore[no-untyped-call]
        return value.detach()
    states, parts = [], []
    with torch.no_grad():
        for chunk in chunks:
            states.append(_generator_state(device))
            parts.append(encode(chunk))
    vectors = _in_order(parts, chunks).requires_grad_()
    after = _generator_state(device)
    value = objective(vectors)
    (gradient,) = torch.autograd.grad(value, vectors)
    for chunk, state in zip(chunks, states, strict=True):
        _set_generator_state(state, device)
        encode(chunk).backward(gradient[torch.tensor(chunk, device=gradient.device)])  # type: ignore[no-untyped-call]
    _set_generator_state(after, device)
    return value.detach()


def _in_order(parts: Sequence[Tensor], chunks: Sequence[Sequence[int]]) -> Tensor:
    """Rows of the chunks' vectors put back in the order of the texts."""
    import torch

    place = torch.empty(sum(map(len, chunks)), dtype=torch.long)
    place[torch.tensor([index for chunk in chunks for index in chunk])] = torch.arange(len(place))
    stacked = torch.cat(list(parts))
    return stacked[place.to(stacked.device)]


def _generator_state(device: str) -> tuple[torch.Tensor, torch.Tensor | None]:
    import torch

    return torch.get_rng_state(), torch.cuda.get_rng_state(device) if device.startswith("cuda") else None


def _set_generator_state(state: tuple[torch.Tensor, torch.Tensor | None], device: str) -> None:
    import torch

    torch.set_rng_state(state[0])
    if state[1] is not None:
        torch.cuda.set_rng_state(state[1], device)
