"""Running `python -m reports` the way a user does, for the acceptance scripts: its exit code, its text, its CSV."""

from __future__ import annotations

import csv
import io
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from tests.acceptance.quickstart import REPOSITORY

SKIP = 77  # what a script exits with when it cannot be run here


def reports(*arguments: str, store: Path | None = None, extra: Mapping[str, str] | None = None) -> tuple[int, str]:
    """Exit code and everything printed by `python -m reports ARGUMENTS`."""
    command = [sys.executable, "-m", "reports", *arguments, *(("--store", str(store)) if store else ())]
    done = subprocess.run(
        command, cwd=REPOSITORY, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False,
        env={**os.environ, **(extra or {})},
    )  # fmt: skip
    return done.returncode, done.stdout


def printed(*arguments: str, store: Path | None = None) -> str:
    """What a command printed; ends this program if it failed."""
    code, text = reports(*arguments, store=store)
    if code:
        sys.exit(f"reports {' '.join(arguments)} ended with {code}: {text}")
    return text


def values(run: str, store: Path) -> dict[str, dict[str, float]]:
    """Unrounded values of `reports table RUN --format csv`: by row, then by heading without its count."""
    found: dict[str, dict[str, float]] = {}
    for row in csv.DictReader(io.StringIO(printed("table", run, "--format", "csv", store=store))):
        heading = row["column"].rpartition(" (")[0]
        found.setdefault(row["row"], {})[heading] = float(row["value"])
    return found
