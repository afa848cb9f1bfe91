"""Train the small decoder: the two copies of its weights, the time-budgeted loop and its checkpoints.

Idea: the budget is wall time, so the learning rate follows elapsed/budget; weights compute in bf16, a float32 copy
is what the optimizer moves. One checkpoint file holds weights and optimizer state and is replaced atomically.
Boundary: token arrays in, a trained ``Decoder`` and the last log record out.
What it is not: bit-reproducible (the schedule follows the clock), nor a general trainer.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from safetensors import safe_open
from safetensors.torch import save_file
from transformers import MistralConfig, MistralForCausalLM

from models.tiny.packing import BOS, EOS, IGNORED, PAD, VOCABULARY, Tokens, bag_of_words, batches, targets_of

_LOSS_CHUNK = 512  # the logits of one chunk stay in the cache; all of a batch at once would be 134 MB


@dataclass(frozen=True)
class Schedule:
    """How long and how to train; ``minutes`` is the wall-time budget, ``row`` tokens per row, ``batch`` rows per step.

    All but one step in ``long_every`` cut each row into two halves: short rows cost less, long ones teach distance.
    """

    minutes: float
    row: int = 512
    batch: int = 8
    long_every: int = 4
    peak_rate: float = 3e-3
    warm_up: float = 0.03
    floor: float = 0.02
    weight_decay: float = 0.1
    bag_weight: float = 0.1
    bag_words: int = 4
    seed: int = 20

    def rate(self, progress: float) -> float:
        """Learning rate at ``progress`` in [0, 1]: linear warm-up, then a cosine to ``floor`` of the peak."""
        if progress < self.warm_up:
            return self.peak_rate * max(progress / self.warm_up, 0.01)
        phase = min(1.0, (progress - self.warm_up) / (1.0 - self.warm_up))
        return self.peak_rate * (self.floor + (1.0 - self.floor) * 0.5 * (1.0 + math.cos(math.pi * phase)))


def model_config() -> MistralConfig:
    """Return the architecture: 4 layers of width 192, grouped-query attention, no sliding window."""
    return MistralConfig(
        vocab_size=VOCABULARY, hidden_size=192, intermediate_size=768, num_hidden_layers=4, num_attention_heads=6,
        num_key_value_heads=2, head_dim=32, max_position_embeddings=2048, sliding_window=None,
        rope_parameters={"rope_type": "default", "rope_theta": 10000.0}, tie_word_embeddings=True, use_cache=False,
        bos_token_id=BOS, eos_token_id=EOS, pad_token_id=PAD, attn_implementation="sdpa",
    )  # fmt: skip


class Decoder:
    """The model twice: bf16 weights that compute, float32 weights (``master``, by name) that are updated."""

    def __init__(self, seed: int) -> None:
        """Draw random weights from ``seed``."""
        torch.manual_seed(seed)
        self.model = MistralForCausalLM(model_config())
        self.master = {name: weight.detach().clone() for name, weight in self.model.named_parameters()}
        self.model.to(torch.bfloat16)
        self._embedding = "model.embed_tokens.weight"

    def hidden(self, inputs: torch.Tensor) -> torch.Tensor:
        """Return last hidden states [batch * row, width] in bf16; attention stays inside each document.

        The look-up reads the float32 table: summing the gradient of a frequent token in bf16 would lose most of it.
        """
        document = (inputs == BOS).cumsum(1)
        same = document[:, None, :, None] == document[:, None, None, :]
        mask = same & torch.ones(inputs.shape[1], inputs.shape[1], dtype=torch.bool).tril()
        embedded = F.embedding(inputs, self.master[self._embedding]).to(torch.bfloat16)
        states: torch.Tensor = self.model.model(inputs_embeds=embedded, attention_mask=mask).last_hidden_state
        return states.flatten(0, 1)

    def logits(self, hidden: torch.Tensor) -> torch.Tensor:
        """Return float32 next-token logits [n, vocabulary] of hidden states [n, width]."""
        return F.linear(hidden, self.model.model.embed_tokens.weight).float()

    def pull_gradients(self) -> None:
        """Move the bf16 gradients to the float32 weights (added to what the look-up left there)."""
        for name, weight in self.model.named_parameters():
            if weight.grad is not None:
                gradient = weight.grad.float()
                known = self.master[name].grad
                self.master[name].grad = gradient if known is None else known + gradient
                weight.grad = None

    def push_weights(self) -> None:
        """Copy the float32 weights to the bf16 ones."""
        with torch.no_grad():
            for name, weight in self.model.named_parameters():
                weight.copy_(self.master[name])


def held_out_loss(decoder: Decoder, rows: Tokens, batch: int = 8) -> float:
    """Return the mean next-token loss in nats over ``rows`` [rows, row + 1]."""
    total, count = 0.0, 0
    with torch.no_grad():
        for index in range(0, len(rows), batch):
            part = torch.from_numpy(rows[index : index + batch])
            targets = targets_of(part).flatten()
            logits = decoder.logits(decoder.hidden(part[:, :-1]))
            total += float(F.cross_entropy(logits, targets, reduction="sum", ignore_index=IGNORED))
            count += int((targets != IGNORED).sum())
    return total / count


def _optimizer(decoder: Decoder, plan: Schedule) -> torch.optim.AdamW:
    for weight in decoder.master.values():
        weight.requires_grad_(True)
    matrices = [weight for weight in decoder.master.values() if weight.ndim > 1]
    vectors = [weight for weight in decoder.master.values() if weight.ndim == 1]
    groups = [{"params": matrices, "weight_decay": plan.weight_decay}, {"params": vectors, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=plan.peak_rate, betas=(0.9, 0.95), fused=True)


def save_state(path: Path, decoder: Decoder, optimizer: torch.optim.AdamW, progress: dict[str, Any]) -> None:
    """Write weights, both optimizer moments and ``progress`` (JSON in the header) to one file, atomically."""
    tensors: dict[str, torch.Tensor] = {}
    for name, weight in decoder.master.items():
        tensors[f"master/{name}"] = weight.detach()
        for key, value in optimizer.state.get(weight, {}).items():
            tensors[f"{key}/{name}"] = value
    temporary = path.with_suffix(".partial")
    save_file(tensors, temporary, metadata={"progress": json.dumps(progress)})
    temporary.replace(path)


def load_state(path: Path, decoder: Decoder, optimizer: torch.optim.AdamW) -> dict[str, Any]:
    """Fill ``decoder`` and ``optimizer`` from ``save_state``'s file and return its progress."""
    with safe_open(path, framework="pt") as stored:
        known = set(stored.keys())
        with torch.no_grad():
            for name, weight in decoder.master.items():
                weight.copy_(stored.get_tensor(f"master/{name}"))
                keys = [key for key in ("step", "exp_avg", "exp_avg_sq") if f"{key}/{name}" in known]
                optimizer.state[weight] = {key: stored.get_tensor(f"{key}/{name}") for key in keys}
        decoder.push_weights()
        progress: dict[str, Any] = json.loads(stored.metadata()["progress"])
    return progress


def train(documents: Sequence[Tokens], held_out: Tokens, plan: Schedule, work: Path) -> tuple[Decoder, dict[str, Any]]:
    """Train until the budget is used (resuming from ``work``) and return the model and its last progress record."""
    decoder, state_file, log_file = Decoder(plan.seed), work / "state.safetensors", work / "train_log.jsonl"
    optimizer = _optimizer(decoder, plan)
    progress: dict[str, Any] = {"step": 0, "seconds": 0.0, "tokens": 0}
    if state_file.exists():
        progress = load_state(state_file, decoder, optimizer)
    budget, began, saved = plan.minutes * 60.0, time.monotonic() - progress["seconds"], time.monotonic()
    losses: list[float] = []
    feed = batches(documents, plan.row, plan.batch, plan.long_every, plan.seed, progress["step"])
    for rows in feed:
        if progress["seconds"] >= budget:
            break
        rate = plan.rate(progress["seconds"] / budget)
        losses.append(_step(decoder, optimizer, rows, plan, rate, progress["step"]))
        progress["step"] += 1
        progress["tokens"] += plan.batch * plan.row
        progress["seconds"] = time.monotonic() - began
        if progress["step"] % 50 == 0:
            progress["train_loss"] = sum(losses[-50:]) / len(losses[-50:])
            if progress["step"] % 500 == 0:
                progress["sample_loss"] = held_out_loss(decoder, held_out[:48])
            with log_file.open("a", encoding="utf-8") as log:
                log.write(json.dumps({**progress, "rate": rate}) + "\n")
        if time.monotonic() - saved > 150.0:
            save_state(state_file, decoder, optimizer, progress)
            saved = time.monotonic()
    save_state(state_file, decoder, optimizer, progress)
    return decoder, progress


def _step(
    decoder: Decoder,
    optimizer: torch.optim.AdamW,
    rows: Tokens,
    plan: Schedule,
    rate: float,
    step: int,
) -> float:
    """Take one optimizer step and return the next-token loss in nats (without the bag-of-words term)."""
    batch = torch.from_numpy(rows)
    places, words = bag_of_words(rows[:, :-1], plan.bag_words, np.random.default_rng([plan.seed, 7, step]))
    hidden, targets = decoder.hidden(batch[:, :-1]), targets_of(batch).flatten()
    top = hidden.detach().requires_grad_(True)
    asked, loss = int((targets != IGNORED).sum()), 0.0
    for part, wanted in zip(torch.split(top, _LOSS_CHUNK), torch.split(targets, _LOSS_CHUNK), strict=True):
        piece = F.cross_entropy(decoder.logits(part), wanted, reduction="sum", ignore_index=IGNORED) / asked
        piece.backward()  # type: ignore[no-untyped-call]
        loss += float(piece.detach())
    if len(places):
        closing = torch.log_softmax(decoder.logits(top[torch.from_numpy(places)]), -1)
        bag = -plan.bag_weight * closing.gather(1, torch.from_numpy(words)).mean()
        bag.backward()  # type: ignore[no-untyped-call]
    hidden.backward(top.grad)  # type: ignore[no-untyped-call]
    decoder.pull_gradients()
    torch.nn.utils.clip_grad_norm_(decoder.master.values(), 1.0)
    for group in optimizer.param_groups:
        group["lr"] = rate
    optimizer.step()
    optimizer.zero_grad()
    decoder.push_weights()
    return loss
