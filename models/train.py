"""The trainer: one visible loop for contrastive pre-training and fine-tuning, over values handed to it.

Loss, sampler, adapter, pooling and attention are specs; there is nothing to subclass. The same spec, pairs and checkpoints
give the same bytes on a CPU, whatever the process did before: all randomness is drawn from the run's seed (`seeds.py`).

Writes its checkpoint, `metrics.jsonl` (one line a step, no clock in it) and `training.json`. Speeds go to `measured`.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from annotated_types import Ge, Gt, Lt

from harness.identity import file_digest, fingerprint
from harness.instructions import InstructionFormat, render
from harness.pairs import Pair, read_pairs
from harness.step import Report
from models import adapter as adapters
from models.adapter import Adapter, Full
from models.backbone import Backbone, files_digest, label, locate
from models.batches import Batch, Sampler, assemble, sample
from models.encoder import check_length, resolve_device
from models.gradcache import Activations, backward
from models.losses import Loss, loss
from models.network import AS_CONFIGURED, Attention, Dtype, Network, Positions, pad_id, plan_chunks
from models.optimize import adamw, clip, learning_rate, reproducible
from models.pooling import Pooling
from models.progress import STATE_FILE, Progress, Resume, load_state, save_state, speeds
from models.resident import Resident
from models.seeds import derive
from models.tokenizer import Tokenizer

if TYPE_CHECKING:
    from torch import Tensor

METRICS_FILE = "metrics.jsonl"
TRAINING_FILE = "training.json"


class TrainingError(RuntimeError):
    """Training that cannot start or go on; names the step, the pairs or the key, and the remedy."""


@dataclass(frozen=True)
class TrainSpec:
    """How weights move: one `conf/finetune/<name>.yaml` (and `conf/pretrain/`)."""

    kind: Literal["contrastive"]
    loss: Loss
    sampler: Sampler
    batch_size: Annotated[int, Ge(2)]
    """Pairs per step; a smaller group gives a smaller batch."""
    negatives: Annotated[int, Ge(0)]
    """Hard negatives used per pair, the first ones; a pair with fewer gives what it has."""
    steps: Annotated[int, Gt(0)]
    learning_rate: Annotated[float, Gt(0)]
    warmup_steps: Annotated[int, Ge(0)]
    schedule: Literal["linear", "cosine", "constant"]
    """What follows the linear warm-up: a decay to zero at the last step, or none."""
    weight_decay: Annotated[float, Ge(0)]
    """AdamW's, on matrices; biases and norms are spared."""
    betas: tuple[Annotated[float, Ge(0), Lt(1)], Annotated[float, Ge(0), Lt(1)]]
    eps: Annotated[float, Gt(0)]
    max_grad_norm: Annotated[float, Gt(0)] | None
    """Gradients are scaled down to this norm; null: never."""
    chunk_tokens: Annotated[int, Gt(0)]
    """Padded tokens of one forward pass. Dropout depends on it, hence part of the spec."""
    activations: Activations
    """`keep` all in one graph, or `recompute` each chunk (gradient cache): bounded memory for one more forward pass."""

    def __post_init__(self) -> None:
        """A warm-up longer than the run never reaches the learning rate it names."""
        if self.warmup_steps > self.steps:
            raise ValueError(f"warmup_steps: {self.warmup_steps} exceed the {self.steps} steps; lower them")


@dataclass(frozen=True)
class TrainingSpec:
    """Everything that decides trained weights, but for the pairs and the checkpoints they start from."""

    backbone: Backbone
    pooling: Pooling
    attention: Attention
    adapter: Adapter
    instruction: InstructionFormat
    max_length: Annotated[int, Ge(4)]
    dtype: Dtype
    """Of the frozen base under an adapter; full training keeps float32 weights and computes in it."""
    train: TrainSpec
    seed: Annotated[int, Ge(0)]
    positions: Positions = AS_CONFIGURED


def train(  # noqa: PLR0913, PLR0917 - a step's body: spec, inputs, output, and how to run
    spec: TrainingSpec, pairs: Path, checkpoints: Sequence[Path], out: Path, models_root: str | None, device: str,
    report: Report, measured: dict[str, Any], resume: Resume | None = None, resident: Resident | None = None,
) -> None:  # fmt: skip
    """Train on a parquet file of pairs, starting from `checkpoints` in order, and write the payload into `out`.

    With `resume`, a state is kept while training and taken up again by the same run; it is removed at the end. With
    `resident`, an adapter is trained on a base that stays loaded. Neither changes a bit of the payload. Raises
    TrainingError if there is nothing to learn from, the loss is not finite, or memory does not suffice.
    """
    import torch

    begun = time.perf_counter()
    examples = read_pairs(pairs)
    if not examples:
        raise TrainingError(f"{pairs}: no pairs; widen the mix (languages, task types, sources) that made it")
    device = resolve_device(device)
    folder = locate(spec.backbone, models_root)
    check_length(folder, spec.max_length)
    tokenizer = Tokenizer(folder, spec.max_length)
    run = fingerprint({"spec": spec, "pairs": file_digest(pairs), "from": [files_digest(path) for path in checkpoints],
                       "device": device, "torch": str(torch.__version__)})  # fmt: skip
    with _network(spec, folder, checkpoints, device, resident) as network:
        measured["start_seconds"] = time.perf_counter() - begun
        with reproducible(spec.seed, device):
            progress = _loop(spec, examples, tokenizer, network, run, report, measured, resume)
        adapters.save(spec.adapter, network.model, label(spec.backbone), out)
        summary = _summary(progress, network, len(examples)) | {"probes": _probes(spec, tokenizer)}
    lines = "".join(json.dumps(line) + "\n" for line in progress.lines)
    (out / METRICS_FILE).write_text(lines, encoding="utf-8")
    (out / TRAINING_FILE).write_text(json.dumps(summary, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    if resume is not None:
        (resume.folder / STATE_FILE).unlink(missing_ok=True)


def _loop(
    spec: TrainingSpec, examples: Sequence[Pair], tokenizer: Tokenizer, network: Network, run: str, report: Report,
    measured: dict[str, Any], resume: Resume | None,
) -> Progress:  # fmt: skip
    plan, parameters = spec.train, adapters.trainable(network.model)
    optimizer = adamw(plan, parameters)
    progress = load_state(resume.folder, run, parameters, optimizer) if resume else None
    progress = progress or Progress(adapters.norm(network.model))
    first = measured["resumed_at_step"] = progress.step
    clock = saved = time.perf_counter()
    batches = islice(sample(plan.sampler, examples, plan.batch_size, spec.seed), first, plan.steps)
    for step, chosen in enumerate(batches, start=first):
        batch = assemble([examples[i] for i in chosen], plan.negatives, spec.instruction, plan.loss.own_negatives_only)
        rows = [item.ids for item in tokenizer(batch.texts)]
        chunks = plan_chunks([len(row) for row in rows], plan.chunk_tokens)
        rate = learning_rate(plan, step)
        for group in optimizer.param_groups:
            group["lr"] = rate
        value, correct = gradients(spec, network, rows, chunks, batch)
        norm = clip(parameters, plan.max_grad_norm)
        _refuse_divergence(step, value, norm, [examples[i] for i in chosen], resume)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        real, padded = sum(map(len, rows)), sum(len(chunk) * len(rows[chunk[0]]) for chunk in chunks)
        progress.lines.append({
            "step": step + 1, "loss": value, "learning_rate": rate, "grad_norm": norm, "accuracy": correct, "tokens": real,
            "padding": 1 - real / padded, "examples": len(chosen), "negatives": batch.negatives_per_query,
        })  # fmt: skip
        progress.preview = progress.preview or batch.preview()
        if resume is not None and time.perf_counter() - saved >= resume.seconds:
            save_state(resume.folder, run, progress, parameters, optimizer)
            saved = time.perf_counter()
        report(step + 1, plan.steps, f"loss {value:.3f}")
    work = 6 if isinstance(spec.adapter, Full) else 4  # operations a weight and token: forward, gradients of what is trained
    measured |= speeds(progress.lines[first:], time.perf_counter() - clock, work * network.weights(),
                       1 + (2 / work if plan.activations == "recompute" else 0))  # fmt: skip
    measured["peak_memory_bytes"] = network.peak_memory()
    return progress


def _summary(progress: Progress, network: Network, pairs: int) -> dict[str, Any]:
    """What `training.json` says of a finished run."""
    return {
        "trainable_parameters": sum(value.numel() for value in adapters.trainable(network.model).values()),
        "norm_start": progress.norm_start, "norm_end": adapters.norm(network.model), "steps": progress.step,
        "examples": progress.total("examples"), "epochs": progress.total("examples") / pairs,
        "negatives_per_query": progress.total("negatives") / progress.step, "tokens": progress.total("tokens"),
        "preview": progress.preview,
    }  # fmt: skip


def gradients(
    spec: TrainingSpec, network: Network, rows: Sequence[list[int]], chunks: Sequence[list[int]], batch: Batch
) -> tuple[float, float]:
    """Put the batch's gradients into the parameters; returns the loss and the share of queries answered right."""
    import torch

    candidates = batch.candidates(network.device)
    queries = torch.tensor(batch.queries, device=network.device)
    documents = torch.tensor(batch.documents, device=network.device)
    correct: list[float] = []

    def encode(chunk: Sequence[int]) -> Tensor:
        with _precision(spec, network.device):
            return network.embed([rows[i] for i in chunk])

    def objective(vectors: Tensor) -> Tensor:
        value = loss(spec.train.loss, vectors[queries], vectors[documents], candidates)
        correct.append(float(value.correct))
        return value.loss

    try:
        value = backward(encode, chunks, objective, spec.train.activations, network.device)
    except (torch.OutOfMemoryError, MemoryError) as error:
        raise TrainingError(
            f"out of memory with chunk_tokens={spec.train.chunk_tokens} and activations={spec.train.activations}: "
            "lower chunk_tokens, or set activations=recompute; nothing is lowered silently, since it changes the result"
        ) from error
    return float(value), correct[0]


@contextmanager
def _network(
    spec: TrainingSpec, folder: Path, checkpoints: Sequence[Path], device: str, resident: Resident | None
) -> Iterator[Network]:
    """The network to train. Full training keeps float32 weights, and never touches a base that others will use."""
    full = isinstance(spec.adapter, Full)
    if full and resident is not None:
        resident.clear()
    shared = resident if resident is not None and not full else Resident()
    dtype: Dtype = "float32" if full else spec.dtype
    with shared.borrow(folder, spec.attention, dtype, checkpoints, device, spec.positions) as base:
        model = adapters.attach(spec.adapter, base, derive(spec.seed, "adapter")).to(device)
        yield Network(model, spec.pooling, pad_id(folder), device)


def _refuse_divergence(step: int, value: float, norm: float, pairs: Sequence[Pair], resume: Resume | None) -> None:
    if math.isfinite(value) and math.isfinite(norm):
        return
    names = ", ".join(pair.identity for pair in pairs[:8])
    state = resume.folder / STATE_FILE if resume is not None else None
    kept = f" The last good state is {state}." if state is not None and state.is_file() else ""
    raise TrainingError(
        f"step {step + 1}: loss {value}, gradient norm {norm}; pairs {names}{' ...' if len(pairs) > 8 else ''}. "
        f"Lower learning_rate, set max_grad_norm, or look at these pairs.{kept}"
    )


def _precision(spec: TrainingSpec, device: str) -> AbstractContextManager[Any]:
    """Full training in bfloat16 computes in it over float32 weights; an adapter's base is in its dtype already."""
    import torch

    if isinstance(spec.adapter, Full) and spec.dtype == "bfloat16":
        return torch.autocast(device.partition(":")[0], dtype=torch.bfloat16)
    return nullcontext()


def _probes(spec: TrainingSpec, tokenizer: Tokenizer) -> list[dict[str, Any]]:
    """Three texts through the real path: a query, a document, and one that is cut (traps 1 to 3)."""
    task, text = "Given a question, retrieve passages that answer it.", "how do tides work"
    strings = [render(spec.instruction, "short_long", "query", task, text),
               render(spec.instruction, "short_long", "document", task, text), "tide " * spec.max_length]  # fmt: skip
    return [{"text": string, "ids": tokenizer([string])[0].ids} for string in strings]
