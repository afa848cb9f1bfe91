"""Writes tests/reports/runs: a baseline and four candidates whose verdicts are known by construction.

Two tasks, three seeds, 300 items. `same` differs from the baseline by noise, `worse` by three points, `noisy` has five
points of seed noise, `other_length` was encoded with another maximum length; the fifth line of `lines.txt` is a usage error.

    python tests/oracles/gate_runs.py
"""

from __future__ import annotations

import importlib.util
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).parents[2]
RUNS = ROOT / "tests" / "reports" / "runs"
ITEMS, SEEDS, TASKS = 300, (0, 1, 2), ("TaskA", "TaskB")
ARMS = {
    "reference": (0.0, 0.001),
    "same": (0.0, 0.001),
    "worse": (-0.03, 0.001),
    "noisy": (0.0, 0.05),
    "other_length": (0.0, 0.001),
}


def spec_of(task: str, length: int) -> dict[str, Any]:
    """What an evaluate step's record holds of its spec, as far as the gate reads it."""
    encoder = {"max_length": length, "dtype": "float32", "normalize": True, "chunk_tokens": 1024, "pooling": {"kind": "mean"}}
    return {"encoder": encoder, "instruction": {"kind": "natural"}, "task": {"name": task, "data": "abc", "mteb": "2.26.24"}}


def main() -> None:
    """Write every folder anew."""
    sys.path.insert(0, str(ROOT))
    from reports.baselines import set_baseline

    conftest = _conftest()
    shutil.rmtree(RUNS, ignore_errors=True)
    store = RUNS / "store"
    builder = conftest.Builder(store)
    for index, (arm, (shift, noise)) in enumerate(ARMS.items()):
        for seed in SEEDS:
            rng = np.random.default_rng([index, seed])
            drift = rng.normal(0, noise)
            for number, task in enumerate(TASKS):
                ease = np.random.default_rng([99, number]).random(ITEMS)
                values = np.round(np.clip(0.1 + 0.8 * ease + shift + drift + rng.normal(0, 0.03, ITEMS), 0, 1), 3)
                builder.put(arm, seed, *conftest.retrieval(task, values))
                builder.specs[arm, seed, task] = spec_of(task, 256 if arm == "other_length" else 512)
    builder.write("gate", "0123abcd")
    for arm in ARMS:
        set_baseline(store, f"gate:{arm}", arm, RUNS)
    shutil.rmtree(store)


def _conftest() -> Any:
    path = ROOT / "tests" / "reports" / "conftest.py"
    module_spec = importlib.util.spec_from_file_location("reports_conftest", path)
    assert module_spec is not None
    assert module_spec.loader is not None
    module = importlib.util.module_from_spec(module_spec)
    sys.modules["reports_conftest"] = module
    module_spec.loader.exec_module(module)
    return module


if __name__ == "__main__":
    main()
