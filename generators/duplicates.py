"""Duplicates in a stream of pairs: exact ones by hash, near ones by MinHash (rensa) over sequences of five letters.

Letters and not words, so that languages without spaces count too. Memory grows by about half a kilobyte a pair. The first
of a family of near duplicates stays; so the verdicts depend on the order of the pool, which is fixed.
"""

from __future__ import annotations

import hashlib
from typing import Any, Literal

PERMUTATIONS, BANDS = 128, 32
"""32 bands of 4: a pair of texts with 70 % in common is found with 99.98 %, then compared over all 128."""
SEED = 1


class Seen:
    """What has been accepted so far. `near`: the share of common sequences from which on a pair is a near duplicate."""

    def __init__(self, near: float | None) -> None:
        self._exact: set[bytes] = set()
        self._near = near
        self._hashes: list[Any] = []
        self._index: Any = None

    def add(self, query: str, positive: str) -> Literal["duplicate", "near_duplicate"] | None:
        """Why the pair is a repeat; None: it is new, and remembered."""
        content = hashlib.sha256(f"{query}\0{positive}".encode()).digest()
        if content in self._exact:
            return "duplicate"
        if self._near is not None and self._resembles(f"{query}\n{positive}"):
            return "near_duplicate"
        self._exact.add(content)
        return None

    def _resembles(self, text: str) -> bool:
        index, sketch = self._lookup(), minhash(text)
        if any(self._hashes[key].jaccard(sketch) >= self._near for key in index.query(sketch)):
            return True
        index.insert(len(self._hashes), sketch)
        self._hashes.append(sketch)
        return False

    def _lookup(self) -> Any:
        if self._index is None:
            from rensa import RMinHashLSH

            self._index = RMinHashLSH(threshold=self._near, num_perm=PERMUTATIONS, num_bands=BANDS)
        return self._index


def minhash(text: str) -> Any:
    """The sketch of a text: case and spacing do not count."""
    from rensa import RMinHash

    plain = " ".join(text.casefold().split())
    sketch = RMinHash(num_perm=PERMUTATIONS, seed=SEED)
    sketch.update([plain[i : i + 5] for i in range(max(1, len(plain) - 4))])
    return sketch
