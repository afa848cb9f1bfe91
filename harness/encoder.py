"""What everybody above means by an encoder: texts in, vectors out, and a name for whose vectors they are.

`models.encoder.TorchEncoder` is one, a remote server another, a stub in a test a third. Texts arrive fully rendered
(`harness.instructions.render`): an encoder adds tokens, never words.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@dataclass
class EncodeCounts:
    """What encoding cost; grows over calls."""

    texts: int = 0
    tokens: int = 0
    """Real tokens, specials included, padding not."""
    padded_tokens: int = 0
    truncated: int = 0
    """Texts longer than the maximum length."""
    stored: int = 0
    """Texts whose vectors came from the embedding store, and are in none of the counts above."""


class Encoder(Protocol):
    """Anything that turns texts into vectors."""

    identity: str
    """Fingerprint of all that decides a vector: weights digest, pooling, length, dtype, tokenizer, batch plan."""

    @property
    def counts(self) -> EncodeCounts:
        """What encoding cost so far."""
        ...

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Vectors of shape (len(texts), dimensions), float32, rows in the order of `texts`."""
        ...

    def token_ids(self, text: str) -> list[int]:
        """The ids the model sees for `text`, specials included: what a record keeps of its probes."""
        ...
