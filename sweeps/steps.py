"""What each step does: the bodies that need more than one floor.

Runs in workers. Whatever is heavy is imported where it is used. One base stays in memory: arms train their adapters on it one
after another, and the encoder of the last checkpoint lies on it, so that the tasks of one checkpoint load it once.
"""

from __future__ import annotations

import atexit
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from harness.identity import fingerprint
from harness.runtime import EMBEDDINGS
from harness.server import ServerEncoder, ServerSpec
from harness.step import Body, Step, Work
from models.concatenation import ConcatenatedEncoder, ConcatenationSpec
from models.resident import Resident
from sweeps.plan import CHECKPOINTS, CheckSpec, EvaluateSpec, RefiningSpec, sources

if TYPE_CHECKING:
    from generators.labelled import LabelledSpec
    from generators.mined import MinedSpec
    from generators.mixture import MixSpec
    from generators.synthesize import SynthesizeSpec
    from harness.encoder import Encoder
    from harness.runtime import Runtime
    from models.encoder import EncoderSpec
    from models.merge import MergeSpec
    from models.train import TrainingSpec

PAIRS = "pairs.parquet"


def synthesize_pairs(spec: SynthesizeSpec, work: Work) -> None:
    """Pairs out of a language model's answers."""
    from generators.synthesize import synthesize

    ledger = Path(work.runtime.ledger).expanduser()
    synthesize(spec, work.out, work.report, work.measured, ledger, work.runtime.server, sources(work.runtime))


def mine_pairs(spec: MinedSpec, work: Work) -> None:
    """Weak pairs out of source code."""
    from generators.mined import mine

    mine(spec, work.out, work.report, work.measured, sources(work.runtime))


def gather_pairs(spec: LabelledSpec, work: Work) -> None:
    """Pairs out of labelled files."""
    from generators.labelled import gather

    gather(spec, work.out, work.report, work.measured, sources(work.runtime))


def mix_pairs(spec: MixSpec, work: Work) -> None:
    """The training examples of an arm, out of the pools."""
    from generators.mixture import mix

    mix(spec, work.inputs, work.out, work.report, work.measured)


def check_pairs(spec: CheckSpec, work: Work) -> None:
    """Which texts of the tasks stand in training pairs."""
    from generators.contamination import Item, inspect
    from harness.tasks.texts import judged_texts

    items = (Item(task.name, *text) for task in spec.tasks for text in judged_texts(task, work.runtime.data))
    inspect(spec.search, work.inputs["pairs"] / PAIRS, items, work.out, work.report, work.measured)


def refine_pairs(spec: RefiningSpec, work: Work) -> None:
    """The training examples as an encoder leaves them."""
    from generators.refine import refine

    _use_threads(work)
    encoder = _encoder(spec.encoder, (), work)
    folders = work.out, work.scratch
    refine(spec.how, spec.instruction, work.inputs["pairs"] / PAIRS, encoder, folders, work.report, work.measured)


def train_weights(spec: TrainingSpec, work: Work) -> None:
    """Pre-training and fine-tuning: the same loop on other specs."""
    from models.progress import Resume
    from models.train import train

    _use_threads(work)
    _let_go()
    runtime, loads = work.runtime, _base.loads
    resume = None if runtime.checkpoint_every is None else Resume(work.scratch, runtime.checkpoint_every)
    train(
        spec, work.inputs["pairs"] / PAIRS, _checkpoints(work), work.out, runtime.models, runtime.device, work.report,
        work.measured, resume, _base,
    )  # fmt: skip
    work.measured["base_loads"] = _base.loads - loads


def merge_weights(spec: MergeSpec, work: Work) -> None:
    """Several checkpoints as one."""
    from models.merge import merge

    _use_threads(work)
    merge(spec, [work.inputs[str(i)] for i in range(len(spec.weights))], work.out)


def evaluate_task(spec: EvaluateSpec, work: Work) -> None:
    """One task, judged on the vectors of one checkpoint, or of several side by side."""
    from harness.evaluate import evaluate

    _use_threads(work)
    if isinstance(spec.encoder, ConcatenationSpec):
        encoder = _joined(spec.encoder, work)
    else:
        encoder = _encoder(spec.encoder, _checkpoints(work), work)
    evaluate(spec.task, spec.instruction, encoder, work.out, work.runtime.data, work.report, work.measured)


BODIES: Mapping[str, Body] = {
    "synthesize": synthesize_pairs,
    "mined": mine_pairs,
    "labelled": gather_pairs,
    "mix": mix_pairs,
    "contamination": check_pairs,
    "refine": refine_pairs,
    "pretrain": train_weights,
    "finetune": train_weights,
    "merge": merge_weights,
    "evaluate": evaluate_task,
}


def body_of(step: Step) -> Body:
    """The work of a step."""
    return BODIES[step.name]


def _checkpoints(work: Work) -> list[Path]:
    return [work.inputs[role] for role in CHECKPOINTS if role in work.inputs]


def _use_threads(work: Work) -> None:
    import torch

    torch.set_num_threads(work.runtime.threads)


SHARD_BYTES = 64 << 20
_base = Resident()
_kept: dict[str, Mapping[bool, Encoder]] = {}  # the encoder that lies on the base, by what it is
_lying = ExitStack()


@atexit.register
def _let_go() -> None:
    """Take the encoder off the base, which stays."""
    _kept.clear()
    _lying.close()


def _encoder(spec: EncoderSpec | ServerSpec, checkpoints: Sequence[Path], work: Work) -> Encoder:
    """The encoder of a checkpoint; the last one is kept. Checkpoints are named by their folder, whose bytes were verified."""
    runtime = work.runtime
    alike = spec if isinstance(spec, ServerSpec) else replace(spec, normalize=True)
    key = fingerprint([alike, [str(path) for path in checkpoints], runtime.device, runtime.store, runtime.embeddings])
    if key not in _kept:
        _let_go()
        _kept[key] = _served(spec, runtime) if isinstance(spec, ServerSpec) else _loaded(spec, checkpoints, runtime)
    return _kept[key][getattr(spec, "normalize", True)]


def _joined(spec: ConcatenationSpec, work: Work) -> Encoder:
    """Parts with weights of their own in memory: one base would be borrowed by all of them at once."""
    key = fingerprint([spec, {role: str(path) for role, path in work.inputs.items()}, work.runtime.device])
    if key not in _kept:
        _let_go()
        _base.clear()
        parts = [_part(part, [work.inputs[f"{i}.{role}"] for role in CHECKPOINTS if f"{i}.{role}" in work.inputs], work.runtime)
                 for i, part in enumerate(spec.parts)]  # fmt: skip
        _kept[key] = {True: ConcatenatedEncoder(parts, spec.weights)}
    return _kept[key][True]


def _part(spec: EncoderSpec | ServerSpec, checkpoints: Sequence[Path], runtime: Runtime) -> Encoder:
    from models.encoder import load_encoder

    if isinstance(spec, ServerSpec):
        return _served(spec, runtime)[True]
    encoder = load_encoder(spec, checkpoints, runtime.models, runtime.device)
    return _remembering(encoder, runtime, steady=runtime.embeddings is not None and encoder.steady)


def _served(spec: ServerSpec, runtime: Runtime) -> dict[bool, Encoder]:
    """Nobody knows a server's batches: a text's first answer is kept, so that it is paid for once."""
    endpoint = runtime.endpoint(spec.name)
    assert endpoint is not None  # noqa: S101 - `pin` looked
    return {True: _remembering(ServerEncoder(spec, endpoint), runtime, steady=True)}


def _loaded(spec: EncoderSpec, checkpoints: Sequence[Path], runtime: Runtime) -> dict[bool, Encoder]:
    """Both encoders over the same weights in memory: with vectors of length one, and of their own."""
    from models.encoder import resident_encoder

    local = _lying.enter_context(resident_encoder(spec, checkpoints, runtime.models, runtime.device, _base))
    steady = runtime.embeddings is not None and local.steady
    both = {normalize: local.normalized(normalize=normalize) for normalize in (True, False)}
    return {normalize: _remembering(encoder, runtime, steady=steady) for normalize, encoder in both.items()}


def _remembering(encoder: Encoder, runtime: Runtime, *, steady: bool) -> Encoder:
    """The encoder with the store of embeddings before it, if the runtime has room for one."""
    if runtime.embeddings is None:
        return encoder
    from harness.embeddings import StoredEncoder

    room = int(runtime.embeddings * 1e9)
    return StoredEncoder(encoder, runtime.store_path / EMBEDDINGS, "float32", room, min(SHARD_BYTES, room // 4), steady=steady)
