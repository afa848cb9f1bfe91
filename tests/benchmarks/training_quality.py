"""What bfloat16 costs in quality: MiniLM with LoRA trained in float32 and in bfloat16, five seeds, judged alike in float32.

    HARNESS_DATA=DIR python -m tests.benchmarks.training_quality [--seeds 5] [--steps 60] [--tasks STSBenchmark SciFact]

The same triples, batches and seeds; both are judged as float32 encoders, so that only training differs. The goal is a mean
difference within 0.3 points a task. Prints every score; the last line is one JSON object whose ratio is the largest mean
difference over 0.3.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import tempfile
from dataclasses import replace
from pathlib import Path

import yaml

from harness.evaluate import evaluate
from harness.instructions import NoInstruction
from harness.pairs import write_pairs
from harness.scores import read_scores
from harness.step import silent
from harness.tasks import Mteb, TaskSpec, plan_tasks
from harness.tasks.prompts import PaperPrompts
from models.adapter import Lora
from models.backbone import Package
from models.batches import Mixed
from models.encoder import EncoderSpec, load_encoder
from models.losses import InfoNce
from models.pooling import Mean
from models.train import TrainingSpec, TrainSpec, train
from tests.acceptance.peer_training import triples
from tests.acceptance.quickstart import REPOSITORY, data_folder

GOAL = 0.3  # points


def trained(spec: TrainingSpec, pairs: Path, tasks: tuple[TaskSpec, ...], data: Path) -> dict[str, float]:
    """Scores of one training, 0 to 100."""
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "weights"
        out.mkdir()
        train(spec, pairs, (), out, None, "cpu", silent, {})
        judged = EncoderSpec(spec.backbone, spec.pooling, "native", 256, normalize=True, dtype="float32", chunk_tokens=1024)
        encoder = load_encoder(judged, [out], None, "cpu")
        for task in tasks:
            place = Path(folder) / task.name
            place.mkdir()
            evaluate(task, NoInstruction("none"), encoder, place, str(data), silent, {})
            found[task.name] = 100 * read_scores(place / "scores.json").main
    return found


def main() -> None:
    """Train, judge, compare by seed."""
    import torch

    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--tasks", nargs="+", default=["STSBenchmark", "SciFact"])
    options = parser.parse_args()
    torch.set_num_threads(1)
    data = data_folder()
    suite = Mteb("mteb", None, tuple(options.tasks), (), (), {}, {}, "local", PaperPrompts("paper"), "2.26.24")
    tasks = plan_tasks(suite, str(data / "mteb"))
    text = (REPOSITORY / "conf" / "model" / "minilm.yaml").read_text(encoding="utf-8")
    plan = TrainSpec(
        "contrastive", InfoNce("info_nce", 0.05, (), "joint", None, ()), Mixed("mixed"), 32, 1, options.steps, 2e-4, 6,
        "linear", 0.01, (0.9, 0.999), 1e-8, None, 2048, "keep",
    )  # fmt: skip
    base = TrainingSpec(Package(**yaml.safe_load(text)["backbone"]), Mean("mean"), "native",
                        Lora("lora", 16, 32, 0.1, "all-linear"), NoInstruction("none"), 128, "float32", plan, 0)  # fmt: skip
    differences: dict[str, list[float]] = {task.name: [] for task in tasks}
    with tempfile.TemporaryDirectory() as folder:
        write_pairs(Path(folder) / "pairs.parquet", triples(data / "train" / "snli_triplets.jsonl.gz"))
        for seed in range(options.seeds):
            full, half = (trained(replace(base, seed=seed, dtype=dtype), Path(folder) / "pairs.parquet", tasks, data / "mteb")
                          for dtype in ("float32", "bfloat16"))  # fmt: skip
            for name, values in differences.items():
                values.append(half[name] - full[name])
                print(f"seed {seed}, {name}: float32 {full[name]:.3f}, bfloat16 {half[name]:.3f}", flush=True)
    means = {name: statistics.fmean(values) for name, values in differences.items()}
    errors = {
        name: statistics.stdev(values) / math.sqrt(len(values)) for name, values in differences.items() if len(values) > 1
    }
    print(json.dumps({"name": "quality of bfloat16 training", "ours": means, "peer": 0.0, "standard_errors": errors,
                      "ratio": max(map(abs, means.values())) / GOAL, "seeds": options.seeds}))  # fmt: skip


if __name__ == "__main__":
    main()
