"""Tokens per second of our encoder in the shape of Mistral-7B with random weights, for a machine with one large GPU.

    python tests/benchmarks/encode_7b.py                              an H200: 15 GB of weights, nothing is downloaded
    python tests/benchmarks/encode_7b.py --shape tiny --device cpu    the same code in seconds: no figure, a smoke test

Ids are random, lengths lognormal as MTEB's (median 60 tokens, cap 512). Executed FLOP are counted by the shapes that are
computed, padding included and the pruned last layer as pruned, and compared with one large product of the same dtype timed in
the same run, before and after. Hours are for the tokens MTEB asks for (3.9 G for eng v1, 0.33 G for eng v2), encoding alone.
The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import time
from typing import Any

import torch

from models.network import Network, plan_buckets
from models.pooling import LastToken

SHAPES = {
    "mistral-7b": {"hidden_size": 4096, "intermediate_size": 14336, "num_hidden_layers": 32, "num_attention_heads": 32,
                   "num_key_value_heads": 8, "vocab_size": 32000},
    "tiny": {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4,
             "num_key_value_heads": 2, "vocab_size": 1000},
}  # fmt: skip
CAP = 512
MTEB_TOKENS = {"MTEB(eng, v1)": 3.9e9, "MTEB(eng, v2)": 0.33e9}


def random_model(shape: dict[str, int], device: str) -> Any:
    """A Mistral with random weights, made on the device in bfloat16."""
    from transformers import MistralConfig, MistralModel

    config = MistralConfig(**shape, sliding_window=None, max_position_embeddings=4096)
    torch.manual_seed(0)
    torch.set_default_dtype(torch.bfloat16)
    with torch.device(device):
        model = MistralModel(config)
    torch.set_default_dtype(torch.float32)
    return model.eval().requires_grad_(requires_grad=False)


def texts(count: int, vocabulary: int) -> list[list[int]]:
    """Random ids with the spread of lengths of MTEB's texts."""
    draw = random.Random(0)
    lengths = [max(4, min(CAP, round(draw.lognormvariate(4.1, 1.0)))) for _ in range(count)]
    return [[draw.randrange(3, vocabulary) for _ in range(length)] for length in lengths]


def executed(config: Any, width: int, rows: int) -> float:
    """Floating point operations of one chunk: products of the layers and attention, the last layer for one position a row."""
    hidden, kv = config.hidden_size, config.num_key_value_heads * config.head_dim
    asked = config.num_attention_heads * config.head_dim
    keys = 2 * hidden * 2 * kv
    rest = 2 * hidden * asked * 2 + 2 * 3 * hidden * config.intermediate_size
    attention = 4 * width * asked
    tokens = width * rows
    return tokens * (config.num_hidden_layers - 1) * (keys + rest + attention) + tokens * keys + rows * (rest + attention)


def product_rate(device: str, size: int) -> float:
    """FLOP per second of one bfloat16 product of `size` cubed; median of 20."""
    left, right = (torch.randn(size, size, device=device, dtype=torch.bfloat16) for _ in range(2))
    seconds = []
    for _ in range(23):
        start = clock(device)
        torch.mm(left, right)
        seconds.append(clock(device) - start)
    return 2 * size**3 / statistics.median(seconds[3:])


def clock(device: str) -> float:
    """Wall seconds after everything asked of the device is done."""
    if device.startswith("cuda"):
        torch.cuda.synchronize()
    return time.perf_counter()


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shape", choices=SHAPES, default="mistral-7b")
    parser.add_argument("--device", default="cuda:0")
    parser.add_argument("--texts", type=int)
    parser.add_argument("--chunk-tokens", type=int, nargs="+", default=[8192, 16384, 32768, 65536])
    options = parser.parse_args()
    small = options.shape == "tiny"
    model = random_model(SHAPES[options.shape], options.device)
    network = Network(model, LastToken("last_token"), 0, options.device)
    rows = texts(options.texts or (64 if small else 20_000), SHAPES[options.shape]["vocab_size"])
    lengths = [len(row) for row in rows]
    rates = [product_rate(options.device, 256 if small else 8192)]
    best: dict[str, float] = {}
    for budget in options.chunk_tokens:
        plan = plan_buckets(lengths, budget, CAP)
        with torch.inference_mode():
            network.embed([rows[i] for i in plan[0].rows], plan[0].width)  # warm-up: the largest chunk
            start = clock(options.device)
            for width, chunk in plan:
                vectors = network.embed([rows[i] for i in chunk], width)
            seconds = clock(options.device) - start
        assert torch.isfinite(vectors).all()
        flop = sum(executed(model.config, width, len(chunk)) for width, chunk in plan)
        padding = sum(width * len(chunk) for width, chunk in plan) / sum(lengths) - 1
        found = {"chunk_tokens": budget, "tokens_per_second": sum(lengths) / seconds, "flop_per_second": flop / seconds}
        print(json.dumps(found | {"chunks": len(plan), "padding": round(padding, 4)}), flush=True)
        best = max(best or found, found, key=lambda row: row["tokens_per_second"])
    rates.append(product_rate(options.device, 256 if small else 8192))
    hours = {name: tokens / best["tokens_per_second"] / 3600 for name, tokens in MTEB_TOKENS.items()}
    print(json.dumps({
        "name": f"encode {options.shape}", "ours": best["flop_per_second"], "peer": max(rates), "unit": "FLOP/s",
        "ratio": best["flop_per_second"] / max(rates), "tokens_per_second": best["tokens_per_second"],
        "chunk_tokens": best["chunk_tokens"], "hours": hours, "device": options.device,
        "gpu": torch.cuda.get_device_name() if options.device.startswith("cuda") else None,
    }))  # fmt: skip


if __name__ == "__main__":
    main()
