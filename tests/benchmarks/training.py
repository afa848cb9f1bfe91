"""Examples per CPU second of training: our loop against sentence-transformers with peft, the same batches, LoRA and threads.

    python -m tests.benchmarks.training [--model tiny|minilm] [--dtype float32|bfloat16] [--batch 256] [--repeats 3]

The peer is CachedMultipleNegativesRankingLoss, the loss for batches that do not fit. It gets its best: every mini batch of 16,
32, 64 and 128, float32, bfloat16 by autocast and bfloat16 weights, rows as they come and grouped by length; all of it is tried
on a small batch and printed, and the best of its float32 and of its bfloat16 settings run on the whole one, in turn with ours.
Texts have the lengths of docstrings; every query has a positive and a hard negative. Memory is measured in processes of their
own, above the loaded model. The last line is one JSON object: name, ours, peer, ratio (to the peer in float32, what its users
get), ratio_same_dtype, memory_ratio, start_seconds of an arm on a resident base.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import yaml

from harness.instructions import NoInstruction
from harness.pairs import Pair, read_pairs, write_pairs
from models.adapter import Lora
from models.backbone import Backbone, Package, Shipped, locate
from models.batches import Mixed
from models.losses import InfoNce
from models.network import quiet
from models.pooling import LastToken, Mean, Pooling
from models.train import TrainingSpec, TrainSpec
from tests.benchmarks.encoding import texts

REPOSITORY = Path(__file__).resolve().parents[2]
MODELS: dict[str, tuple[type[Shipped | Package], Pooling, str]] = {
    "tiny": (Shipped, LastToken("last_token"), "lasttoken"), "minilm": (Package, Mean("mean"), "mean"),
}  # fmt: skip
LORA = Lora("lora", 16, 32, 0.1, "all-linear")
LENGTH, CHUNK_TOKENS = 256, 1024  # as conf/ has them
MINI_BATCHES = (16, 32, 64, 128)


@dataclass(frozen=True)
class Setting:
    """How the peer is run."""

    dtype: str
    """`float32`, `bfloat16 autocast` or `bfloat16 weights`."""
    mini_batch: int
    grouped: bool

    def __str__(self) -> str:
        return f"{self.dtype}, mini batch {self.mini_batch}, {'grouped by length' if self.grouped else 'as they come'}"


SETTINGS = [Setting(dtype, size, grouped) for dtype in ("float32", "bfloat16 autocast", "bfloat16 weights")
            for size in MINI_BATCHES for grouped in (False, True)]  # fmt: skip


def backbone_of(name: str) -> Backbone:
    """As conf/ names it."""
    data = yaml.safe_load((REPOSITORY / "conf" / "model" / f"{name}.yaml").read_text(encoding="utf-8"))["backbone"]
    return MODELS[name][0](**data)


def make_pairs(count: int) -> list[Pair]:
    """Query, positive and one hard negative of docstring lengths."""
    found = texts(3 * count)
    return [Pair("sts", "English", "English", "made", "", found[i], found[count + i], (found[2 * count + i],))
            for i in range(count)]  # fmt: skip


def our_spec(name: str, dtype: str, batch: int, steps: int, activations: str) -> TrainingSpec:
    """The paper's loss and LoRA."""
    plan = TrainSpec(
        "contrastive", InfoNce("info_nce", 0.02, (), "joint", None, ()), Mixed("mixed"), batch, 1, steps, 1e-4, 0, "linear",
        0.1, (0.9, 0.999), 1e-8, None, CHUNK_TOKENS, activations,  # type: ignore[arg-type]
    )  # fmt: skip
    return TrainingSpec(backbone_of(name), MODELS[name][1], "native", LORA, NoInstruction("none"), LENGTH, dtype, plan, 0)  # type: ignore[arg-type]


def run_ours(spec: TrainingSpec, pairs: list[Pair], report: Callable[..., None], resident: Any = None) -> dict[str, Any]:
    """Our whole loop, tokenisation and optimizer included; what it measured."""
    from models.train import train

    measured: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        write_pairs(Path(folder) / "pairs.parquet", pairs)
        (Path(folder) / "out").mkdir()
        train(spec, Path(folder) / "pairs.parquet", (), Path(folder) / "out", None, "cpu", report, measured, resident=resident)
    return measured


class Peer:
    """A peer's step: tokenise, cached loss, optimizer."""

    def __init__(self, name: str, setting: Setting) -> None:
        import torch
        from peft import LoraConfig, TaskType
        from sentence_transformers import SentenceTransformer
        from sentence_transformers.sentence_transformer.losses import CachedMultipleNegativesRankingLoss
        from sentence_transformers.sentence_transformer.modules import Pooling as Pool
        from sentence_transformers.sentence_transformer.modules import Transformer

        dtype = torch.bfloat16 if setting.dtype == "bfloat16 weights" else torch.float32
        with quiet():
            body = Transformer(str(locate(backbone_of(name), None)), max_seq_length=LENGTH, model_kwargs={"dtype": dtype})
        pool = Pool(body.get_embedding_dimension(), pooling_mode=MODELS[name][2])
        self.setting = setting
        self.model = SentenceTransformer(modules=[body, pool], device="cpu")
        self.model.add_adapter(LoraConfig(r=LORA.rank, lora_alpha=LORA.alpha, lora_dropout=LORA.dropout,
                                          target_modules="all-linear", task_type=TaskType.FEATURE_EXTRACTION))  # fmt: skip
        self.model.train()
        self.loss = CachedMultipleNegativesRankingLoss(self.model, scale=50.0, mini_batch_size=setting.mini_batch)
        self.optimizer = torch.optim.AdamW([p for p in self.model.parameters() if p.requires_grad], lr=1e-4, fused=True)

    def step(self, pairs: list[Pair]) -> None:
        """One optimizer step over a batch."""
        import torch

        if self.setting.grouped:
            pairs = sorted(pairs, key=lambda pair: -len(pair.query + pair.positive + pair.negatives[0]))
        columns = ([p.query for p in pairs], [p.positive for p in pairs], [p.negatives[0] for p in pairs])
        bf16 = self.setting.dtype == "bfloat16 autocast"
        with torch.autocast("cpu", dtype=torch.bfloat16) if bf16 else nullcontext():
            value = self.loss([self.model.preprocess(column) for column in columns], torch.empty(0))
            value.backward()
        self.optimizer.step()
        self.optimizer.zero_grad()


def cpu(function: Callable[[], Any]) -> float:
    """CPU seconds of a call."""
    start = time.process_time()
    function()
    return time.process_time() - start


def screen(name: str, pairs: list[Pair]) -> dict[str, Setting]:
    """Try every setting of the peer on a small batch, print all; the best of each dtype.

    A mini batch larger than the small batch was not tried as such: it cannot be the best (on a whole batch it may need 20 GB).
    """
    rates: dict[Setting, float] = {}
    for setting in SETTINGS:
        peer = Peer(name, setting)
        peer.step(pairs[:8])
        rates[setting] = len(pairs) / cpu(lambda peer=peer: peer.step(pairs))  # type: ignore[misc]
        print(f"peer, {len(pairs)} rows, {setting}: {rates[setting]:.2f} examples per CPU second", flush=True)
    return {
        dtype: max((s for s in rates if s.dtype.startswith(dtype) and s.mini_batch <= len(pairs)), key=rates.__getitem__)
        for dtype in ("float32", "bfloat16")
    }


def interleaved(name: str, options: argparse.Namespace, pairs: list[Pair], best: dict[str, Setting]) -> dict[str, float]:
    """Medians of examples per CPU second; a step of each peer follows every step of ours."""
    peers = {str(setting): Peer(name, setting) for setting in dict.fromkeys([best["float32"], best[options.dtype]])}
    seconds: dict[str, list[float]] = {"ours": []} | {label: [] for label in peers}
    mark = [time.process_time()]

    def report(done: int, total: int, note: str = "") -> None:
        used = time.process_time() - mark[0]
        if done > 1:  # the first step loads kernels
            seconds["ours"].append(used)
            for label, peer in peers.items():
                seconds[label].append(cpu(lambda peer=peer: peer.step(pairs)))  # type: ignore[misc]
        mark[0] = time.process_time()

    run_ours(our_spec(name, options.dtype, len(pairs), options.repeats + 1, options.activations), pairs, report)
    rates = {label: len(pairs) / statistics.median(values) for label, values in seconds.items()}
    for label, rate in rates.items():
        print(f"{label}: {rate:.2f} examples per CPU second, {len(pairs)} rows", flush=True)
    return rates


def memory(options: argparse.Namespace, pairs: list[Pair], what: str) -> float:
    """Bytes above the loaded model at the peak of one step, in a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        write_pairs(Path(folder) / "pairs.parquet", pairs)
        command = [sys.executable, "-m", "tests.benchmarks.training", "--model", options.model, "--dtype", options.dtype,
                   "--activations", options.activations, "--measure", what, "--pairs", f"{folder}/pairs.parquet"]  # fmt: skip
        done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=True)
    return float(done.stdout.splitlines()[-1])


def measure_memory(options: argparse.Namespace, pairs: list[Pair]) -> None:
    """The child's side: print the bytes; a small step first loads the model and the libraries."""
    from models.resident import Resident

    if options.measure == "ours":
        resident = Resident()
        for part in (pairs[:4], pairs):
            spec = our_spec(options.model, options.dtype, len(part), 1, options.activations)
            found = peak(lambda part=part, spec=spec: run_ours(spec, part, silent, resident))  # type: ignore[misc]
    else:
        dtype, size, grouped = options.measure.split("/")
        peer = Peer(options.model, Setting(dtype, int(size), grouped == "True"))
        peer.step(pairs[:4])
        found = peak(lambda: peer.step(pairs))
    print(found)


def peak(function: Callable[[], Any]) -> float:
    """Most resident bytes during a call above those before it; the kernel's own mark, reset first (Linux)."""
    before = psutil.Process().memory_info().rss
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    function()
    line = next(text for text in Path("/proc/self/status").read_text(encoding="ascii").splitlines() if text.startswith("VmHWM"))
    return float(line.split()[1]) * 1024 - before


def silent(done: int, total: int, note: str = "") -> None:
    """A Report that tells nobody."""


def start_seconds(options: argparse.Namespace, pairs: list[Pair]) -> float:
    """Wall seconds from the call to the first step of the second arm on a base."""
    from dataclasses import replace

    from models.resident import Resident

    resident, spec = Resident(), our_spec(options.model, options.dtype, 4, 1, "keep")
    run_ours(spec, pairs, silent, resident)
    found = run_ours(replace(spec, adapter=Lora("lora", 4, 32, 0.1, "all-linear")), pairs, silent, resident)
    return float(found["start_seconds"])


def main() -> None:
    """Print every figure, then the JSON line."""
    import torch

    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", choices=tuple(MODELS), default="tiny")
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), default="float32")
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--screen", type=int, default=48, help="rows of the small batch")
    parser.add_argument("--activations", choices=("recompute", "keep"), default="recompute")
    parser.add_argument("--measure", help=argparse.SUPPRESS)
    parser.add_argument("--pairs", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.measure:
        measure_memory(options, read_pairs(options.pairs))
        return
    pairs = make_pairs(options.batch)
    best = screen(options.model, pairs[: options.screen])
    rates = interleaved(options.model, options, pairs, best)
    ours, theirs = memory(options, pairs, "ours"), {}
    for setting in dict.fromkeys((best["float32"], best[options.dtype])):
        theirs[setting] = memory(options, pairs, f"{setting.dtype}/{setting.mini_batch}/{setting.grouped}")
        print(f"memory: ours {ours / 2**20:.0f} MiB, peer ({setting}) {theirs[setting] / 2**20:.0f} MiB above the loaded model")
    started = start_seconds(options, pairs[:8])
    print(f"an arm on a resident base starts in {started:.2f} s")
    print(json.dumps({
        "name": f"training {options.model} {options.dtype} {options.activations}", "ours": rates["ours"],
        "peer": rates[str(best["float32"])], "ratio": rates["ours"] / rates[str(best["float32"])],
        "ratio_same_dtype": rates["ours"] / rates[str(best[options.dtype])], "memory_ratio": ours / theirs[best[options.dtype]],
        "start_seconds": started,
    }))  # fmt: skip


if __name__ == "__main__":
    main()
