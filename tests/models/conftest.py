"""Tiny random backbones of every family the product promises, each with its family's own tokenizer class, built offline."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

os.environ.setdefault("HF_HUB_OFFLINE", "1")

from harness.pairs import Pair, write_pairs
from models.backbone import Folder, weights_digest

FAMILIES = ("mistral", "llama", "qwen3", "gemma", "bert", "xlmr")
DECODERS = ("mistral", "llama", "qwen3", "gemma")
WORDS = [
    "tide",
    "moon",
    "sea",
    "water",
    "gravity",
    "question",
    "answer",
    "vector",
    "model",
    "train",
    "batch",
    "loss",
    "token",
    "text",
    "query",
    "document",
]
CORPUS = [f"{a} {b} {c} of the {d}" for a in WORDS for b in WORDS[:6] for c in WORDS[6:9] for d in WORDS[9:11]]
SHAPE = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
GROUPED = {"num_key_value_heads": 2, "head_dim": 8}


def _classes(family: str) -> tuple[Any, Any, Any, dict[str, Any]]:
    import transformers as t

    return {
        "mistral": (t.MistralModel, t.MistralConfig, None, GROUPED),
        "llama": (t.LlamaModel, t.LlamaConfig, t.LlamaTokenizer, GROUPED),
        "qwen3": (t.Qwen3Model, t.Qwen3Config, t.Qwen2Tokenizer, GROUPED),
        "gemma": (t.GemmaModel, t.GemmaConfig, t.GemmaTokenizer, GROUPED),
        "bert": (t.BertModel, t.BertConfig, t.BertTokenizer, {"max_position_embeddings": 128}),
        "xlmr": (t.XLMRobertaModel, t.XLMRobertaConfig, t.XLMRobertaTokenizer, {"max_position_embeddings": 130}),
    }[family]


def _byte_level(specials: str) -> Any:
    """A byte-level BPE whose post-processor is `specials`, such as `<s> $A`: what Mistral's tokenizer.json does."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    names = {"unk_token": "<unk>", "bos_token": "<s>", "eos_token": "</s>", "pad_token": "</s>"}
    core = Tokenizer(models.BPE(unk_token=names["unk_token"]))
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    core.train_from_iterator(CORPUS, trainers.BpeTrainer(
        vocab_size=400, special_tokens=["<unk>", "<s>", "</s>", "<pad>"], initial_alphabet=alphabet, show_progress=False,
    ))  # fmt: skip
    core.post_processor = processors.TemplateProcessing(single=specials, special_tokens=[("<s>", 1), ("</s>", 2)])
    return PreTrainedTokenizerFast(tokenizer_object=core, **names)


def build(family: str, folder: Path, specials: str = "<s> $A", seed: int = 0) -> Path:
    """A random two-layer model of a family with its tokenizer; parameters large enough that states differ visibly."""
    import torch

    model_class, config_class, tokenizer_class, extra = _classes(family)
    if tokenizer_class is None:
        tokenizer = _byte_level(specials)
    else:
        tokenizer = tokenizer_class().train_new_from_iterator(CORPUS, vocab_size=400)
    tokenizer.save_pretrained(folder)
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    if family in ("llama", "gemma"):
        settings["add_bos_token"] = True  # as the families' hubs say it; tokenizer.json does not
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    pad = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else 0
    config = config_class(vocab_size=len(tokenizer), pad_token_id=pad, initializer_range=0.2, **SHAPE, **extra)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model_class(config).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def models_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`runtime.models`: one folder per family, and two more Mistrals that differ in their tokenizer's post-processor."""
    root = tmp_path_factory.mktemp("models")
    for family in FAMILIES:
        build(family, root / family)
    build("mistral", root / "adds_both", "<s> $A </s>")
    build("mistral", root / "adds_nothing", "$A")
    return root


@pytest.fixture(params=FAMILIES)
def family(request: pytest.FixtureRequest) -> str:
    """Every family of backbones, one after another."""
    return str(request.param)


@pytest.fixture(params=[*FAMILIES, "adds_both", "adds_nothing"])
def tokenized(request: pytest.FixtureRequest) -> str:
    """Every family and every post-processor."""
    return str(request.param)


@pytest.fixture(scope="session")
def backbone(models_root: Path) -> Callable[[str], Folder]:
    """A pinned Folder spec by family name."""
    return lambda name: Folder("folder", name, weights_digest(models_root / name))


def make_pairs(count: int, task_types: tuple[str, ...] = ("short_long", "sts")) -> list[Pair]:
    """Distinct pairs of varied length with one or two hard negatives."""
    return [
        Pair(
            task_types[i % len(task_types)], "English", "English", "made" if i % 3 else "other", "Find the answer.",
            f"{WORDS[i % 16]} {i} " + "tide " * (i % 7), f"{WORDS[(i + 3) % 16]} answer {i} " + "sea moon " * (i % 5),
            tuple(f"{WORDS[(i + k) % 16]} wrong {i} {k}" for k in range(1 + i % 2)),
        )
        for i in range(count)
    ]  # fmt: skip


@pytest.fixture(scope="session", name="make_pairs")
def _make_pairs() -> Callable[..., list[Pair]]:
    """`make_pairs(count)`: distinct pairs."""
    return make_pairs


@pytest.fixture
def pairs_file(tmp_path: Path) -> Path:
    """Forty pairs on disk."""
    write_pairs(tmp_path / "pairs.parquet", make_pairs(40))
    return tmp_path / "pairs.parquet"
