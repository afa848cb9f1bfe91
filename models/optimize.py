"""How parameters move once their gradients are there: AdamW, its rate, its limits, and randomness that repeats."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from models.seeds import derive, seeded

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from models.train import TrainSpec


def adamw(plan: TrainSpec, parameters: Mapping[str, Tensor]) -> torch.optim.Optimizer:
    """AdamW over trainable parameters; matrices decay, biases and norms do not."""
    import torch

    values = list(parameters.values())
    groups = [{"params": [value for value in values if value.ndim >= 2], "weight_decay": plan.weight_decay},
              {"params": [value for value in values if value.ndim < 2], "weight_decay": 0.0}]  # fmt: skip
    return torch.optim.AdamW(groups, lr=plan.learning_rate, betas=plan.betas, eps=plan.eps, fused=True)


def learning_rate(plan: TrainSpec, step: int) -> float:
    """The rate of a step, counted from 0: rising linearly to the full one at the last warm-up step, then as scheduled."""
    if step < plan.warmup_steps:
        return plan.learning_rate * (step + 1) / plan.warmup_steps
    done = (step - plan.warmup_steps) / max(1, plan.steps - plan.warmup_steps)
    if plan.schedule == "linear":
        return plan.learning_rate * (1 - done)
    if plan.schedule == "cosine":
        return plan.learning_rate * (1 + math.cos(math.pi * done)) / 2
    return plan.learning_rate


def clip(parameters: Mapping[str, Tensor], limit: float | None) -> float:
    """Scale all gradients down to a common norm of `limit`, if there is one; returns the norm before."""
    import torch

    return float(torch.nn.utils.clip_grad_norm_(list(parameters.values()), math.inf if limit is None else limit))


@contextmanager
def reproducible(seed: int, device: str) -> Iterator[None]:
    """Dropout drawn from the run's seed; on a CPU also algorithms that give the same bits every time."""
    import torch

    before = torch.are_deterministic_algorithms_enabled()
    memory: Any = torch.utils.deterministic  # filling fresh memory costs time and changes nothing that is computed
    fill = memory.fill_uninitialized_memory
    with seeded(derive(seed, "dropout")), torch.enable_grad():
        torch.use_deterministic_algorithms(device == "cpu" or before)
        memory.fill_uninitialized_memory = False
        try:
            yield
        finally:
            torch.use_deterministic_algorithms(before)
            memory.fill_uninitialized_memory = fill
