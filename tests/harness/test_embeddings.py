"""The store may save work and nothing else: same rows, same order, a miss whenever what decides a vector changes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from harness.embeddings import KEY_BYTES, StoredEncoder, StoreError, call_key, keep_within, open_shard, text_key, write_shard
from harness.instructions import Natural, NoInstruction
from harness.scores import read_scores
from harness.tasks import TaskSpec

SMALL = {"max_bytes": 1 << 20, "shard_bytes": 1 << 16}


def stored(encoder: Any, root: Path, precision: Any = "float32", *, steady: bool = True, **bounds: int) -> StoredEncoder:
    return StoredEncoder(encoder, root, precision, **{**SMALL, **bounds}, steady=steady)


def shards(root: Path) -> list[Path]:
    return sorted(root.rglob("*.shard"))


def test_trap_42_rows_stay_with_their_texts(words: Any, tmp_path: Path) -> None:
    texts = ["b", "a", "b", "c", "a", "", "d", "b"]
    encoder = stored(words, tmp_path)
    encoder.encode(["c", "x"])
    words.seen.clear()
    found = encoder.encode(texts)

    assert np.array_equal(found, words.encode(texts))
    assert words.seen[: -len(texts)] == ["b", "a", "", "d"]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=30)
@given(calls=st.lists(st.lists(st.sampled_from("abcdefgh"), min_size=1, max_size=12), min_size=1, max_size=5))
def test_any_sequence_of_calls_gives_the_plain_vectors(calls: list[list[str]], words: Any, tmp_path: Path) -> None:
    encoder = stored(words, tmp_path)
    for texts in calls:
        assert np.array_equal(encoder.encode(texts), words.encode(texts))


def test_a_second_process_reads_what_the_first_wrote(words: Any, tmp_path: Path) -> None:
    first = stored(words, tmp_path).encode(["one", "two"])
    calls = words.calls
    encoder = stored(words, tmp_path)

    assert np.array_equal(encoder.encode(["two", "one"]), first[::-1])
    assert words.calls == calls, "a warm read encodes nothing"
    assert encoder.counts.stored == 2


def test_trap_29_every_part_of_the_identity_misses(words: Any, other_words: Any, tmp_path: Path) -> None:
    """Model, precision and rendered text; `models` holds the rest of a model's identity to the same test."""
    stored(words, tmp_path).encode(["a text"])
    calls = words.calls
    stored(words, tmp_path).encode(["Instruct: t\nQuery: a text"])
    half = stored(words, tmp_path, "float16")
    half.encode(["a text"])
    mine = stored(other_words, tmp_path).encode(["a text"])

    assert words.calls == calls + 2
    assert half.identity != words.identity
    assert np.array_equal(mine, other_words.encode(["a text"]))
    assert not np.array_equal(mine, words.encode(["a text"]))


def test_trap_30_titled_corpora_are_encoded_as_without_a_store(
    words: Any, quick_specs: dict[str, TaskSpec], judge: Any, tmp_path: Path
) -> None:
    spec = quick_specs["QuickRetrieval"]
    plain = read_scores(judge(spec, words) / "scores.json")
    asked = set(words.seen)
    words.seen.clear()
    cold = read_scores(judge(spec, stored(words, tmp_path / "store")) / "scores.json")
    calls = words.calls
    measured: dict[str, Any] = {}
    warm = read_scores(judge(spec, stored(words, tmp_path / "store"), measured=measured) / "scores.json")

    assert set(words.seen) == asked
    assert plain == cold == warm
    assert words.calls == calls
    assert (measured["texts"], measured["stored"]) == (0, 360)


def test_arms_that_differ_in_one_instruction_encode_only_what_changed(
    words: Any, quick_specs: dict[str, TaskSpec], judge: Any, tmp_path: Path
) -> None:
    spec = quick_specs["QuickRetrieval"]
    judge(spec, stored(words, tmp_path / "store"), Natural("natural"))
    words.seen.clear()
    judge(spec, stored(words, tmp_path / "store"), NoInstruction("none"))

    assert len(words.seen) == 120, "the queries; no document carries an instruction"


def test_half_precision_rounds_on_the_cold_path_too(words: Any, tmp_path: Path) -> None:
    encoder = stored(words, tmp_path, "float16")
    cold, warm = encoder.encode(["a", "b"]), encoder.encode(["a", "b"])
    exact = words.encode(["a", "b"])

    assert cold.dtype == np.float32
    assert np.array_equal(cold, warm)
    assert np.array_equal(cold, exact.astype(np.float16).astype(np.float32))
    assert not np.array_equal(cold, exact)


@pytest.mark.parametrize("damage", ["flip", "cut", "empty", "header"])
def test_a_damaged_shard_is_encoded_again(damage: str, words: Any, tmp_path: Path) -> None:
    expected = stored(words, tmp_path).encode(["a", "b", "c"])
    (shard,) = shards(tmp_path)
    data = bytearray(shard.read_bytes())
    data[-5] ^= 1
    damaged = {"flip": data, "cut": data[:-7], "empty": b"", "header": b"{" + bytes(data[1:])}[damage]
    shard.write_bytes(bytes(damaged))
    encoder = stored(words, tmp_path)

    assert np.array_equal(encoder.encode(["a", "b", "c"]), expected)
    assert encoder.damaged == 1
    assert np.array_equal(stored(words, tmp_path).encode(["c"]), expected[2:])


def test_the_store_stays_within_its_bound_and_scores_do_not_notice(words: Any, tmp_path: Path) -> None:
    """Four times more vectors than fit; the least recently used go first."""
    encoder = stored(words, tmp_path, max_bytes=40_000, shard_bytes=10_000)
    texts = [f"text number {i}" for i in range(800)]
    for start in range(0, 800, 100):
        part = texts[start : start + 100]
        assert np.array_equal(encoder.encode(part), words.encode(part))
        assert sum(path.stat().st_size for path in shards(tmp_path)) <= 40_000
    calls = words.calls
    encoder.encode(texts[-50:])

    assert 800 * 48 * 4 > 3 * 40_000
    assert words.calls == calls, "the newest are still there"
    assert np.array_equal(encoder.encode(texts), words.encode(texts))


def test_recently_used_shards_outlive_older_ones(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    paths = []
    for i in range(3):
        keys = np.array([text_key(str(i))], dtype=f"S{KEY_BYTES}")
        paths.append(write_shard(folder, keys, np.full((1, 8), i, dtype=np.float32)))
        os.utime(paths[-1], (1000 + i, 1000 + i))
    os.utime(paths[0], (2000, 2000))
    keep_within(tmp_path, 2 * paths[0].stat().st_size)

    assert [path.exists() for path in paths] == [True, False, True]


def test_a_bound_that_holds_no_two_shards_is_refused(words: Any, tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="do not hold two shards"):
        StoredEncoder(words, tmp_path, "float32", max_bytes=100, shard_bytes=60, steady=True)


def test_keys_that_end_in_zero_bytes_are_kept_apart(tmp_path: Path) -> None:
    """Numpy's byte strings drop trailing zeros when printed; comparison must not confuse keys."""
    raw = [b"\x00" * 16, b"\x01" + b"\x00" * 15, b"\x01" * 16, b"\xff" * 15 + b"\x00"]
    keys = np.array(raw, dtype=f"S{KEY_BYTES}")
    shard = open_shard(write_shard(tmp_path, keys, np.arange(4, dtype=np.float32)[:, None]))

    assert [float(shard.vectors[np.searchsorted(shard.keys, key)][0]) for key in keys] == [0, 1, 2, 3]


class Neighbourly:
    """An encoder whose vectors depend on the whole call, as those of some GPU kernels do in their last bits."""

    def __init__(self, inner: Any) -> None:
        self.inner, self.identity, self.counts, self.calls = inner, "neighbourly", inner.counts, 0

    def encode(self, texts: Sequence[str]) -> Any:
        self.calls += 1
        noise = int.from_bytes(call_key(list(texts))[:4], "big") / 2**40
        return (self.inner.encode(texts) + noise).astype(np.float32)

    def token_ids(self, text: str) -> list[int]:
        return list(self.inner.token_ids(text))


def test_vectors_that_depend_on_their_call_are_found_by_that_call_alone(words: Any, tmp_path: Path) -> None:
    """Also when part of what a call kept is gone: it is encoded again as a whole."""
    encoder = Neighbourly(words)
    first, second = ["a", "b", "c"], ["b", "c", "d"]
    plain = [encoder.encode(texts) for texts in (first, second)]
    kept = stored(encoder, tmp_path, steady=False, max_bytes=2048, shard_bytes=450)
    rounds = [[kept.encode(texts) for texts in (first, second, first)] for _ in range(2)]

    assert not np.array_equal(plain[0][1], plain[1][0]), "premise: the same text in two calls"
    for found in rounds:
        for vectors, expected in zip(found, [*plain, plain[0]], strict=True):
            assert np.array_equal(vectors, expected)
    assert encoder.calls == 4, "two plain, two through the store"
    shards(tmp_path)[0].unlink()
    assert np.array_equal(kept.encode(first), plain[0])
    assert np.array_equal(kept.encode(second), plain[1])
    assert encoder.calls == 5


WRITER = textwrap.dedent(
    """
    import sys, numpy as np
    from pathlib import Path
    from harness.embeddings import StoredEncoder
    from harness.encoder import EncodeCounts

    class Slow:
        identity = "slow"
        counts = EncodeCounts()
        def encode(self, texts):
            return np.array([[len(t), sum(map(ord, t)), i] for i, t in enumerate(texts)], dtype=np.float32)[:, :2]
        def token_ids(self, text): return [1]

    encoder = StoredEncoder(Slow(), Path(sys.argv[1]), "float32", 1 << 30, 1 << 12, steady=True)
    lane, n = sys.argv[2], int(sys.argv[3])
    print("ready", flush=True)
    for i in range(n):
        texts = [f"{lane if j % 2 else 'both'} {i} {j}" for j in range(200)]
        found = encoder.encode(texts)
        assert found.tolist() == [[len(t), sum(map(ord, t))] for t in texts]
    print("done", encoder.damaged)
    """
)


def writer(root: Path, lane: str, rounds: int) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", WRITER, str(root), lane, str(rounds)]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[2])}
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)


def test_two_writers_and_a_killed_one_share_a_store(tmp_path: Path) -> None:
    victim = writer(tmp_path, "c", 100_000)
    assert victim.stdout is not None
    victim.stdout.readline()
    both = [writer(tmp_path, lane, 15) for lane in "ab"]
    victim.send_signal(signal.SIGKILL)
    outputs = [process.communicate(timeout=100)[0] for process in both]
    victim.wait()
    victim.stdout.close()

    assert outputs == ["ready\ndone 0\n"] * 2
    for path in shards(tmp_path):
        open_shard(path)
    assert json.loads(shards(tmp_path)[0].read_bytes()[:128])["dimensions"] == 2
