"""Running the harness the way a user does, for the acceptance scripts: commands, stores, digests."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
SMALL = ("-m", "sweep=quickstart", "only=[mean_pooling,synthetic_only]", "sweep.seeds=[0]")
"""Three arms of the quickstart, one seed: every kind of step, in a few minutes."""


def data_folder() -> Path:
    """Other people's data, as the tests find it."""
    return Path(os.environ.get("HARNESS_DATA", REPOSITORY.parent / "shared" / "data")).resolve()


def harness(*arguments: str, store: Path, check: bool = True) -> subprocess.CompletedProcess[str]:
    """`python -m harness` with a store of its own; prints what it prints."""
    command = [sys.executable, "-m", "harness", *arguments, f"runtime.store={store}", "runtime.tracker=disabled"]
    done = subprocess.run(command, cwd=REPOSITORY, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
    print(done.stdout, flush=True)
    if check and done.returncode:
        raise SystemExit(f"{' '.join(command)} ended with {done.returncode}")
    return done


def digests(store: Path) -> dict[str, str]:
    """Payload digest of every finished step by its key."""
    found = {}
    for path in sorted(store.glob("*/*/record.json")):
        record = json.loads(path.read_text())
        found[f"{record['step']}/{record['fingerprint']}"] = record["digest"]
    return found


def require(condition: bool, claim: str) -> None:  # noqa: FBT001 - reads as a sentence at the call
    """Print a checked claim, or end with exit code 1 naming it."""
    print(("shown:  " if condition else "NOT SO: ") + claim, flush=True)
    if not condition:
        sys.exit(1)
