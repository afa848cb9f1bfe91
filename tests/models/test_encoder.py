"""Vectors belong to their texts, and an encoder's name to its vectors."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.backbone import BackboneError, Folder
from models.encoder import EncoderSpec, load_encoder
from models.network import plan_buckets, plan_chunks
from models.pooling import Cls, LastToken, Mean, WeightedMean

POOLINGS = (LastToken("last_token"), Mean("mean"), WeightedMean("weighted_mean"), Cls("cls"))
TEXTS = ["tide", "the moon of the sea " * 7, "question", "tide", "answer token loss " * 3, "a", "vector query of the tide"]


def spec_of(backbone: Folder, **changes: Any) -> EncoderSpec:
    base = EncoderSpec(backbone, LastToken("last_token"), "native", 64, True, "float32", 128)
    return replace(base, **changes)


@pytest.mark.parametrize("pooling", POOLINGS, ids=lambda p: p.kind)
def test_trap_47_batched_vectors_equal_one_text_at_a_time(
    family: str, pooling: Any, models_root: Path, backbone: Callable[[str], Folder]
) -> None:
    """Texts are never packed into one row, and no cache of keys is kept between rows."""
    encoder = load_encoder(spec_of(backbone(family), pooling=pooling), [], str(models_root), "cpu")

    together = encoder.encode(TEXTS)
    alone = np.concatenate([encoder.encode([text]) for text in TEXTS])

    assert together.dtype == np.float32
    assert not encoder._network.model.config.use_cache  # type: ignore[union-attr]
    np.testing.assert_allclose(together, alone, atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(together, axis=1), 1, atol=1e-5)
    assert pooling.kind == "cls" or np.abs(together[0] - together[1]).max() > 1e-3  # a causal BOS sees only itself


@pytest.mark.parametrize("family", ["mistral", "adds_both", "adds_nothing"])
def test_trap_06_a_pad_token_that_is_eos_confuses_nobody(
    family: str, models_root: Path, backbone: Callable[[str], Folder]
) -> None:
    encoder = load_encoder(spec_of(backbone(family)), [], str(models_root), "cpu")

    np.testing.assert_allclose(encoder.encode(TEXTS), np.concatenate([encoder.encode([t]) for t in TEXTS]), atol=1e-5)


def test_trap_24_dtype_is_the_specs_not_the_checkpoints(
    models_root: Path, backbone: Callable[[str], Folder], tmp_path: Path
) -> None:
    import torch
    from safetensors.torch import load_file
    from transformers import AutoModel

    folder = Path(shutil.copytree(models_root / "mistral", tmp_path / "half"))
    AutoModel.from_pretrained(folder, dtype=torch.bfloat16).save_pretrained(folder)
    from models.backbone import pin

    half = pin(Folder("folder", "half", "auto"), str(tmp_path))
    assert isinstance(half, Folder)
    loaded = {dtype: load_encoder(spec_of(half, dtype=dtype), [], str(tmp_path), "cpu") for dtype in ("float32", "bfloat16")}

    assert {v.dtype for v in load_file(folder / "model.safetensors").values()} == {torch.bfloat16}
    for dtype, encoder in loaded.items():
        assert {p.dtype for p in encoder._network.model.parameters()} == {getattr(torch, dtype)}
        assert encoder.encode(TEXTS).dtype == np.float32
    cosine = (loaded["float32"].encode(TEXTS) * loaded["bfloat16"].encode(TEXTS)).sum(1)
    assert 0.99 < cosine.min() < 1


def test_trap_29_whatever_changes_a_vector_changes_the_identity(models_root: Path, backbone: Callable[[str], Folder]) -> None:
    base = spec_of(backbone("mistral"))
    changed = [
        base, replace(base, backbone=backbone("llama")), replace(base, pooling=Mean("mean")),
        replace(base, attention="bidirectional"), replace(base, max_length=32), replace(base, normalize=False),
        replace(base, dtype="bfloat16"), replace(base, chunk_tokens=64),
    ]  # fmt: skip

    found = [load_encoder(spec, [], str(models_root), "cpu").identity for spec in changed]

    assert len(set(found)) == len(changed)
    assert load_encoder(base, [], str(models_root), "cpu").identity == found[0]


def test_trap_33_truncated_texts_are_counted(models_root: Path, backbone: Callable[[str], Folder]) -> None:
    encoder = load_encoder(spec_of(backbone("mistral"), max_length=16), [], str(models_root), "cpu")
    encoder.encode(["tide", "moon " * 50, "sea " * 50])

    assert (encoder.counts.texts, encoder.counts.truncated) == (3, 2)
    assert encoder.counts.tokens == 32 + len(encoder.token_ids("tide"))
    assert encoder.counts.padded_tokens >= encoder.counts.tokens


def test_trap_42_duplicates_come_back_in_their_own_rows(models_root: Path, backbone: Callable[[str], Folder]) -> None:
    encoder = load_encoder(spec_of(backbone("bert")), [], str(models_root), "cpu")
    order = [3, 0, 1, 1, 6, 0, 5, 2, 4, 3]

    found, unique = encoder.encode([TEXTS[i] for i in order]), encoder.encode(TEXTS)

    np.testing.assert_allclose(found, unique[order], atol=1e-6)


@pytest.mark.parametrize("attention", ["causal", "bidirectional"])
@pytest.mark.parametrize("others", [[], ["another text of the sea"]], ids=["alone", "batched"])
def test_the_first_state_sees_the_last_token_iff_bidirectional(
    family: str, attention: Any, others: list[str], models_root: Path, backbone: Callable[[str], Folder]
) -> None:
    spec = spec_of(backbone(family), attention=attention, pooling=Cls("cls"))
    if (family, attention) in {("bert", "causal"), ("xlmr", "causal")}:
        with pytest.raises(BackboneError, match="use native or bidirectional"):
            load_encoder(spec, [], str(models_root), "cpu")
        return
    encoder = load_encoder(spec, [], str(models_root), "cpu")

    first, second = (encoder.encode([f"moon sea {last}", *others])[0] for last in ("tide", "gravity"))

    assert encoder.token_ids("moon sea tide") != encoder.token_ids("moon sea gravity")
    assert (np.abs(first - second).max() > 1e-5) == (attention == "bidirectional")


def test_native_attention_is_the_architectures(family: str, models_root: Path, backbone: Callable[[str], Folder]) -> None:
    own = "bidirectional" if family in ("bert", "xlmr") else "causal"
    vectors = [
        load_encoder(spec_of(backbone(family), attention=kind), [], str(models_root), "cpu").encode(TEXTS)
        for kind in ("native", own)
    ]

    np.testing.assert_array_equal(*vectors)


def test_more_tokens_than_learned_positions_is_an_error(models_root: Path, backbone: Callable[[str], Folder]) -> None:
    for family in ("bert", "xlmr"):
        load_encoder(spec_of(backbone(family), max_length=128), [], str(models_root), "cpu")
        with pytest.raises(BackboneError, match="128 positions; lower it"):
            load_encoder(spec_of(backbone(family), max_length=129), [], str(models_root), "cpu")


def test_vectors_that_are_not_finite_name_their_text(models_root: Path, backbone: Callable[[str], Folder]) -> None:
    import torch

    encoder = load_encoder(spec_of(backbone("bert")), [], str(models_root), "cpu")
    with torch.no_grad():
        next(p for p in encoder._network.model.parameters()).fill_(torch.inf)

    with pytest.raises(ValueError, match="not finite, first for the text 'tide'"):
        encoder.encode(["tide"])


def test_no_texts_is_an_error(models_root: Path, backbone: Callable[[str], Folder]) -> None:
    with pytest.raises(ValueError, match="no texts"):
        load_encoder(spec_of(backbone("bert")), [], str(models_root), "cpu").encode([])


@pytest.mark.parametrize("budget", [1, 7, 64, 10_000])
def test_chunks_hold_every_row_once_within_the_budget(budget: int) -> None:
    lengths = [5, 1, 9, 9, 3, 2, 64, 7]

    chunks = plan_chunks(lengths, budget)

    assert sorted(i for chunk in chunks for i in chunk) == list(range(len(lengths)))
    assert all(len(chunk) == 1 or len(chunk) * max(lengths[i] for i in chunk) <= budget for chunk in chunks)
    assert [max(lengths[i] for i in chunk) for chunk in chunks] == sorted((lengths[c[0]] for c in chunks), reverse=True)


@given(st.lists(st.integers(1, 40), min_size=1, max_size=9), st.sampled_from([1, 30, 80, 10_000]), st.sampled_from([0, 5, 40]))
def test_chunks_are_cut_where_padding_and_chunks_cost_least(lengths: list[int], budget: int, cost: int) -> None:
    """Against every way to cut the sorted lengths."""

    def ways(rows: Sequence[int]) -> Iterator[list[Sequence[int]]]:
        for cut in range(1, len(rows)):
            yield from ([rows[:cut], *rest] for rest in ways(rows[cut:]))
        yield [rows]

    def fits(chunk: Sequence[int]) -> bool:
        return len(chunk) == 1 or len(chunk) * chunk[0] <= budget

    def price(chunks: Sequence[Sequence[int]]) -> int:
        return sum(len(chunk) * chunk[0] + cost for chunk in chunks)

    with patch("models.network.CHUNK_COST", cost):
        chunks = plan_chunks(lengths, budget)

    cheapest = min(price(way) for way in ways(sorted(lengths, reverse=True)) if all(map(fits, way)))
    assert sorted(i for chunk in chunks for i in chunk) == list(range(len(lengths)))
    assert price([[lengths[i] for i in chunk] for chunk in chunks]) == cheapest


@pytest.mark.parametrize("budget", [1, 7, 64, 10_000])
def test_buckets_hold_every_row_once_at_a_width_of_its_own(budget: int) -> None:
    lengths = [5, 1, 9, 9, 3, 2, 64, 7, 500, 512, 130, 131, 17]
    buckets = plan_buckets(lengths, budget, 512)
    width = {i: bucket.width for bucket in buckets for i in bucket.rows}

    assert sorted(i for bucket in buckets for i in bucket.rows) == list(range(len(lengths)))
    assert all(len(rows) == 1 or len(rows) * width <= budget for width, rows in buckets)
    assert all(length <= width[i] <= min(512, 1.125 * length) for i, length in enumerate(lengths))
    assert [plan_buckets([length], budget, 512)[0].width for length in lengths] == [width[i] for i in range(len(lengths))]
    assert plan_buckets([97], budget, 100)[0].width == 100


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("pooling", [LastToken("last_token"), Mean("mean")], ids=lambda p: p.kind)
def test_a_vector_has_the_same_bits_in_any_company(
    dtype: Any, pooling: Any, family: str, models_root: Path, backbone: Callable[[str], Folder]
) -> None:
    """Alone, in a subset, permuted: what lets a store keep texts one by one. transformers' own pass (Gemma) need not hold."""
    encoder = load_encoder(spec_of(backbone(family), dtype=dtype, pooling=pooling), [], str(models_root), "cpu")
    draw = np.random.default_rng(0)
    texts = [" ".join(draw.choice(["tide", "moon", "of", "sea"], size)) for size in draw.integers(1, 60, 80)]
    whole = dict(zip(texts, encoder.encode(texts), strict=True))
    if family == "gemma" and not encoder.steady:
        return

    assert encoder.steady
    for part in ([texts[3]], texts[::-1], texts[10:13], list(draw.permutation(texts))[:37]):
        np.testing.assert_array_equal(encoder.encode(part), [whole[text] for text in part])


def test_the_probe_notices_an_encoder_that_is_not_steady(models_root: Path, backbone: Callable[[str], Folder]) -> None:
    encoder = load_encoder(spec_of(backbone("bert")), [], str(models_root), "cpu")
    embed = encoder._network.embed
    encoder._network.embed = lambda rows, width=None: embed(rows, width) * (1 + len(rows) / 1024)  # type: ignore[method-assign]
    encoder._spec = replace(encoder._spec, normalize=False)
    counts = replace(encoder.counts)

    assert not encoder.steady
    assert encoder.counts == counts


def test_both_lengths_of_a_vector_come_from_weights_loaded_once(models_root: Path, backbone: Callable[[str], Folder]) -> None:
    spec = spec_of(backbone("bert"))
    unit = load_encoder(spec, [], str(models_root), "cpu")
    own = unit.normalized(normalize=False)
    loaded = load_encoder(replace(spec, normalize=False), [], str(models_root), "cpu")

    assert own.identity == loaded.identity != unit.identity
    np.testing.assert_array_equal(own.encode(TEXTS), loaded.encode(TEXTS))
    assert np.abs(np.linalg.norm(own.encode(TEXTS), axis=1) - 1).max() > 0.01


@pytest.mark.parametrize("family", ["mistral", "llama", "qwen3", "gemma"])
def test_trap_46_another_rotary_base_in_the_configuration_gives_other_vectors(
    family: str, models_root: Path, backbone: Callable[[str], Folder], tmp_path: Path
) -> None:
    """And another identity, though the weights are the same; the fast pass and transformers agree on it."""
    folder = Path(shutil.copytree(models_root / family, tmp_path / family))
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    config["rope_parameters"] = {**config["rope_parameters"], "rope_theta": 10 * config["rope_parameters"]["rope_theta"]}
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    spec = spec_of(backbone(family), pooling=Mean("mean"))
    before, after = (load_encoder(spec, [], str(root), "cpu") for root in (models_root, tmp_path))
    found = after.encode(TEXTS)
    after._network.fuse = False

    assert np.abs(found - before.encode(TEXTS)).max() > 1e-3
    assert before.identity != after.identity
    np.testing.assert_allclose(after.encode(TEXTS), found, atol=1e-5)
