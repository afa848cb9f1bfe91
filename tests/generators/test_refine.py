"""What an encoder does to training pairs, against a search by hand over vectors that the test made up."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from generators import refine as module
from generators.refine import MineSpec, RefineSpec, refine
from harness.encoder import EncodeCounts
from harness.identity import folder_digest
from harness.instructions import Natural
from harness.pairs import Pair, read_pairs, write_pairs
from harness.step import silent

MINE = MineSpec(2, 1, 10, 0.95, "keep")
NOTHING = RefineSpec(("short_long",), "all", None, None, None)


class Made:
    """A vector for every text: three letters of it, so that texts that share letters are near."""

    identity = "made"
    counts = EncodeCounts()
    largest = 0

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        self.largest = max(self.largest, len(texts))
        return np.stack([vector(text) for text in texts])

    def token_ids(self, text: str) -> list[int]:
        return [1]


def vector(text: str) -> NDArray[np.float32]:
    words = text.rsplit("Query: ", maxsplit=1)[-1].split()
    found = np.zeros(16, dtype=np.float32)
    for word in words:
        seed = int.from_bytes(hashlib.sha256(word.encode()).digest()[:4], "big")
        found += np.random.default_rng(seed).normal(size=16).astype(np.float32)
    return found


def pair(query: str, positive: str, *negatives: str, task_type: str = "short_long", language: str = "English") -> Pair:
    return Pair(task_type, language, language, "test", "Find it", query, positive, negatives)


def refined(spec: RefineSpec, pairs: list[Pair], folder: Path) -> tuple[list[Pair], dict[str, Any]]:
    out = folder / "out"
    out.mkdir(parents=True)
    write_pairs(folder / "pairs.parquet", pairs)
    refine(spec, Natural("natural"), folder / "pairs.parquet", Made(), (out, folder / "scratch"), silent, {})
    return read_pairs(out / "pairs.parquet"), json.loads((out / "counts.json").read_text())


def cosine(left: str, right: str) -> float:
    a, b = vector(left), vector(right)
    return float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))


WORDS = ("tide", "moon", "salt", "harbour", "lichen", "brick", "violin", "comet", "ice", "map")


def corpus(count: int, seed: int = 0) -> list[Pair]:
    rng = np.random.default_rng(seed)
    texts = [" ".join(rng.choice(WORDS, size=5)) + f" n{n}" for n in range(2 * count)]
    return [pair(" ".join(text.split()[:3]) + f" q{n}", text) for n, text in enumerate(texts[:count])]


def by_hand(spec: MineSpec, pairs: list[Pair], one: Pair) -> tuple[str, ...]:
    """The definition, without blocks, files or a partial sort."""
    pool = [text for other in pairs for text in (other.positive, *other.negatives)]
    own = {other.positive for other in pairs if other.query == one.query}
    ranked = sorted(dict.fromkeys(text for text in pool if text not in own), key=lambda text: -cosine(one.query, text))
    ceiling = spec.ceiling * cosine(one.query, one.positive)
    near = [text for text in ranked[spec.first - 1 : spec.last] if ceiling > 0 and cosine(one.query, text) <= ceiling]
    return tuple(near[: spec.count])


@pytest.mark.parametrize("block", [3, 4096])
@pytest.mark.parametrize("change", [{}, {"first": 3, "last": 5}, {"ceiling": 0.5}, {"count": 1}])
def test_mined_negatives_are_those_of_the_definition(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: dict[str, Any], block: int
) -> None:
    monkeypatch.setattr(module, "BLOCK", block)
    spec, pairs = replace(MINE, **change), corpus(40)
    pairs[7] = replace(pairs[7], query=pairs[8].query)
    found, counts = refined(replace(NOTHING, mine=spec), pairs, tmp_path)
    expected = [by_hand(spec, pairs, one) for one in pairs]

    assert sum(map(len, expected)) > 10
    assert [one.negatives for one in found] == expected
    assert counts == {"asked": 40, "pairs": 40, "kept": 40, "passed": 0, "mined": sum(map(len, expected))}
    assert all(pairs[8].positive not in one.negatives for one in (found[7], found[8])), "another right answer became a negative"


def test_types_and_languages_do_not_meet_and_written_negatives_come_first(tmp_path: Path) -> None:
    pairs = [replace(one, negatives=(f"written {n}",)) for n, one in enumerate(corpus(20))]
    pairs += [replace(one, positive_language="German") for one in corpus(20, seed=1)]
    pairs += [replace(one, task_type="sts") for one in corpus(10, seed=2)]
    found, _ = refined(replace(NOTHING, mine=MINE), pairs, tmp_path / "keep")
    replaced, _ = refined(replace(NOTHING, mine=replace(MINE, written="replace")), pairs, tmp_path / "replace")
    english, german = ({text for one in rows for text in (one.positive, *one.negatives)} for rows in (pairs[:20], pairs[20:40]))

    assert all(one.negatives[0] == f"written {n}" for n, one in enumerate(found[:20]))
    assert any(len(one.negatives) > 1 for one in found[:20])
    assert all(set(one.negatives) <= english for one in found[:20])
    assert all(set(one.negatives) <= german for one in found[20:40])
    assert found[40:] == pairs[40:], "a type that was not asked for was changed"
    assert any(f"written {n}" not in one.negatives for n, one in enumerate(replaced[:20]))


def test_an_encoder_is_not_asked_about_languages_it_does_not_know(tmp_path: Path) -> None:
    pairs = [*corpus(10), *(replace(one, language="Thai") for one in corpus(10, seed=1))]
    spec = replace(NOTHING, languages=("English",), mine=MINE)
    found, counts = refined(spec, pairs, tmp_path)

    assert found[10:] == pairs[10:]
    assert any(one.negatives for one in found[:10])
    assert (counts["passed"], counts["kept"]) == (10, 10)
    with pytest.raises(ValueError, match="did you mean 'short_long'"):
        replace(NOTHING, task_types=("short_lng",))


def test_filters_drop_what_does_not_belong_together(tmp_path: Path) -> None:
    pairs = [
        pair("tide moon", "tide moon salt"),
        pair("tide moon", "violin brick"),
        pair("ice map", "ice map comet", "ice map"),
        pair("ice map", "ice map", "violin brick"),
    ]
    alike = [cosine(one.query, one.positive) for one in pairs]
    floor = (alike[0] + alike[1]) / 2
    found, counts = refined(replace(NOTHING, min_similarity=floor, min_margin=0.05), pairs, tmp_path)

    assert alike[1] < floor < min(alike[0], alike[2], alike[3])
    assert found == [pairs[0], pairs[3]]
    assert counts == {"asked": 4, "pairs": 2, "kept": 2, "passed": 0, "mined": 0, "dropped_similarity": 1, "dropped_margin": 1}
    with pytest.raises(ValueError, match="none of 4 pairs stays"):
        refined(
            replace(NOTHING, min_similarity=1.0), [one for one in pairs if one is not pairs[3]] + [pairs[1]], tmp_path / "none"
        )


def test_nothing_asked_changes_nothing_and_vectors_come_block_by_block(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BLOCK", 7)
    encoder, pairs = Made(), corpus(30)
    write_pairs(tmp_path / "pairs.parquet", pairs)
    (tmp_path / "out").mkdir()
    folders = (tmp_path / "out", tmp_path / "scratch")
    refine(NOTHING, Natural("natural"), tmp_path / "pairs.parquet", encoder, folders, silent, {})

    assert read_pairs(tmp_path / "out" / "pairs.parquet") == pairs
    assert encoder.largest == 7


@given(st.integers(0, 10**6), st.integers(1, 5), st.floats(0.1, 1.0))
def test_no_mined_negative_breaks_the_rules(
    tmp_path_factory: pytest.TempPathFactory, seed: int, first: int, ceiling: float
) -> None:
    spec = replace(MINE, first=first, last=first + 4, ceiling=ceiling)
    pairs = corpus(15, seed)
    found, _ = refined(replace(NOTHING, mine=spec), pairs, tmp_path_factory.mktemp("mined"))

    for before, after in zip(pairs, found, strict=True):
        assert len(after.negatives) <= spec.count
        assert before.positive not in after.negatives
        limit = ceiling * cosine(before.query, before.positive) + 1e-5
        assert all(cosine(before.query, text) <= limit for text in after.negatives)


def test_golden_payload(tmp_path: Path) -> None:
    """A changed digest means other bytes for the same spec: bump `refine` in sweeps.plan.VERSIONS."""
    refined(replace(NOTHING, min_margin=-1.0, mine=MINE), corpus(12), tmp_path)

    assert folder_digest(tmp_path / "out") == "3308c9d87dbed0c030c52f3c3c68944e0a0ab665fd8afc434d2c2f3ec3bc45fe"
