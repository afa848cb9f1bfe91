"""Line 3.6: `status` and `preview` import no torch, and how fast they answer.

    python -m tests.acceptance.answers

A preview of 200 arms x 5 seeds x the 56 tasks of MTEB(eng, v1), and the status of a sweep of 1,000 runs of ten steps: the
modules each command has imported are listed when it ends, and the fastest of three runs is held to the promised time.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.acceptance.quickstart import REPOSITORY, require
from tests.benchmarks.status_speed import fill

HEAVY = ("torch", "transformers", "peft", "mteb", "sklearn", "datasets", "wandb")
PROBE = f"""
import atexit, json, runpy, sys
atexit.register(lambda: print("MODULES " + json.dumps([name for name in {HEAVY!r} if name in sys.modules])))
module = sys.argv[1]
sys.argv = [module, *sys.argv[2:]]
runpy.run_module(module, run_name="__main__", alter_sys=True)
"""
RANKS, SEEDS = "model.adapter.rank=range(1,201)", "seed=0,1,2,3,4"
PREVIEW, STATUS = 5.0, 1.0  # seconds


def answered(module: str, *arguments: str) -> tuple[float, str]:
    """Seconds of the command and what it printed; ends this script if it failed or imported anything heavy."""
    started = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-c", PROBE, module, *arguments], capture_output=True, text=True, cwd=REPOSITORY, check=False
    )
    seconds = time.perf_counter() - started
    printed, _, modules = done.stdout.rpartition("MODULES ")
    require(done.returncode == 0, f"{module} {' '.join(arguments[:2])} ... ends with 0 {done.stderr[-500:]}")
    require(json.loads(modules) == [], f"none of {', '.join(HEAVY)} is imported by {module}")
    return seconds, printed


def main() -> None:
    """Both commands, three times each."""
    with tempfile.TemporaryDirectory(prefix="answers-") as folder:
        store = Path(folder) / "store"
        arguments = ("-m", RANKS, SEEDS, "eval=mteb_eng_v1", "preview=true", f"runtime.store={store}")
        seconds, printed = zip(*(answered("harness", *arguments) for _ in range(3)), strict=True)
        planned = "1000 finetune" in printed[0] and "67000 evaluate" in printed[0]
        require(planned, "a thousand runs are planned, 67 tasks and parts of tasks each")
        require(min(seconds) <= PREVIEW, f"preview answers in {min(seconds):.1f} s, at most {PREVIEW:g} s")
        filled = Path(folder) / "filled"
        filled.mkdir()
        fill(filled)
        seconds, printed = zip(*(answered("sweeps", "status", "--store", str(filled)) for _ in range(3)), strict=True)
        print(printed[0])
        require(min(seconds) <= STATUS, f"status of 1,000 runs answers in {min(seconds):.2f} s, at most {STATUS:g} s")


if __name__ == "__main__":
    main()
