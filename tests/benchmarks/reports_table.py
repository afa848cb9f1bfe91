"""The table of a large sweep: 12 arms x 56 tasks x 3 seeds x 2,000 items, all intervals with correction.

Writes the store to a temporary folder (about 2,000 evaluate steps), then runs `python -m reports table` on it in fresh
processes and measures wall, CPU and peak memory: once with every item file to be read, then as it is later, with mean squares
kept beside the sweep. Peers in the same run, scaled to all tasks and seeds: a plain `scipy.stats.bootstrap` over the paired
differences of every task (9,999 resamples, percentile), and ranx's `compare` where a Python that has ranx is named.
Prints one JSON line last.

    python tests/benchmarks/reports_table.py [--small] [--ranx PYTHON]
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
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
    """Seconds and MiB of the command in fresh processes: the first has nothing to reuse, the others all."""
    runs = [_measured(store) for _ in range(repeats)]
    again = min(runs[1:], key=lambda run: run["wall_s"])
    return {f"first_{name}": value for name, value in runs[0].items()} | {f"again_{name}": v for name, v in again.items()}


def _measured(store: Path) -> dict[str, float]:
    """Wall and CPU seconds and peak memory of one `reports table`."""
    command = [sys.executable, "-m", "reports", "table", "large", "--store", str(store), "--format", "csv"]
    started = time.perf_counter()
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL)
    _, status, used = os.wait4(process.pid, 0)
    if status:
        sys.exit(f"{' '.join(command)} ended with {os.waitstatus_to_exitcode(status)}")
    wall = time.perf_counter() - started
    return {"wall_s": wall, "cpu_s": used.ru_utime + used.ru_stime, "peak_mib": used.ru_maxrss / 1024}


def peer(arms: int, tasks: int, items: int) -> float:
    """Seconds that a plain scipy bootstrap needs for all arms x tasks, scaled from eight tasks."""
    from scipy import stats

    rng, few = np.random.default_rng(0), 8
    differences = rng.normal(0, 0.2, (few, items))
    started = time.perf_counter()
    for row in differences:
        stats.bootstrap((row,), np.mean, n_resamples=9999, method="percentile", rng=rng)
    return (time.perf_counter() - started) / few * tasks * (arms - 1)


def ranx(python: str, arms: int, tasks: int, seeds: int, items: int) -> dict[str, float]:
    """Seconds of ranx's compare for all tasks and seeds, from one task and seed; by its randomisation and its t test."""
    script = Path(__file__).with_name("ranx_compare.py")
    said = subprocess.run([python, str(script), str(arms), str(items)], check=True, capture_output=True, text=True).stdout
    return {f"ranx_{test}_s": seconds * tasks * seeds for test, seconds in json.loads(said.splitlines()[-1]).items()}


def main() -> None:
    """Build, measure, compare."""
    parser = argparse.ArgumentParser(description="reports table of a large sweep")
    parser.add_argument("--small", action="store_true")
    parser.add_argument("--ranx", metavar="PYTHON", help="a Python that has ranx")
    arguments = parser.parse_args()
    arms, tasks, seeds, items = (4, 8, 2, 500) if arguments.small else (12, 56, 3, 2000)
    with tempfile.TemporaryDirectory() as folder:
        build(Path(folder), arms, tasks, seeds, items)
        measured = ours(Path(folder))
    peers = {"scipy_bootstrap_s": peer(arms, tasks, items)}
    if arguments.ranx:
        peers |= ranx(arguments.ranx, arms, tasks, seeds, items)
    ratios = {name: seconds / measured["first_wall_s"] for name, seconds in peers.items()}
    print(json.dumps({"name": "reports_table", "shape": [arms, tasks, seeds, items], "ours": measured, "peers": peers,
                      "ratio": ratios}))  # fmt: skip


if __name__ == "__main__":
    main()
