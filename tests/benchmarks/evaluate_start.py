"""What an evaluation worker pays before its first score: a fresh process that judges QuickSTS with a trivial encoder.

    python tests/benchmarks/evaluate_start.py [--rounds 5]

Ours calls the task's own `evaluate`; the peer is `mteb.evaluate` with the same vectors, which imports sentence_transformers.
Interleaved; median CPU and wall seconds of whole processes. The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
COMMON = """
import sys, tempfile
import numpy as np
from pathlib import Path
from harness.encoder import EncodeCounts
from harness.tasks import Quick, plan_tasks
from harness.tasks.prompts import NoPrompts
(spec,) = plan_tasks(Quick("quick", ("QuickSTS",), NoPrompts("none"), "2.26.24"), None)
def vectors(texts): return np.array([[len(t), t.count("e"), t.count("a") + 1] for t in texts], dtype=np.float32)
"""
OURS = """
from harness.evaluate import evaluate
from harness.instructions import NoInstruction
from harness.step import silent
class One:
    identity, counts = "one", EncodeCounts()
    def encode(self, texts): return vectors(texts)
    def token_ids(self, text): return [1]
evaluate(spec, NoInstruction("none"), One(), Path(tempfile.mkdtemp()), None, silent, {})
"""
PEER = """
import mteb
from harness.tasks import quick
class One(mteb.models.abs_encoder.AbsEncoder):
    def __init__(self):
        cosine = mteb.models.model_meta.ScoringFunction.COSINE
        self.mteb_model_meta = mteb.models.ModelMeta.create_empty(overwrites={"name": "a/b", "similarity_fn_name": cosine})
    def encode(self, inputs, **_): return vectors([t for batch in inputs for t in batch["text"]])
mteb.evaluate(One(), quick.task_class("QuickSTS")(), cache=None, show_progress_bar=False)
"""


def once(code: str) -> tuple[float, float]:
    """Wall and CPU seconds of a process."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run([sys.executable, "-c", COMMON + code], check=True, env=environment, capture_output=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.perf_counter() - start, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> None:
    """Run both in turn."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    pairs = [(once(OURS), once(PEER)) for _ in range(rounds)]
    wall = [statistics.median(pair[i][0] for pair in pairs) for i in range(2)]
    cpu = [statistics.median(pair[i][1] for pair in pairs) for i in range(2)]
    print(json.dumps({
        "name": "evaluate_start", "ours": cpu[0], "peer": cpu[1], "ratio": cpu[1] / cpu[0], "unit": "CPU s",
        "wall_ours": wall[0], "wall_peer": wall[1], "rounds": rounds,
    }))  # fmt: skip


if __name__ == "__main__":
    main()
