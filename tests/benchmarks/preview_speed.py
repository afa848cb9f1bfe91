"""How long a preview takes: 200 arms x 5 seeds x 56 tasks from an empty store, and again with cached composition.

    python tests/benchmarks/preview_speed.py [--arms 200] [--seeds 5]

The goal is 5 s for the whole command. Beside it, in the same run: what importing Hydra and planning cost alone, and the
command with one arm, which is the floor. No peer previews; Hydra's own `--multirun` would print one line a job.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]


def command(store: Path, arms: int, seeds: int) -> float:
    """Seconds of one preview, as typed."""
    ranks = f"model.adapter.rank=range(1,{arms + 1})"
    chosen = f"seed={','.join(str(seed) for seed in range(seeds))}"
    started = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-m", "harness", "-m", ranks, chosen, "eval=mteb_eng_v1", "preview=true", f"runtime.store={store}"],
        cwd=REPOSITORY, capture_output=True, text=True, check=False,
    )  # fmt: skip
    seconds = time.perf_counter() - started
    if done.returncode:
        sys.exit(done.stdout + done.stderr)
    print(f"  {done.stdout.strip().splitlines()[-2]}")
    return seconds


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--arms", type=int, default=200)
    parser.add_argument("--seeds", type=int, default=5)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        store = Path(folder) / "store"
        print(f"floor, 2 arms x 1 seed: {command(store, 2, 1):.1f} s")
        for label in ("composed for the first time", "composition cached", "composition cached"):
            print(f"{options.arms} arms x {options.seeds} seeds, {label}: {command(store, options.arms, options.seeds):.1f} s")


if __name__ == "__main__":
    main()
