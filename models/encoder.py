"""Texts in, vectors out: a trained or untrained backbone behind `harness.encoder.Encoder`.

Equal texts are encoded once, rows of one padded width together, and every vector lands in its own row (trap 42). A text's
padded width follows from the text alone, so that on a CPU its vector has the same bits whatever it is encoded with. The
encoder's identity covers all that decides a vector: spec, weights, adapters, tokenizer.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from annotated_types import Ge, Gt

from harness.encoder import EncodeCounts
from harness.identity import file_digest, fingerprint
from harness.instructions import InstructionFormat
from models.adapted import Judged, locate
from models.adapter import Adapter
from models.backbone import BackboneError, files_digest, read_config, weights_digest
from models.network import AS_CONFIGURED, Attention, Dtype, Network, Positions, load_model, pad_id, plan_buckets
from models.pooling import Pooling, PoolingChoice
from models.resident import Resident
from models.tokenizer import Tokenizer, is_decoder, tokenizer_digest

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import nn

PROBE = "the moon of the sea, "
PROBE_COUNTS = (1, 2, 5, 12, 30, 75)  # times the probe is repeated: lengths over five octaves


@dataclass(frozen=True)
class EncoderSpec:
    """All that decides what vector a text gets from given weights."""

    backbone: Judged
    pooling: Pooling
    attention: Attention
    max_length: Annotated[int, Ge(4)]
    """Tokens, specials included."""
    normalize: bool
    """Whether vectors are scaled to length one."""
    dtype: Dtype
    """Of weights and activations; vectors are float32 in any case."""
    chunk_tokens: Annotated[int, Gt(0)]
    """Padded tokens of one forward pass. Changes vectors in the last digits, hence part of the spec."""
    positions: Positions = AS_CONFIGURED


@dataclass(frozen=True)
class ModelSpec:
    """One `conf/model/<name>.yaml`: a backbone with its habits."""

    kind: Literal["local"]
    backbone: Judged
    pooling: PoolingChoice
    attention: Attention
    adapter: Adapter
    instruction: InstructionFormat
    max_length: Annotated[int, Ge(4)]
    normalize: bool
    unnormalized: tuple[str, ...]
    """Types of tasks that are judged on vectors of their own length, whatever `normalize` says."""
    dtype: Dtype
    chunk_tokens: Annotated[int, Gt(0)]
    positions: Positions = AS_CONFIGURED

    def encoder(self, task_type: str = "") -> EncoderSpec:
        """The part that decides vectors, as tasks of a type see them."""
        parts = {field.name: getattr(self, field.name) for field in fields(EncoderSpec)}
        return EncoderSpec(**parts | {"normalize": self.normalize and task_type not in self.unnormalized})


class TorchEncoder:
    """A backbone on this machine. Build it with `load_encoder`."""

    def __init__(self, spec: EncoderSpec, network: Network, tokenizer: Tokenizer, digests: Mapping[str, Any]) -> None:
        """`digests`: whatever else decides a vector, weights and tokenizer."""
        self.identity = fingerprint({"spec": spec, **digests})
        self.counts = EncodeCounts()
        self._spec, self._digests = spec, digests
        self._network = network
        self._tokenizer = tokenizer

    def normalized(self, *, normalize: bool) -> TorchEncoder:
        """An encoder over the same weights in memory whose vectors have length one, or their own."""
        return TorchEncoder(replace(self._spec, normalize=normalize), self._network, self._tokenizer, self._digests)

    def token_ids(self, text: str) -> list[int]:
        """The ids the model sees for `text`."""
        return self._tokenizer([text])[0].ids

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Vectors (len(texts), dim), float32, rows in the order of `texts`."""
        import numpy as np

        if not texts:
            raise ValueError("encode: no texts; an empty table of vectors has no dimension")
        row_of: dict[str, int] = {}
        rows = np.array([row_of.setdefault(text, len(row_of)) for text in texts])
        tokens = self._tokenizer(list(row_of))
        vectors = self._embed([item.ids for item in tokens])
        _refuse_non_finite(vectors, list(row_of))
        self.counts.texts += len(texts)
        self.counts.tokens += sum(len(item.ids) for item in tokens)
        self.counts.truncated += sum(item.truncated for item in tokens)
        found: NDArray[np.float32] = vectors[rows]
        return found

    @cached_property
    def steady(self) -> bool:
        """Whether a text's vector has the same bits whatever other texts are encoded with it: tried out, on this device."""
        import numpy as np

        spent = replace(self.counts)
        probes = [item.ids for item in self._tokenizer([PROBE * count for count in PROBE_COUNTS])]
        together = self._embed(probes * 3)
        alone = np.concatenate([self._embed([ids]) for ids in probes])
        self.counts = spent
        return bool(np.array_equal(together, np.concatenate([alone] * 3)))

    def _embed(self, rows: Sequence[Sequence[int]]) -> NDArray[np.float32]:
        """Vectors of rows of ids, in order."""
        import numpy as np
        import torch

        vectors: NDArray[np.float32] | None = None
        with torch.inference_mode():
            for width, chunk in plan_buckets([len(row) for row in rows], self._spec.chunk_tokens, self._spec.max_length):
                found = self._network.embed([rows[i] for i in chunk], width).float()
                if self._spec.normalize:
                    found = torch.nn.functional.normalize(found, dim=1)
                if vectors is None:
                    vectors = np.empty((len(rows), found.shape[1]), dtype=np.float32)
                vectors[chunk] = found.cpu().numpy()
                self.counts.padded_tokens += len(chunk) * width
        assert vectors is not None  # noqa: S101 - there is a row, hence a chunk
        return vectors


def load_encoder(spec: EncoderSpec, checkpoints: Sequence[Path], models_root: str | None, device: str) -> TorchEncoder:
    """The encoder of a backbone with `checkpoints` (payload folders of training steps, in order) on it.

    Raises BackboneError, CheckpointError or TokenizerError if something is missing, corrupt or does not fit.
    """
    folder, checkpoints, device = *_checked(spec, checkpoints, models_root), resolve_device(device)
    model = load_model(folder, spec.attention, spec.dtype, checkpoints, device, merge_last=False, positions=spec.positions)
    return _over(model, spec, folder, checkpoints, device)


@contextmanager
def resident_encoder(
    spec: EncoderSpec, checkpoints: Sequence[Path], models_root: str | None, device: str, resident: Resident
) -> Iterator[TorchEncoder]:
    """The same encoder, bit for bit, lying on a base that stays loaded; it may be used until the end of the block."""
    folder, checkpoints, device = *_checked(spec, checkpoints, models_root), resolve_device(device)
    base = resident.with_checkpoints(folder, spec.attention, spec.dtype, checkpoints, device, spec.positions)
    with base as model:
        yield _over(model, spec, folder, checkpoints, device)


def _checked(spec: EncoderSpec, checkpoints: Sequence[Path], models_root: str | None) -> tuple[Path, list[Path]]:
    """The folder of the weights, and everything that lies on them."""
    folder, published = locate(spec.backbone, models_root)
    check_length(folder, spec.max_length)
    return folder, [*published, *checkpoints]


def _over(model: nn.Module, spec: EncoderSpec, folder: Path, checkpoints: Sequence[Path], device: str) -> TorchEncoder:
    digests = {
        "weights": weights_digest(folder),
        "config": file_digest(folder / "config.json"),  # positions, norms, activation: not in the weights
        "checkpoints": [files_digest(checkpoint) for checkpoint in checkpoints],
        "tokenizer": tokenizer_digest(folder),
    }
    network = Network(model, spec.pooling, pad_id(folder), device)
    return TorchEncoder(spec, network, Tokenizer(folder, spec.max_length), digests)


def check_length(folder: Path, max_length: int) -> None:
    """Raises BackboneError if an encoder has fewer learned positions than `max_length` tokens need."""
    config = read_config(folder)
    positions = config.get("max_position_embeddings")
    if is_decoder(folder) or not isinstance(positions, int):
        return  # rotary positions have no end; how far they carry is a question for an ablation
    if "roberta" in config["model_type"]:
        positions -= config.get("pad_token_id", 1) + 1  # the family counts from pad_token_id + 1
    if max_length > positions:
        raise BackboneError(f"model.max_length: {max_length} tokens, but {folder} has {positions} positions; lower it")


def resolve_device(device: str) -> str:
    """`auto` becomes the first visible GPU, else the CPU."""
    import torch

    if device != "auto":
        return device
    return "cuda:0" if torch.cuda.is_available() else "cpu"


def _refuse_non_finite(vectors: NDArray[np.float32], texts: Sequence[str]) -> None:
    import numpy as np

    bad = np.flatnonzero(~np.isfinite(vectors).all(axis=1))
    if bad.size:
        raise ValueError(
            f"encode: {bad.size} of {len(texts)} vectors are not finite, first for the text {texts[bad[0]][:80]!r}; "
            "the weights diverged or the dtype overflows"
        )
