"""What an arm trains on: shares, languages, prefixes, and errors that say what there was."""

import json
from collections import Counter
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from generators.mixture import MixSpec, Source, mix
from harness.config import ConfigError, decode
from harness.identity import folder_digests
from harness.pairs import Pair, read_pairs, write_pairs
from harness.step import silent

CONF = Path(__file__).parents[2] / "conf" / "data"


def pair(n: int, source: str, task_type: str = "short_long", language: str = "English", other: str = "") -> Pair:
    return Pair(task_type, language, other or language, source, "Find it", f"{source} {n}", f"about {n}", ())


@pytest.fixture
def pools(tmp_path: Path) -> dict[str, Path]:
    synthetic = [pair(n, "synthetic", language=("English", "German", "Thai")[n % 3]) for n in range(90)]
    synthetic += [pair(n, "synthetic", "bitext", "English", "German") for n in range(100, 110)]
    pools = {"synthetic": synthetic, "natural": [pair(n, "mined") for n in range(300)]}
    for role, pairs in pools.items():
        (tmp_path / role).mkdir()
        write_pairs(tmp_path / role / "pairs.parquet", pairs)
    return {role: tmp_path / role for role in pools}


def spec(size: int = 100, shares: tuple[float, float] = (0.5, 0.5), **changes: object) -> MixSpec:
    sources = tuple(Source(role, share) for role, share in zip(("synthetic", "natural"), shares, strict=True) if share)
    fields = {"languages": "all", "task_types": "all", "match": "steps", "seed": 0} | changes
    return MixSpec(sources=sources, size=size, **fields)  # type: ignore[arg-type]


def mixed(spec: MixSpec, pools: dict[str, Path], out: Path) -> list[Pair]:
    out.mkdir()
    mix(spec, pools, out, silent, {})
    return read_pairs(out / "pairs.parquet")


def test_shares_hold_and_every_example_is_a_pool_s_own(pools: dict[str, Path], tmp_path: Path) -> None:
    pairs = mixed(spec(100, (0.3, 0.7)), pools, tmp_path / "out")
    pool = {each for path in pools.values() for each in read_pairs(path / "pairs.parquet")}

    assert Counter(each.source for each in pairs) == {"synthetic": 30, "mined": 70}
    assert len(set(pairs)) == len(pairs)
    assert set(pairs) <= pool


def test_larger_mixes_and_other_shares_contain_the_smaller_choice(pools: dict[str, Path], tmp_path: Path) -> None:
    small = set(mixed(spec(60), pools, tmp_path / "small"))
    large = set(mixed(spec(100), pools, tmp_path / "large"))
    only = set(mixed(spec(50, (1.0, 0.0)), pools, tmp_path / "only"))

    assert small < large
    assert only == {each for each in large if each.source == "synthetic"}
    assert large != set(mixed(spec(100, seed=1), pools, tmp_path / "other"))


def test_english_only_keeps_no_translation(pools: dict[str, Path], tmp_path: Path) -> None:
    pairs = mixed(spec(1000, languages=("English",)), pools, tmp_path / "out")

    assert {(each.language, each.positive_language) for each in pairs} == {("English", "English")}
    assert Counter(each.source for each in pairs) == {"synthetic": 30, "mined": 30}, "shares hold when a pool is short"
    both = mixed(spec(1000, languages=("English", "German"), task_types=("bitext",), shares=(1.0, 0.0)), pools, tmp_path / "b")
    assert len(both) == 10


def test_the_same_mix_has_the_same_bytes(pools: dict[str, Path], tmp_path: Path) -> None:
    mixed(spec(), pools, tmp_path / "a")
    mixed(spec(), pools, tmp_path / "b")
    counts = json.loads((tmp_path / "a" / "counts.json").read_text())

    assert folder_digests(tmp_path / "a") == folder_digests(tmp_path / "b")
    assert counts["pairs"] == 100
    assert sum(counts["languages"].values()) == 100


def test_an_empty_mix_names_the_keys_and_what_there_was(pools: dict[str, Path], tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"source 'synthetic' has languages \('Swahili',\)") as error:
        mixed(spec(languages=("Swahili",)), pools, tmp_path / "out")
    assert "'German': 30" in str(error.value)
    assert "data.languages" in str(error.value)
    assert list((tmp_path / "out").iterdir()) == []


def test_too_small_a_pool_is_an_error_where_examples_must_match(pools: dict[str, Path], tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"data\.size: 500 examples .* the shares allow 200"):
        mixed(spec(500, match="examples"), pools, tmp_path / "out")


@given(st.integers(1, 2000), st.floats(0.01, 0.99))
def test_sizes_never_exceed_size_or_pool(size: int, share: float) -> None:
    from generators.mixture import _sizes

    available = {"synthetic": 90, "natural": 300}
    wanted = _sizes(spec(size, (share, 1 - share)), available)

    assert all(1 <= wanted[role] <= available[role] for role in wanted)
    assert sum(wanted.values()) <= size + 1


def test_an_unused_source_is_no_input() -> None:
    known = {path.stem: decode(MixSpec, yaml.safe_load(path.read_text())) for path in sorted(CONF.glob("*.yaml"))}

    assert set(known) >= {"mixed", "synthetic_only", "natural_only", "english_only"}
    assert known["natural_only"].roles == ("natural",)
    assert known["synthetic_only"].roles == ("synthetic",)
    assert known["english_only"].languages == ("English",)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"sources": [{"role": "natural", "share": 0.5}]}, "add up to 0.5"),
        ({"sources": []}, "at least one source"),
        ({"languages": []}, "write `all`"),
        ({"task_types": ["sst"]}, "did you mean 'sts'"),
        ({"size": 0}, "greater than or equal to 1"),
        ({"share": 1}, "share"),
    ],
)
def test_bad_mixes_are_refused_when_decoded(change: dict[str, object], message: str) -> None:
    data = yaml.safe_load((CONF / "mixed.yaml").read_text()) | change
    with pytest.raises(ConfigError, match=message):
        decode(MixSpec, data)
