"""Randomness with an owner: every draw comes from a run's seed and a purpose, never from what the process did before.

`import mteb` reseeds the global generators and an evaluation draws from them (trap 45), so training keeps its own state and
gives the process its old one back.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager


def derive(seed: int, purpose: str) -> int:
    """A 63-bit seed for one purpose of a run: `order`, `adapter`, `dropout`; equal in every arm (arms are paired)."""
    return int.from_bytes(hashlib.sha256(f"{seed}/{purpose}".encode()).digest()[:8], "big") >> 1


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Generators of torch, on all devices, seeded inside and put back as they were afterwards."""
    import torch

    with torch.random.fork_rng():
        torch.manual_seed(seed)
        yield
