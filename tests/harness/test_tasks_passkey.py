"""The passkey task: what its texts promise, what finds the key, and that planning and making agree."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import yaml

from harness.config import ConfigError, decode
from harness.encoder import EncodeCounts
from harness.evaluate import evaluate
from harness.instructions import NoInstruction
from harness.scores import SCORES_FILE, read_scores
from harness.step import silent
from harness.tasks import Suite, TaskSpec, plan_tasks
from harness.tasks.demand import demand
from harness.tasks.passkey import MAKER, Making, Passkey, Texts, make, making_of
from models.tokenizer import Tokenizer

if TYPE_CHECKING:
    from numpy.typing import NDArray

REPOSITORY = Path(__file__).resolve().parents[2]
SHIPPED = yaml.safe_load((REPOSITORY / "conf" / "eval" / "passkey.yaml").read_text(encoding="utf-8"))
NEEDLE = re.compile(r"The pass key for (.+?) is (\d{5})\. Remember it\. (\d{5}) is the pass key for (.+?)\.")


def suite(**changes: object) -> Passkey:
    found: Passkey = decode(Suite, SHIPPED | changes)  # type: ignore[arg-type]
    return found


def texts_of(spec: TaskSpec) -> Texts:
    return make(making_of(spec.revision))


def test_figure_5_has_eight_lengths_of_fifty_queries_and_a_hundred_documents() -> None:
    specs = plan_tasks(suite(), None)

    assert [spec.name for spec in specs] == [f"Passkey{2**power}" for power in range(8, 16)]
    assert {(spec.task_type, spec.main, spec.data) for spec in specs} == {("Retrieval", "ndcg_at_1", "made")}
    for spec in specs[:4]:
        assert (len(texts_of(spec).documents), len(texts_of(spec).queries)) == (100, 50)
        assert demand(spec) is not None
        assert demand(spec).texts == 150  # type: ignore[union-attr]


@pytest.mark.parametrize("length", [256, 2048])
def test_every_document_is_one_persons_and_no_other_names_the_key(length: int) -> None:
    texts = make(Making(length, 0.55, 100, 50, 0, MAKER))
    found = [NEEDLE.findall(document) for document in texts.documents]
    keys = [one[0][1] for one in found]
    places = [document.index("The pass key") / len(document) for document in texts.documents]

    assert all(len(one) == 1 and one[0][0] == one[0][3] and one[0][1] == one[0][2] for one in found)
    assert [one[0][0] for one in found] == list(texts.people)
    assert len(set(keys)) == len(set(texts.people)) == 100
    assert [query.split("for ")[1].rstrip("?") for query in texts.queries] == list(texts.people[:50])
    assert min(places) < 0.1
    assert max(places) > 0.5
    assert 0.35 * length < min(len(document.split()) for document in texts.documents) <= 0.55 * length


def test_no_document_is_longer_in_tokens_than_its_name_says() -> None:
    """With the vocabulary of our own decoder, which cuts words into more pieces than a large one does."""
    tokenizer = Tokenizer(REPOSITORY / "models" / "tiny" / "weights", 1 << 20)
    for length in (256, 512, 1024):
        texts = make(Making(length, SHIPPED["words_per_token"], 100, 50, 0, MAKER))
        longest = max(len(item.ids) for item in tokenizer(list(texts.documents)))
        assert 0.8 * length < longest <= length


def test_the_texts_are_those_they_were() -> None:
    """If this fails on purpose, raise MAKER: equal parameters must mean equal texts."""
    texts = make(Making(256, 0.55, 100, 50, 0, 1))
    digest = hashlib.sha256("\n".join((*texts.documents, *texts.queries)).encode()).hexdigest()

    assert MAKER == 1
    assert digest[:16] == "65066c38f383ead2"


class Reader:
    """An encoder that sees only the names in a text, and only in its first `window` words."""

    identity = "reader"

    def __init__(self, window: int) -> None:
        self.window = window
        self.counts = EncodeCounts()

    def token_ids(self, text: str) -> list[int]:
        return [len(text)]

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        self.counts.texts += len(texts)
        vectors = np.zeros((len(texts), 512), dtype=np.float32)
        for row, text in enumerate(texts):
            seen = " ".join(text.split()[: self.window])
            vectors[row, 0] = 0.01
            for name in re.findall(r"for (\w+ \w+)", seen)[:1]:
                digest = hashlib.sha256(name.encode()).digest()
                vectors[row] += np.random.Generator(np.random.PCG64(int.from_bytes(digest[:8], "big"))).normal(size=512)
        return vectors


def test_who_reads_names_finds_every_key_and_who_reads_half_finds_half(tmp_path: Path) -> None:
    (spec,) = plan_tasks(suite(lengths=[512]), None)
    scores = {}
    for window in (1000, 120):
        out = tmp_path / str(window)
        out.mkdir()
        evaluate(spec, NoInstruction("none"), Reader(window), out, None, silent, {})
        scores[window] = read_scores(out / SCORES_FILE).subsets[0]
    texts = texts_of(spec)
    seen = [re.search(r"for \w+ \w+", " ".join(text.split()[:120])) is not None for text in texts.documents[:50]]

    assert scores[1000].main == 1.0
    assert scores[1000].n_items == 50
    assert scores[120].main == pytest.approx(sum(seen) / 50)
    assert 10 < sum(seen) < 40


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"queries": 101}, "need as many documents"),
        ({"lengths": [256, 256]}, "names a length twice"),
        ({"lengths": []}, "at least 1"),
        ({"documents": 401}, "less than or equal to 400"),
        ({"words_per_token": 1.5}, "less than or equal to 1"),
    ],
)
def test_what_cannot_be_made_is_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        suite(**changes)
