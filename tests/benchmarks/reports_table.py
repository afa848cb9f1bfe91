"""The table of a large sweep: 12 arms x 56 tasks x 3 seeds x 2,000 items, all intervals with correction.

Writes the store to a temporary folder (about 2,000 evaluate steps), then runs `python -m reports table` on it in a fresh
process and measures wall, CPU and peak memory. The peer does one arm's overall interval by `scipy.stats.bootstrap` over the
paired differences of every task (9,999 resamples, percentile), and its time is scaled to all arms and columns.
Prints one JSON line last.

    python tests/benchmarks/reports_table.py [--small]
"""

from __future__ import annotations

import importlib.util
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).parents[2]
TYPES = ("Classification", "Clustering", "PairClassification", "Reranking", "Retrieval", "STS", "Summarization")


def build(store: Path, arms: int, tasks: int, seeds: int, items: int) -> None:
    """A store of retrieval-like evaluations; task types are spread so that every column exists."""
    conftest = _conftest()
    builder = conftest.Builder(store)
    for arm in range(arms):
        for seed in range(seeds):
            for task in range(tasks):
                rng = np.random.default_rng([arm, seed, task])
                ease = np.random.default_rng([7, task]).random(items)
                values = np.clip(ease + rng.normal(0, 0.2, items) + 0.005 * arm, 0, 1)
                builder.put(f"arm_{arm:02d}", seed, *conftest.retrieval(f"Task{task:02d}", values))
    builder.write("large")


def _conftest() -> Any:
    sys.path.insert(0, str(ROOT))
    module_spec = importlib.util.spec_from_file_location("reports_conftest", ROOT / "tests" / "reports" / "conftest.py")
    assert module_spec is not None
    assert module_spec.loader is not None
    module = importlib.util.module_from_spec(module_spec)
    sys.modules["reports_conftest"] = module
    module_spec.loader.exec_module(module)
    return module


def ours(store: Path, repeats: int = 3) -> dict[str, float]:
    """Seconds and MiB of the command in a fresh process; the first call has nothing to reuse, the last one all."""
    command = [sys.executable, "-m", "reports", "table", "large", "--store", str(store), "--format", "csv"]
    walls, before = [], resource.getrusage(resource.RUSAGE_CHILDREN)
    for _ in range(repeats):
        started = time.perf_counter()
        subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
        walls.append(time.perf_counter() - started)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = (after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime) / repeats
    return {"first_s": walls[0], "again_s": min(walls[1:]), "cpu_s": cpu, "peak_mib": after.ru_maxrss / 1024}


def peer(arms: int, tasks: int, items: int) -> float:
    """Seconds that a plain scipy bootstrap needs for all arms x tasks, scaled from eight tasks."""
    from scipy import stats

    rng, few = np.random.default_rng(0), 8
    differences = rng.normal(0, 0.2, (few, items))
    started = time.perf_counter()
    for row in differences:
        stats.bootstrap((row,), np.mean, n_resamples=9999, method="percentile", rng=rng)
    return (time.perf_counter() - started) / few * tasks * (arms - 1)


if __name__ == "__main__":
    shape = (4, 8, 2, 500) if "--small" in sys.argv else (12, 56, 3, 2000)
    with tempfile.TemporaryDirectory() as folder:
        build(Path(folder), *shape)
        measured = ours(Path(folder))
    reference = peer(shape[0], shape[1], shape[3])
    print(json.dumps({"name": "reports_table", "shape": shape, "ours": measured, "peer_scipy_bootstrap_s": reference,
                      "ratio": reference / measured["first_s"]}))  # fmt: skip
