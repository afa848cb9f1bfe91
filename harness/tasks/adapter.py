"""Our encoder as mteb sees it: an encoder that renders, and a search that streams.

mteb asks with data loaders and takes arrays back. Texts are read from the loader's data set as a column: going through its
batches costs more than a small model does. Search is ours (`harness.search`), with mteb's own texts for documents and queries.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from harness.encoder import Encoder
from harness.instructions import InstructionFormat, Side, render
from harness.search import nearest_rows, unit

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from harness.tasks import TaskSpec

BLOCK = 50_000  # documents encoded at a time, as in mteb


class EvaluateError(ValueError):
    """An evaluation that must not become a number; names the task and what is wrong."""


class Adapter:
    """What `task.evaluate` is given in place of a model of mteb's. Make it inside `isolate.isolated`."""

    def __init__(self, encoder: Encoder, form: InstructionFormat, spec: TaskSpec) -> None:
        from mteb.models.model_meta import ModelMeta, ScoringFunction

        # An object without this attribute is thrown away by mteb; one without a similarity fails in retrieval.
        name = {"name": f"ours/{encoder.identity}", "revision": encoder.identity}
        self.mteb_model_meta = ModelMeta.create_empty(overwrites={**name, "similarity_fn_name": ScoringFunction.COSINE})
        self.encoder, self.form, self.spec = encoder, form, spec
        self.asked = 0
        self.seconds = 0.0
        self._corpus: Any = None

    def encode(self, inputs: Any, *, prompt_type: Any = None, **_: Any) -> NDArray[np.float32]:
        """Vectors of all texts of a mteb data loader, in order."""
        document = prompt_type is not None and prompt_type.value == "document"
        return self.vectors(list(inputs.dataset["text"]), "document" if document else "query")

    def vectors(self, texts: Sequence[str], side: Side) -> NDArray[np.float32]:
        """Vectors of raw texts on one side of the task; raises EvaluateError if any is not finite or there are too few."""
        started = time.perf_counter()
        name, instruction = self.spec.name, self.spec.instruction
        rendered = [render(self.form, self.spec.task_type, side, instruction, text) for text in texts]
        vectors = np.asarray(self.encoder.encode(rendered), dtype=np.float32)
        if vectors.ndim != 2 or len(vectors) != len(rendered):
            raise EvaluateError(f"{name}: {len(rendered)} texts gave vectors of shape {vectors.shape}")
        if not np.isfinite(vectors).all():
            bad = int(np.flatnonzero(~np.isfinite(vectors).all(axis=1))[0])
            raise EvaluateError(f"{name}: the vector of text {bad} ({rendered[bad][:80]!r}) is not finite")
        self.asked += len(rendered)
        self.seconds += time.perf_counter() - started
        return vectors

    def similarity(self, first: Any, second: Any) -> Any:
        """Cosine of every row of one with every row of the other."""
        from mteb.similarity_functions import cos_sim

        return cos_sim(first, second)

    def similarity_pairwise(self, first: Any, second: Any) -> Any:
        """Cosine of rows at the same place."""
        from mteb.similarity_functions import pairwise_cos_sim

        return pairwise_cos_sim(first, second)

    def index(self, corpus: Any, **_: Any) -> None:
        """Take the documents (columns id, text and perhaps title); they are encoded while searching."""
        self._corpus = corpus

    def search(
        self, queries: Any, *, top_k: int, top_ranked: Mapping[str, Sequence[str]] | None = None, **_: Any
    ) -> dict[str, dict[str, float]]:
        """The `top_k` documents of each query with their cosines; of the candidates alone where the task has some."""
        from mteb._create_dataloaders import _retrieval_texts
        from mteb.types import PromptType

        names = [str(name) for name in queries["id"]]
        vectors = self.vectors(_retrieval_texts(queries, PromptType.query), "query")
        if top_ranked is not None:
            return self._rerank(names, vectors, top_ranked, top_k)
        documents = [str(name) for name in self._corpus["id"]]
        found = nearest_rows(vectors, self._blocks(), top_k)
        return {
            name: {documents[row]: float(score) for row, score in zip(rows, scores, strict=True)}
            for name, rows, scores in zip(names, found.rows.tolist(), found.scores.tolist(), strict=True)
        }

    def _blocks(self) -> Iterator[NDArray[np.float32]]:
        for start in range(0, len(self._corpus), BLOCK):
            part = self._corpus[start : start + BLOCK]
            yield self.vectors(document_texts(part), "document")

    def _rerank(
        self, names: list[str], queries: NDArray[np.float32], candidates: Mapping[str, Sequence[str]], top_k: int
    ) -> dict[str, dict[str, float]]:
        wanted = {document for name in names for document in candidates.get(name, ())}
        rows = [row for row, name in enumerate(self._corpus["id"]) if name in wanted]
        part = self._corpus.select(rows)
        place = {name: i for i, name in enumerate(part["id"])}
        documents, left = unit(self.vectors(document_texts(part[:]), "document")), unit(queries)
        found: dict[str, dict[str, float]] = {}
        for name, query in zip(names, left, strict=True):
            ranked = candidates.get(name, ())
            scores = documents[[place[document] for document in ranked]] @ query if len(ranked) else []
            best = sorted(zip(ranked, map(float, scores), strict=True), key=lambda hit: hit[1], reverse=True)
            found[name] = dict(best[:top_k])
        return found


def document_texts(columns: Mapping[str, Sequence[str]]) -> list[str]:
    """Documents as a model reads them: title, a space, text, as `mteb._create_dataloaders._corpus_to_dict` joins them."""
    titles = columns.get("title", [""] * len(columns["text"]))
    pairs = zip(titles, columns["text"], strict=True)
    return [f"{title} {text}".strip() if title else text.strip() for title, text in pairs]
