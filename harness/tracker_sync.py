"""`python -m harness.tracker sync SWEEP`: upload what was projected offline, read it back, compare it with the records.

Everything is bounded by one time; what is not done then is said and left as it was, and the same command goes on later.
"""

from __future__ import annotations

import sys
import time
from dataclasses import replace
from pathlib import Path

from harness import tracker_server
from harness.config import ConfigError
from harness.sweep_record import SWEEP_FILE, SweepRecordError, find_sweep, read_sweep
from harness.tracker import PROJECTED_FILE, keep_inside, keep_projections, projections, summary
from harness.tracker_server import ServerError

PATIENCE_SECONDS = 10
"""A hosted server shows what it received after a moment."""


def run(sweep: str, store: Path, seconds: float) -> int:
    """Sync a sweep by NAME[@id] or folder; says what is on the server and what is left, and returns 1 if anything is."""
    folder = Path(sweep)
    try:
        folder = folder if (folder / SWEEP_FILE).is_file() else find_sweep(store, sweep)
        left = sync(folder, store, seconds)
        checked = [one.path for one in projections(folder).values() if one.checked]
    except (SweepRecordError, ConfigError) as error:
        print(f"tracker: {error}", file=sys.stderr)
        return 1
    for line in left:
        print(f"left: {line}", file=sys.stderr)
    print(f"{len(checked)} runs are on the server with the values of their records; {len(left)} left")
    return 1 if left else 0


def sync(folder: Path, store: Path, seconds: float) -> list[str]:
    """Upload and check every run that is not checked yet, in at most `seconds`; returns what is left, one line a run."""
    ends = time.monotonic() + seconds
    done, left = projections(folder), []
    runs = {f"{run.arm}:{run.seed}": run for run in read_sweep(folder).runs}
    todo = [name for name in runs if name in done and not done[name].checked]
    try:
        if todo:
            tracker_server.probe(min(seconds, tracker_server.PROBE_SECONDS))
    except ServerError as error:
        return [f"{name}: {error}" for name in todo]
    keep_inside(folder)
    for name in todo:
        try:
            if not done[name].path:
                done[name] = replace(done[name], path=_upload(folder, done[name].run, ends))
                keep_projections(folder, done)
            _check(done[name].path, summary(runs[name], store), ends)
        except ServerError as error:
            left.append(f"{name}: {error}")
        else:
            done[name] = replace(done[name], checked=True)
            keep_projections(folder, done)
    return left


def _upload(folder: Path, run: str, ends: float) -> str:
    """Upload one offline run; returns its path on the server."""
    places = sorted((folder / "wandb").glob(f"offline-run-*-{run}"))
    if not places:
        raise ServerError(f"its offline run {run} is not in {folder / 'wandb'}; delete {PROJECTED_FILE} and project again")
    return tracker_server.upload(places[-1], ends - time.monotonic())


def _check(path: str, expected: dict[str, float], ends: float) -> None:
    """Read a run back until it has every value, for a short while; raises ServerError naming what differs."""
    patience = min(ends, time.monotonic() + PATIENCE_SECONDS)
    while different := tracker_server.unequal(expected, tracker_server.values(path, ends - time.monotonic())):
        if time.monotonic() + 1 > patience:
            raise ServerError(f"{path}: {'; '.join(different[:3])}")
        time.sleep(1)
