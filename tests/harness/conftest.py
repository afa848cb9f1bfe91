"""An encoder that needs no weights, and the quick benchmark evaluated with it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from harness.encoder import EncodeCounts
from harness.evaluate import evaluate
from harness.instructions import InstructionFormat, Natural
from harness.step import silent
from harness.tasks import Quick, TaskSpec, plan_tasks, quick
from harness.tasks.prompts import PaperPrompts

MTEB = "2.26.24"


@cache
def piece_vector(piece: str, dimensions: int) -> NDArray[np.float64]:
    seed = int(hashlib.sha256(piece.encode()).hexdigest()[:12], 16)
    return np.random.default_rng(seed).normal(size=dimensions)


class WordEncoder:
    """A bag of words, each a random vector drawn from its own hash: deterministic in any process, any batch, any order."""

    def __init__(self, identity: str = "words", dimensions: int = 48) -> None:
        self.identity = identity
        self.counts = EncodeCounts()
        self.dimensions = dimensions
        self.seen: list[str] = []
        self.calls = 0

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        self.calls += 1
        self.seen += texts
        self.counts.texts += len(texts)
        self.counts.tokens += sum(len(text.split()) for text in texts)
        return np.stack([self._vector(text) for text in texts]).astype(np.float32)

    def token_ids(self, text: str) -> list[int]:
        return [len(word) for word in text.split()]

    def _vector(self, text: str) -> NDArray[np.float64]:
        pieces = text.lower().split() + [text.lower()[i : i + 3] for i in range(len(text))] + ["end"]
        total = np.sum([piece_vector(f"{self.identity} {piece}", self.dimensions) for piece in pieces], axis=0)
        return np.asarray(total / np.linalg.norm(total))


@pytest.fixture
def words() -> WordEncoder:
    return WordEncoder()


@pytest.fixture
def other_words() -> WordEncoder:
    """Another model."""
    return WordEncoder("other words")


@pytest.fixture(scope="session")
def quick_specs() -> dict[str, TaskSpec]:
    suite = Quick("quick", tuple(quick.TASKS), PaperPrompts("paper"), MTEB)
    return {spec.name: spec for spec in plan_tasks(suite, None)}


Judge = Callable[..., Path]


@pytest.fixture
def judge(tmp_path: Path) -> Judge:
    """Evaluate an encoder on a task in a folder of its own and return it; what was measured goes to `measured`."""
    counter = iter(range(1000))

    def run(
        spec: TaskSpec,
        encoder: Any,
        form: InstructionFormat | None = None,
        data: str | None = None,
        measured: dict[str, Any] | None = None,
    ) -> Path:
        out = tmp_path / f"{spec.name}-{next(counter)}"
        out.mkdir()
        notes = {} if measured is None else measured
        evaluate(spec, form or Natural("natural"), encoder, out, data, silent, notes)
        return out

    return run


@pytest.fixture(scope="session")
def quick_results(quick_specs: dict[str, TaskSpec], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Payload folders of the quick benchmark, judged once on the bag of words."""
    folders = {}
    for name, spec in quick_specs.items():
        folders[name] = tmp_path_factory.mktemp(name)
        evaluate(spec, Natural("natural"), WordEncoder(), folders[name], None, silent, {})
    return folders
