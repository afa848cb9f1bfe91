"""One training step in the shape of Mistral-7B with random weights: our gradient cache on one large GPU.

    python -m tests.benchmarks.training_gpu                              an H200; 15 GB of weights, nothing is downloaded
    python -m tests.benchmarks.training_gpu --shape tiny --device cpu    the same code in seconds: no figure, a smoke test

Needs torch, transformers and peft. A batch is 2,048 queries with a positive and a hard negative each (lengths lognormal,
medians 60, 150 and 150 tokens, cap 512), LoRA 16 on all linear layers, dropout 0.1, the paper's loss. With N weights, useful
work is 4 N a real token (forward, gradients of activations; the base is frozen), executed is 6 N a padded one (one forward
more); both are compared with one large product timed before and after in the same run. The peer has the same loss and two
passes over mini batches as they come, through transformers and peft, on 256 rows; the best of its mini batches counts. Then
one text of 32,000 tokens is encoded. The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import gc
import json
import math
import random
from collections.abc import Callable, Sequence
from typing import Any

import torch

from harness.instructions import NoInstruction
from harness.pairs import Pair
from models import adapter as adapters
from models.adapter import Lora
from models.backbone import Shipped
from models.batches import Batch, Mixed, assemble
from models.gradcache import backward
from models.losses import InfoNce, loss
from models.network import Network, plan_chunks
from models.optimize import adamw
from models.pooling import LastToken
from models.train import TrainingError, TrainingSpec, TrainSpec, gradients
from tests.benchmarks.encode_7b import SHAPES, clock, product_rate, random_model

CAP, MEDIANS, SPREAD = 512, (60, 150, 150), 0.6
LOSS = InfoNce("info_nce", 0.02, (), "joint", None, ())
PASSES_USEFUL, PASSES_EXECUTED = 4, 6
LONG = {"mistral-7b": 32_000, "tiny": 2_000}


def spec_of(chunk_tokens: int, batch: int) -> TrainingSpec:
    """The paper's recipe; the backbone is never read."""
    plan = TrainSpec(
        "contrastive", LOSS, Mixed("mixed"), batch, 1, 1000, 1e-4, 100, "linear", 0.1, (0.9, 0.999), 1e-8, None, chunk_tokens,
        "recompute",
    )  # fmt: skip
    lora = Lora("lora", 16, 32, 0.1, "all-linear")
    return TrainingSpec(Shipped("shipped", "random", "0"), LastToken("last_token"), "native", lora, NoInstruction("none"), CAP,
                        "bfloat16", plan, 0)  # fmt: skip


def make_batch(count: int, vocabulary: int) -> tuple[Batch, list[list[int]]]:
    """A batch of distinct texts, and ids in their place with the spread of lengths of real ones."""
    draw = random.Random(0)
    pairs = [Pair("sts", "English", "English", "random", "", f"q{i}", f"p{i}", (f"n{i}",)) for i in range(count)]
    batch = assemble(pairs, 1, NoInstruction("none"), ())
    medians = dict(zip("qpn", MEDIANS, strict=True))
    lengths = [max(4, min(CAP, round(medians[text[0]] * draw.lognormvariate(0, SPREAD)))) for text in batch.texts]
    return batch, [[draw.randrange(3, vocabulary) for _ in range(length)] for length in lengths]


def timed(function: Callable[[], Any], device: str) -> float:
    """Wall seconds, the device's queue emptied before and after."""
    start = clock(device)
    function()
    return clock(device) - start


def our_step(network: Network, batch: Batch, rows: list[list[int]], spec: TrainingSpec) -> tuple[Callable[[], Any], int]:
    """Our step as the trainer does it, and the padded tokens of one pass over the batch."""
    parameters = adapters.trainable(network.model)
    optimizer = adamw(spec.train, parameters)
    chunks = plan_chunks([len(row) for row in rows], spec.train.chunk_tokens)

    def step() -> None:
        value, _ = gradients(spec, network, rows, chunks, batch)
        assert math.isfinite(value)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    return step, sum(len(chunk) * len(rows[chunk[0]]) for chunk in chunks)


def peer_step(network: Network, batch: Batch, rows: list[list[int]], mini_batch: int) -> Callable[[], Any]:
    """What cached losses of peers do: texts as they come, padded to the longest of a mini batch, stock modules."""
    stock = Network(network.model, network.pooling, network.pad_id, network.device, fuse=False)
    chunks = [list(range(start, min(len(rows), start + mini_batch))) for start in range(0, len(rows), mini_batch)]
    queries, documents = (torch.tensor(part, device=network.device) for part in (batch.queries, batch.documents))
    who = batch.candidates(network.device)

    def encode(chunk: Sequence[int]) -> torch.Tensor:
        return stock.embed([rows[i] for i in chunk])

    def objective(vectors: torch.Tensor) -> torch.Tensor:
        return loss(LOSS, vectors[queries], vectors[documents], who).loss

    def step() -> None:
        backward(encode, chunks, objective, "recompute", network.device)
        network.model.zero_grad(set_to_none=True)

    return step


def peak(device: str) -> float | None:
    """GiB held at most since the last call; None off a GPU."""
    if not device.startswith("cuda"):
        return None
    found = torch.cuda.max_memory_allocated(device) / 2**30
    torch.cuda.reset_peak_memory_stats(device)
    return found


def our_rates(network: Network, count: int, vocabulary: int, budgets: Sequence[int]) -> dict[str, Any]:
    """Every budget printed, the fastest returned; a budget that does not fit says so."""
    device, weights, best = network.device, network.weights(), dict[str, Any]()
    batch, rows = make_batch(count, vocabulary)
    part, part_rows = make_batch(min(count, 64), vocabulary)
    real = sum(map(len, rows))
    for budget in budgets:
        try:
            our_step(network, part, part_rows, spec_of(budget, count))[0]()  # warm-up
            peak(device)
            step, padded = our_step(network, batch, rows, spec_of(budget, count))
            seconds = timed(step, device)
        except TrainingError as error:
            print(f"chunk_tokens {budget}: {error}", flush=True)
            gc.collect()
            continue
        found = {"chunk_tokens": budget, "seconds": seconds, "useful": PASSES_USEFUL * weights * real / seconds,
                 "executed": PASSES_EXECUTED * weights * padded / seconds, "padding": padded / real - 1,
                 "tokens_per_second": real / seconds, "peak_GiB": peak(device)}  # fmt: skip
        print(json.dumps(found), flush=True)
        best = min(best or found, found, key=lambda row: row["seconds"])
    return best


def peer_rate(network: Network, count: int, vocabulary: int, mini_batches: Sequence[int]) -> float:
    """Real tokens per second of the peer's best mini batch; all are printed."""
    batch, rows = make_batch(count, vocabulary)
    rates = []
    for mini_batch in mini_batches:
        step = peer_step(network, batch, rows, mini_batch)
        rates.append(sum(map(len, rows)) / min(timed(step, network.device) for _ in range(2)))
        print(f"peer, mini batch {mini_batch}: {rates[-1]:.0f} real tokens per second", flush=True)
        print(f"  peak {peak(network.device)} GiB", flush=True)
    return max(rates)


def long_encode(network: Network, tokens: int, vocabulary: int) -> dict[str, Any]:
    """One long text, encoded."""
    draw = random.Random(1)
    row = [draw.randrange(3, vocabulary) for _ in range(tokens)]
    with torch.inference_mode():
        network.embed([row[:512]])
        peak(network.device)
        seconds = timed(lambda: network.embed([row]), network.device)
    return {"long_encode_tokens": tokens, "long_encode_seconds": seconds, "long_encode_peak_GiB": peak(network.device)}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--shape", choices=SHAPES, default="mistral-7b")
    parser.add_argument("--device", default="cuda:0")
    parser.add_argument("--batch", type=int)
    parser.add_argument("--peer-batch", type=int)
    parser.add_argument("--chunk-tokens", type=int, nargs="+", default=[8192, 16384, 32768])
    parser.add_argument("--mini-batches", type=int, nargs="+", default=[16, 32, 64])
    options = parser.parse_args()
    small, device, vocabulary = options.shape == "tiny", options.device, SHAPES[options.shape]["vocab_size"]
    count, peers = options.batch or (16 if small else 2048), options.peer_batch or (16 if small else 256)
    size = 256 if small else 8192
    base = random_model(SHAPES[options.shape], device)
    base.config.use_cache = False
    network = Network(adapters.attach(spec_of(1, count).adapter, base, 0).to(device), LastToken("last_token"), 0, device)
    products = [product_rate(device, size)]
    ours = our_rates(network, count, vocabulary, options.chunk_tokens)
    theirs = peer_rate(network, peers, vocabulary, options.mini_batches)
    long = long_encode(network, LONG[options.shape], vocabulary)
    products.append(product_rate(device, size))
    print(json.dumps({
        "name": f"training {options.shape}", "ours": ours["tokens_per_second"], "peer": theirs,
        "ratio": ours["tokens_per_second"] / theirs, "unit": "real tokens per second", "product_FLOP_per_second": max(products),
        "useful_share": ours["useful"] / max(products), "executed_share": ours["executed"] / max(products),
        "peak_GiB": ours["peak_GiB"], "chunk_tokens": ours["chunk_tokens"], "batch": count,
        "hours_per_1000_steps": ours["seconds"] * 1000 / 3600, **long,
        "gpu": torch.cuda.get_device_name() if device.startswith("cuda") else None,
    }))  # fmt: skip


if __name__ == "__main__":
    main()
