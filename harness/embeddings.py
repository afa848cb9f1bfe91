"""A text is encoded once per encoder: vectors on disk, shared by tasks, reruns, arms and processes.

The key is the *rendered* text (so the instruction is in it) under the encoder's identity (weights, adapter, pooling, length,
dtype, tokenizer, batch plan): changing any of them misses (trap 29). The store sees what the model would see and nothing
else, so that it cannot change a text (trap 30), and hands rows back in the order asked, duplicates included (trap 42).

A shard is an immutable file named by the SHA-256 of its bytes, written aside and renamed: writers need no lock, a killed one
leaves nothing that looks finished, a damaged one is recognised when it is first read, removed and encoded again. Deleting a
shard that somebody reads is safe on POSIX, which is how the store stays within its bound.

Where an encoder is *steady* (a text's vector has the same bits in any company, which `models.encoder` tries out when asked),
texts are kept one by one and what comes out of the store is, bit for bit, what encoding would have given. Where it is not (some
GPU kernels, transformers' own forward pass), a vector is found again only by the very call that made it: the same distinct
texts in the same order, as in a rerun, in an arm that shares the checkpoint, in a task that shares the corpus. Either way a
store that is cold, warm, half evicted or damaged gives the same payload.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from harness.encoder import EncodeCounts, Encoder
from harness.identity import fingerprint

Precision = Literal["float32", "float16"]
KEY_BYTES = 16  # 128 bits of SHA-256: no collision among the texts of all benchmarks
HEADER_BYTES = 128
SUFFIX = ".shard"
ABANDONED = 3600.0  # seconds after which a file still being written belongs to nobody


class StoreError(RuntimeError):
    """The store cannot be used as asked; names the folder and the remedy."""


@dataclass(frozen=True)
class Shard:
    """One file: sorted keys and a row of numbers for each."""

    path: Path
    keys: NDArray[np.bytes_]
    vectors: NDArray[Any]


class StoredEncoder:
    """An encoder that remembers, to be used in place of the one it wraps."""

    def __init__(
        self, encoder: Encoder, root: Path, precision: Precision, max_bytes: int, shard_bytes: int = 64 << 20, *, steady: bool
    ) -> None:
        """`max_bytes` bounds everything below `root`, over all encoders; `float16` halves it and rounds every vector.

        `steady`: whether the encoder gives a text the same bits in any company. Raises StoreError if the bound does
        not hold two shards.
        """
        if max_bytes < 2 * shard_bytes:
            raise StoreError(f"{root}: {max_bytes} bytes do not hold two shards of {shard_bytes}; raise the bound")
        self.inner, self.root, self.precision = encoder, root, precision
        self.max_bytes, self.shard_bytes, self.steady = max_bytes, shard_bytes, steady
        # Rounded vectors are other vectors: whoever compares identities must see it.
        self.identity = encoder.identity if precision == "float32" else fingerprint([encoder.identity, precision])
        self.damaged = 0
        self._folder = root / self.identity
        self._shards: dict[str, Shard] = {}

    @property
    def counts(self) -> EncodeCounts:
        """The counts of the wrapped encoder; `stored` says how many texts it was spared."""
        return self.inner.counts

    def token_ids(self, text: str) -> list[int]:
        """The ids the model sees for `text`."""
        return self.inner.token_ids(text)

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Vectors (len(texts), dimensions), float32, rows in the order of `texts`; each distinct text encoded at most once."""
        row_of: dict[str, int] = {}
        rows = np.array([row_of.setdefault(text, len(row_of)) for text in texts], dtype=np.int64)
        distinct = list(row_of)
        call = b"" if self.steady else call_key(distinct)
        keys = np.array([text_key(text, call) for text in distinct], dtype=f"S{KEY_BYTES}")
        found = self._read(keys)
        missing = np.flatnonzero(~found.known)
        if len(missing) and not self.steady:
            missing = np.arange(len(keys))  # a part of a call is another call
        self.counts.stored += len(texts) - int(np.isin(rows, missing).sum())
        vectors = found.vectors
        if len(missing):
            fresh = self.inner.encode([distinct[i] for i in missing]).astype(self.precision)
            if vectors is None:
                vectors = np.empty((len(distinct), fresh.shape[1]), dtype=np.float32)
            vectors[missing] = fresh
            self._write(keys[missing], fresh)
        if vectors is None:
            raise ValueError("encode: no texts; an empty table of vectors has no dimension")
        answer: NDArray[np.float32] = vectors[rows]
        return answer

    def _read(self, keys: NDArray[np.bytes_]) -> Found:
        self._refresh()
        known = np.zeros(len(keys), dtype=bool)
        vectors: NDArray[np.float32] | None = None
        for shard in self._shards.values():
            places = np.minimum(np.searchsorted(shard.keys, keys), len(shard.keys) - 1)
            here = np.flatnonzero((shard.keys[places] == keys) & ~known)
            if not len(here):
                continue
            if vectors is None:
                vectors = np.empty((len(keys), shard.vectors.shape[1]), dtype=np.float32)
            vectors[here] = shard.vectors[places[here]]
            known[here] = True
            with contextlib.suppress(FileNotFoundError):  # evicted by another process; what is mapped stays readable
                os.utime(shard.path)
        return Found(known, vectors)

    def _refresh(self) -> None:
        """Map shards that appeared, forget those that were evicted; a damaged one is removed and counted."""
        present = {path.name: path for path in sorted(self._folder.glob(f"*{SUFFIX}"))}
        self._shards = {name: shard for name, shard in self._shards.items() if name in present}
        for name, path in present.items():
            if name in self._shards:
                continue
            try:
                self._shards[name] = open_shard(path)
            except FileNotFoundError:
                continue  # evicted since the folder was listed
            except StoreError:
                self.damaged += 1
                path.unlink(missing_ok=True)

    def _write(self, keys: NDArray[np.bytes_], vectors: NDArray[Any]) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        step = max(1, self.shard_bytes // (vectors.shape[1] * vectors.itemsize + KEY_BYTES))
        for start in range(0, len(keys), step):
            part = slice(start, start + step)
            write_shard(self._folder, keys[part], vectors[part])
            keep_within(self.root, self.max_bytes)


@dataclass(frozen=True)
class Found:
    """Which keys the store has, and their rows; `vectors` is None if it has none of them."""

    known: NDArray[np.bool_]
    vectors: NDArray[np.float32] | None


def text_key(text: str, call: bytes = b"") -> bytes:
    """The key of a rendered text, in any call or in that one alone."""
    return hashlib.sha256(call + text.encode("utf-8", "surrogatepass")).digest()[:KEY_BYTES]


def call_key(texts: Sequence[str]) -> bytes:
    """The key of a whole call: its texts in order."""
    return hashlib.sha256(b"".join(text_key(text) for text in texts)).digest()


def write_shard(folder: Path, keys: NDArray[np.bytes_], vectors: NDArray[Any]) -> Path:
    """Write rows durably: beside, to the disk, then renamed to the digest of what was written."""
    order = np.argsort(keys, kind="stable")
    header = json.dumps({"rows": len(keys), "dimensions": vectors.shape[1], "dtype": vectors.dtype.str})
    parts = (
        header.encode().ljust(HEADER_BYTES),
        keys[order].tobytes(),
        np.ascontiguousarray(vectors[order]).tobytes(),
    )
    digest = hashlib.sha256()
    aside = folder / f".{os.getpid()}-{time.monotonic_ns()}.writing"
    with aside.open("xb") as handle:
        for part in parts:
            digest.update(part)
            handle.write(part)
        handle.flush()
        os.fsync(handle.fileno())
    path = folder / f"{digest.hexdigest()[:32]}{SUFFIX}"
    aside.rename(path)
    return path


def open_shard(path: Path) -> Shard:
    """Map a shard after comparing its bytes with its name; raises StoreError if they differ."""
    with path.open("rb") as handle:
        if hashlib.file_digest(handle, "sha256").hexdigest()[:32] != path.name.removesuffix(SUFFIX):
            raise StoreError(f"{path}: its bytes are not those that were written; delete it")
        handle.seek(0)
        header = json.loads(handle.read(HEADER_BYTES))
    rows, shape = header["rows"], (header["rows"], header["dimensions"])
    keys = np.memmap(path, dtype=f"S{KEY_BYTES}", mode="r", offset=HEADER_BYTES, shape=(rows,))
    vectors = np.memmap(path, dtype=header["dtype"], mode="r", offset=HEADER_BYTES + rows * KEY_BYTES, shape=shape)
    return Shard(path, np.asarray(keys), vectors)


def keep_within(root: Path, max_bytes: int) -> None:
    """Delete the shards unused for longest until everything below `root` fits, and what killed writers left."""
    files = sorted(_files(root), key=lambda file: file[1])
    total = sum(size for _, _, size in files)
    for path, changed, size in files:
        abandoned = path.suffix == ".writing" and time.time() - changed > ABANDONED
        if abandoned or (total > max_bytes and path.suffix == SUFFIX):
            path.unlink(missing_ok=True)
            total -= size


def _files(root: Path) -> Iterator[tuple[Path, float, int]]:
    for path in root.glob("*/*"):
        with contextlib.suppress(FileNotFoundError):
            stat = path.stat()
            yield path, stat.st_mtime, stat.st_size
