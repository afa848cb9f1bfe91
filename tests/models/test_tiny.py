"""The committed backbone is what its card says: loads without a network, has the promised shape, knows some English.

Idea: the quickstart and many tests stand on these bytes, so their identity and their use are checked here once.
Boundary: reads ``models/tiny``; trains nothing.
What it is not: a test of the training script, which takes an hour.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from safetensors import safe_open
from transformers import AutoModel, AutoTokenizer, MistralModel

from models.tiny.corpus import HELD_OUT_PACKAGES, TRAIN_PACKAGES, clean, source_docs
from models.tiny.packing import bag_of_words, batches

HOME = Path(__file__).resolve().parents[2] / "models" / "tiny"
WEIGHTS = HOME / "weights"

#: Written for this test, in the manner of documentation; none of them stands in a package.
SENTENCES = (
    "Return the number of letters that were delivered before the given date, or None if the office was closed.",
    "If the kettle is empty, this function raises a ValueError and the lamp stays off.",
    "The default value is True, which means that the shape of the output is the same as the shape of the input.",
    "Compute the average height of all trees in the garden and write the result to a file.",
    "This method should be called once, after the connection to the server has been opened.",
)


@pytest.fixture(scope="module", autouse=True)
def _offline() -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HF_HUB_OFFLINE", "1")
        yield


@pytest.fixture(scope="module")
def model() -> MistralModel:
    loaded: MistralModel = AutoModel.from_pretrained(WEIGHTS, local_files_only=True)
    return loaded.eval()


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return AutoTokenizer.from_pretrained(WEIGHTS, local_files_only=True)


def mean_loss(model: MistralModel, tokenizer: Any) -> float:
    """Mean next-token loss in nats over ``SENTENCES``, with the embeddings as the (tied) output layer."""
    total, count = 0.0, 0
    table = model.get_input_embeddings().weight.detach().float()
    for sentence in SENTENCES:
        ids = torch.tensor([tokenizer(sentence)["input_ids"]])
        with torch.no_grad():
            states = model(input_ids=ids).last_hidden_state[0, :-1].float()
        total += float(F.cross_entropy(states @ table.T, ids[0, 1:], reduction="sum"))
        count += ids.shape[1] - 1
    return total / count


def test_is_a_small_plain_bf16_decoder(model: MistralModel) -> None:
    assert type(model) is MistralModel
    assert 3_000_000 <= sum(weight.numel() for weight in model.parameters()) <= 8_000_000
    assert {weight.dtype for weight in model.parameters()} == {torch.bfloat16}
    assert model.config.sliding_window is None
    assert model.config.max_position_embeddings == 2048
    assert json.loads((WEIGHTS / "config.json").read_text())["dtype"] == "bfloat16"


def test_file_is_small_and_has_no_head() -> None:
    assert (WEIGHTS / "model.safetensors").stat().st_size <= 16 * 1024 * 1024
    with safe_open(WEIGHTS / "model.safetensors", framework="pt") as stored:
        names = list(stored.keys())
        assert {stored.get_tensor(name).dtype for name in names} == {torch.bfloat16}
    assert not [name for name in names if "lm_head" in name]


def test_bytes_are_those_of_the_card() -> None:
    digest = hashlib.sha256((WEIGHTS / "model.safetensors").read_bytes()).hexdigest()
    assert (HOME / "weights.sha256").read_text().split()[0] == digest
    assert digest in (HOME / "README.md").read_text()


def test_special_tokens(tokenizer: Any, model: MistralModel) -> None:
    assert tokenizer.convert_tokens_to_ids(["<unk>", "<s>", "</s>", "<pad>"]) == [0, 1, 2, 3]
    ids = (tokenizer.unk_token_id, tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id)
    assert ids == (0, 1, 2, 3)
    assert len(tokenizer) == model.config.vocab_size == 8192
    config = model.config
    assert (config.bos_token_id, config.eos_token_id, config.pad_token_id) == (1, 2, 3)


@pytest.mark.parametrize("text", ["", "x", "Return a tuple.", "naïve 日本語 \t\n  12345"])
def test_begins_with_bos_and_never_ends_with_eos(tokenizer: Any, text: str) -> None:
    ids = tokenizer(text)["input_ids"]
    assert ids[0] == 1
    assert 1 not in ids[1:]
    assert not {0, 2} & set(ids)
    assert tokenizer.decode(ids, skip_special_tokens=True) == text


def test_loading_leaves_the_tokenizer_as_it_was_trained(tokenizer: Any) -> None:
    stored = json.loads((WEIGHTS / "tokenizer.json").read_text())
    loaded = json.loads(tokenizer.backend_tokenizer.to_str())
    for part in ("pre_tokenizer", "decoder", "post_processor", "normalizer"):
        assert loaded[part] == stored[part], part


def test_predicts_fresh_documentation_far_better_than_chance(model: MistralModel, tokenizer: Any) -> None:
    torch.manual_seed(3)
    untrained = MistralModel(model.config).to(torch.bfloat16).eval()
    chance = mean_loss(untrained, tokenizer)
    assert chance > 0.9 * math.log(8192), "premise: an untrained copy is about as good as a uniform guess"
    assert mean_loss(model, tokenizer) < 0.6 * math.log(8192)
    assert mean_loss(model, tokenizer) < 0.6 * chance


def test_closing_token_tells_texts_apart(model: MistralModel, tokenizer: Any) -> None:
    vectors = []
    for text in (SENTENCES[0], SENTENCES[1]):
        with torch.no_grad():
            states = model(input_ids=torch.tensor([[*tokenizer(text)["input_ids"], 2]])).last_hidden_state
        vectors.append(states[0, -1].float())
    assert float(F.cosine_similarity(vectors[0], vectors[1], dim=0)) < 0.99


def test_record_lists_the_fixed_packages_and_no_benchmark() -> None:
    record = json.loads((HOME / "record.json").read_text())
    names = [source["name"] for source in record["sources"]]
    assert sorted(names) == sorted((*TRAIN_PACKAGES, *HELD_OUT_PACKAGES))
    assert not set(TRAIN_PACKAGES) & set(HELD_OUT_PACKAGES)
    assert not {"mteb", "datasets", "cwevals", "pytrec-eval-terrier"} & set(names)
    assert all(source["version"] and source["text_bytes"] > 0 for source in record["sources"])


def test_documentation_is_read_without_running_it() -> None:
    code = '"""Module text."""\nraise SystemExit\ndef f():\n    """First line.\n\n    Second."""\n'
    assert list(source_docs(code)) == ["Module text.", "First line.\n\nSecond."]
    assert list(source_docs("def broken(:")) == []
    assert clean("Keep this short text.\n\n>>> dropped()\n1\n\nLicensed under some terms.") == "Keep this short text."


def test_feed_continues_where_it_stopped() -> None:
    documents = [np.array([1, *range(4, 4 + size), 2]) for size in range(3, 40)]

    def feed(start: int) -> list[Any]:
        return list(itertools.islice(batches(documents, 16, 2, 4, 0, start), 60 - start))

    whole, rest = feed(0), feed(25)
    assert len(whole) * 32 > 2 * sum(map(len, documents)), "premise: more than one pass over the documents"
    assert all(np.array_equal(left, right) for left, right in zip(whole[25:], rest, strict=True))
    assert {part.shape for part in whole} == {(2, 17), (4, 9)}


def test_closing_token_is_asked_only_for_its_own_document() -> None:
    row = np.array([[1, 10, 11, 2, 1, 20, 21, 22, 2, 1, 30, 31]])
    places, words = bag_of_words(row, 8, np.random.default_rng(0))
    assert places.tolist() == [3, 8]
    assert set(words[0].tolist()) <= {10, 11}
    assert set(words[1].tolist()) <= {20, 21, 22}


def test_nothing_written_names_the_building_machine() -> None:
    for path in (*HOME.glob("*.json*"), *HOME.glob("*.md"), *WEIGHTS.glob("*config.json")):
        text = path.read_text()
        assert not re.search(r"/(root|home|tmp|work|usr)/|site-packages/", text), path
