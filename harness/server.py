"""An encoder behind an OpenAI-compatible `/embeddings` server (vLLM, TEI, llama.cpp, a paid service), for evaluation-only arms.

Such a server says neither which weights it runs nor how it cuts long texts: the specification states what is believed, and the
identity holds that statement. The key is read from the environment and appears nowhere else.
"""

from __future__ import annotations

import base64
import json
import os
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal

from annotated_types import Gt

from harness.encoder import EncodeCounts
from harness.identity import fingerprint
from harness.instructions import InstructionFormat
from harness.runtime import Endpoint

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

ATTEMPTS = 6
FIRST_WAIT = 0.5  # seconds, doubled after every failure; a server's Retry-After goes first
BUSY = frozenset({408, 409, 425, 429, 500, 502, 503, 504})


class ServerError(RuntimeError):
    """A server that did not answer as promised; names the address and the remedy, never the key."""


@dataclass(frozen=True)
class ServerSpec:
    """A model behind a server, as far as it can be stated."""

    kind: Literal["server"]
    name: str
    """What the server calls it."""
    revision: str
    """What you believe it runs: part of the identity, since nothing else about the weights is known."""
    dimensions: Annotated[int, Gt(0)] | None
    """Asked for, where the model can shorten its vectors; None: its own."""


@dataclass(frozen=True)
class ServedModel:
    """`conf/model/server.yaml`: an arm that is judged and not trained."""

    kind: Literal["server"]
    name: str
    revision: str
    dimensions: Annotated[int, Gt(0)] | None
    instruction: InstructionFormat

    def encoder(self, task_type: str = "") -> ServerSpec:  # noqa: ARG002 - the interface's
        """The part that decides vectors: as the server sends them, for every type of task."""
        return ServerSpec(self.kind, self.name, self.revision, self.dimensions)


class ServerEncoder:
    """Vectors over HTTP, in batches and in parallel; rows in the order of the texts."""

    def __init__(self, spec: ServerSpec, endpoint: Endpoint, batch: int = 64, parallel: int = 4) -> None:
        """`endpoint` says where it answers and which variable of the environment holds the key, if any."""
        self.spec, self.address = spec, endpoint.url.rstrip("/")
        self.identity = fingerprint(spec)
        self.counts = EncodeCounts()
        self._key_variable, self._batch, self._parallel = endpoint.key_variable, batch, parallel

    def token_ids(self, text: str) -> list[int]:  # noqa: ARG002 - the interface's
        """Empty: the protocol does not tell."""
        return []

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Vectors of shape (len(texts), dimensions), float32; each distinct text is sent once. Raises ServerError."""
        import numpy as np

        if not texts:
            raise ValueError("encode: no texts; an empty table of vectors has no dimension")
        row_of: dict[str, int] = {}
        rows = [row_of.setdefault(text, len(row_of)) for text in texts]
        with ThreadPoolExecutor(self._parallel) as pool:
            parts = list(pool.map(self._request, self._batches(list(row_of))))
        widths = {part.shape[1] for part, _ in parts}
        if len(widths) != 1:
            raise ServerError(f"{self.address}: vectors of {sorted(widths)} dimensions in answer to one model's name")
        self.counts.texts += len(texts)
        self.counts.tokens += sum(tokens for _, tokens in parts)
        self.counts.padded_tokens += sum(tokens for _, tokens in parts)
        vectors: NDArray[np.float32] = np.concatenate([part for part, _ in parts])[rows]
        return vectors

    def _batches(self, texts: list[str]) -> Iterator[list[str]]:
        for start in range(0, len(texts), self._batch):
            yield texts[start : start + self._batch]

    def _request(self, texts: list[str]) -> tuple[NDArray[np.float32], int]:
        body: dict[str, Any] = {"model": self.spec.name, "input": texts, "encoding_format": "base64"}
        if self.spec.dimensions is not None:
            body["dimensions"] = self.spec.dimensions
        answer = self._post(json.dumps(body).encode())
        try:
            return self._vectors(answer, len(texts)), int(answer.get("usage", {}).get("total_tokens", 0))
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise ServerError(f"{self.address}/embeddings: not an embeddings response ({error})") from error

    def _vectors(self, answer: Mapping[str, Any], expected: int) -> NDArray[np.float32]:
        import numpy as np

        ordered = sorted(answer["data"], key=lambda row: int(row["index"]))
        if [int(row["index"]) for row in ordered] != list(range(expected)):
            raise ValueError(f"{len(ordered)} vectors for {expected} texts, or indices that do not fit")
        vectors = np.stack([_decode(row["embedding"]) for row in ordered])
        if not np.isfinite(vectors).all():
            raise ValueError("a vector has values that are not finite")
        return vectors

    def _post(self, body: bytes) -> dict[str, Any]:
        headers = {"Content-Type": "application/json"}
        if key := os.environ.get(self._key_variable or ""):
            headers["Authorization"] = f"Bearer {key}"
        request = urllib.request.Request(f"{self.address}/embeddings", body, headers)  # noqa: S310 - http by intention
        wait = FIRST_WAIT
        for attempt in range(ATTEMPTS):
            try:
                with urllib.request.urlopen(request, timeout=600) as response:  # noqa: S310
                    found: dict[str, Any] = json.loads(response.read())
                    return found
            except urllib.error.HTTPError as error:
                problem = f"{error.code} {error.read()[:200].decode(errors='replace')!r}"
                if error.code not in BUSY or attempt == ATTEMPTS - 1:
                    raise ServerError(
                        f"{self.address}/embeddings: {problem}; is the model's name right, the key set?"
                    ) from None
                wait = float(error.headers.get("Retry-After") or wait)
            except OSError as error:
                if attempt == ATTEMPTS - 1:
                    raise ServerError(f"{self.address}/embeddings: {error}; is the server running?") from error
            except ValueError as error:
                raise ServerError(f"{self.address}/embeddings: not JSON ({error})") from error
            time.sleep(wait)
            wait *= 2
        raise AssertionError("unreachable: the last attempt returns or raises")


def _decode(embedding: Any) -> NDArray[np.float32]:
    """Base64 of little-endian float32, or a list of numbers from a server that ignores the request for it."""
    import numpy as np

    if isinstance(embedding, str):
        return np.frombuffer(base64.b64decode(embedding, validate=True), dtype="<f4")
    return np.asarray(embedding, dtype=np.float32)
