"""Line 2.4: fingerprints of every arm, equal results refused, and what training did, read from a finished quickstart."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from harness.sweep_record import find_sweep, read_sweep
from tests.acceptance.quickstart import REPOSITORY, harness, require

TESTS = ("tests/sweeps/test_plan.py", "tests/sweeps/test_equality.py")


def payload(store: Path, key: str, name: str) -> Path:
    """A file of a finished step."""
    return store / key / "payload" / name


def main() -> None:
    """Tests first, then a quickstart with one seed."""
    tests = [sys.executable, "-m", "pytest", "-q", "-rs", "-p", "no:cacheprovider", *TESTS]
    require(subprocess.run(tests, cwd=REPOSITORY, check=False).returncode == 0, "every arm changes exactly the steps it should")
    with tempfile.TemporaryDirectory(prefix="arms-") as folder:
        store = Path(folder) / "store"
        harness("-m", "sweep=quickstart", "sweep.seeds=[0]", "eval.tasks=[QuickSTS]", store=store)
        sweep = read_sweep(find_sweep(store, "quickstart"))
        training: dict[str, Any] = {}
        for run in sweep.runs:
            key = run.steps["finetune"].key
            training[run.arm] = json.loads(payload(store, key, "training.json").read_text())
            losses = [json.loads(line)["loss"] for line in payload(store, key, "metrics.jsonl").read_text().splitlines()]
            start, end = training[run.arm]["norm_start"], training[run.arm]["norm_end"]
            require(start != end, f"{run.arm}: the adapter's norm moved from {start:.4f} to {end:.4f}")
            require(losses[0] != losses[-1], f"{run.arm}: the loss moved from {losses[0]:.4f} to {losses[-1]:.4f}")
        parameters = {
            rank: training[arm]["trainable_parameters"] for rank, arm in ((4, "lora_4"), (16, "baseline"), (64, "lora_64"))
        }
        for rank, count in parameters.items():
            require(count * 4 == parameters[4] * rank, f"rank {rank} has {count} trainable parameters, as the ranks stand")


if __name__ == "__main__":
    main()
