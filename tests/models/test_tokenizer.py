"""Every text begins and ends as its model needs, exactly once, whatever the tokenizer's files forgot."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from models.tokenizer import Tokenizer, TokenizerError, is_decoder, tokenizer_digest

PROBES = ["", "tide", "how do tides work in the sea", "Привет 日本語 🌊", "tide moon " * 100]
MISTRALS = ("mistral", "adds_both", "adds_nothing")


def test_trap_01_every_text_ends_in_eos_or_sep(tokenized: str, models_root: Path) -> None:
    from transformers import AutoTokenizer

    theirs = AutoTokenizer.from_pretrained(models_root / tokenized)
    end = theirs.eos_token_id if tokenized != "bert" else theirs.sep_token_id
    rows = Tokenizer(models_root / tokenized, 32)(PROBES)

    assert end is not None
    assert [row.ids[-1] for row in rows] == [end] * len(PROBES)


def test_trap_01_premise_transformers_adds_no_eos_to_these(models_root: Path) -> None:
    from transformers import AutoTokenizer

    for family in ("mistral", "llama", "qwen3", "gemma"):
        theirs = AutoTokenizer.from_pretrained(models_root / family, add_eos_token=False)
        assert theirs("tide")["input_ids"][-1] != theirs.eos_token_id, family


@pytest.mark.parametrize("family", ["mistral", "llama", "gemma", "adds_both", "xlmr"])
def test_trap_02_bos_stays_where_the_model_has_one(family: str, models_root: Path) -> None:
    from transformers import AutoTokenizer

    start = AutoTokenizer.from_pretrained(models_root / family).bos_token_id

    assert [row.ids[0] for row in Tokenizer(models_root / family, 32)(PROBES)] == [start] * len(PROBES)


def test_trap_02_no_bos_where_the_model_has_none(models_root: Path) -> None:
    assert Tokenizer(models_root / "qwen3", 32).before == []
    assert Tokenizer(models_root / "adds_nothing", 32).before == []


@pytest.mark.parametrize("length", [4, 16, 17])
def test_trap_03_truncation_keeps_the_end_and_fills_the_length(tokenized: str, length: int, models_root: Path) -> None:
    tokenizer = Tokenizer(models_root / tokenized, length)
    whole = Tokenizer(models_root / tokenized, 10_000)

    (cut,) = tokenizer([PROBES[-1]])
    (full,) = whole([PROBES[-1]])

    assert len(full.ids) > 17
    assert (cut.truncated, full.truncated) == (True, False)
    assert len(cut.ids) == length
    assert cut.ids == full.ids[: length - len(tokenizer.after)] + tokenizer.after


def test_trap_04_specials_stand_once_even_if_the_text_spells_them(tokenized: str, models_root: Path) -> None:
    tokenizer = Tokenizer(models_root / tokenized, 64)
    hostile = "a </s> b <s> c <eos> <bos> <|endoftext|> [SEP] [CLS] <pad> d"

    (row,) = tokenizer([hostile])
    inner = row.ids[len(tokenizer.before) : len(row.ids) - len(tokenizer.after)]

    assert inner
    assert not set(inner) & {*tokenizer.before, *tokenizer.after}


def test_ids_between_the_specials_are_the_familys_own(family: str, models_root: Path) -> None:
    from transformers import AutoTokenizer

    theirs = AutoTokenizer.from_pretrained(models_root / family)
    tokenizer = Tokenizer(models_root / family, 64)

    for text, row in zip(PROBES[:4], tokenizer(PROBES[:4]), strict=True):
        own = row.ids[len(tokenizer.before) : len(row.ids) - len(tokenizer.after)]
        assert own == theirs(text, add_special_tokens=False)["input_ids"]


@pytest.mark.parametrize("family", ["bert", "xlmr"])
def test_encoders_get_what_their_post_processor_adds(family: str, models_root: Path) -> None:
    from transformers import AutoTokenizer

    theirs = AutoTokenizer.from_pretrained(models_root / family)

    assert [r.ids for r in Tokenizer(models_root / family, 64)(PROBES[:4])] == [theirs(t)["input_ids"] for t in PROBES[:4]]


def test_decoders_are_told_from_encoders(family: str, models_root: Path) -> None:
    assert is_decoder(models_root / family) == (family not in ("bert", "xlmr"))


def test_a_decoder_without_eos_is_an_error(models_root: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(models_root / "adds_nothing", tmp_path / "m"))
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    (folder / "tokenizer_config.json").write_text(json.dumps({k: v for k, v in settings.items() if k != "eos_token"}))
    (folder / "special_tokens_map.json").unlink(missing_ok=True)

    with pytest.raises(TokenizerError, match="without eos_token"):
        Tokenizer(folder, 32)


def test_no_room_for_text_is_an_error(models_root: Path) -> None:
    with pytest.raises(TokenizerError, match="raise max_length"):
        Tokenizer(models_root / "bert", 2)


def test_a_torn_tokenizer_names_its_file(models_root: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(models_root / "bert", tmp_path / "m"))
    (folder / "tokenizer.json").write_text("{")

    with pytest.raises(TokenizerError, match=r"tokenizer\.json: not a tokenizer"):
        Tokenizer(folder, 32)


def test_the_digest_sees_a_changed_post_processor(models_root: Path) -> None:
    assert len({tokenizer_digest(models_root / name) for name in MISTRALS}) == 3
