"""Several encoders as one: their vectors of length one side by side.

Each part is scaled by the square root of its weight. Weights sum to one, so the whole has length one too, and the similarity
of two texts is the weighted mean of the similarities that the parts give. Parts may differ in everything but what they are
told: backbone, pooling, dimension, a server instead of weights.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Annotated, Literal

from annotated_types import Gt

from harness.encoder import EncodeCounts, Encoder
from harness.identity import fingerprint
from harness.server import ServerSpec
from models.encoder import EncoderSpec

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

TINY = 1e-12  # a vector shorter than that is left as it is, as torch's `normalize` does


@dataclass(frozen=True)
class ConcatenationSpec:
    """All that decides what vector a text gets, besides the checkpoints of the parts."""

    kind: Literal["concatenation"]
    parts: tuple[EncoderSpec | ServerSpec, ...]
    weights: tuple[Annotated[float, Gt(0)], ...]


class ConcatenatedEncoder:
    """Encoders side by side."""

    def __init__(self, parts: Sequence[Encoder], weights: Sequence[float]) -> None:
        """As many weights as parts; they sum to one."""
        self._parts, self._weights = tuple(parts), tuple(weights)
        self.identity = fingerprint({"parts": [part.identity for part in parts], "weights": list(weights)})

    @property
    def counts(self) -> EncodeCounts:
        """What all parts cost together: a text counts once for each."""
        every = [asdict(part.counts) for part in self._parts]
        return EncodeCounts(**{name: sum(counts[name] for counts in every) for name in every[0]})

    def token_ids(self, text: str) -> list[int]:
        """The ids that the parts see, one after another."""
        return [token for part in self._parts for token in part.token_ids(text)]

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Vectors (len(texts), sum of dimensions), float32, of length one, rows in the order of `texts`."""
        import numpy as np

        columns = []
        for part, weight in zip(self._parts, self._weights, strict=True):
            vectors = part.encode(texts)
            lengths = np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), TINY)
            columns.append((vectors / lengths * np.sqrt(weight)).astype(np.float32))
        return np.concatenate(columns, axis=1)
