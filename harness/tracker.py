"""W&B as a projection of finished runs: one W&B run per arm and seed, made out of records after the fact.

Because the source is the store, a resumed or shared step has its curve in every run it belongs to, and a dead server costs
nothing but the projection: `python -m harness.tracker project SWEEP_FOLDER` makes it later. Offline by default;
`python -m harness.tracker sync SWEEP` uploads what was projected offline. Whatever a server received is read back and
compared with the records. The parent of a sweep starts this as a program of its own with a bound on its time, so that
nothing here can fail a sweep.

Not here: live logging from training loops: they write metric files. Uploads are `tracker_sync.py`, servers `tracker_server.py`.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from harness import tracker_server
from harness.config import decode
from harness.record import PAYLOAD, RECORD_FILE, read_record, write_json
from harness.scores import SCORES_FILE, read_scores
from harness.sweep_record import RunRecord, SweepRecord, read_sweep
from harness.tracker_server import ServerError

Mode = Literal["offline", "online"]
PROJECTED_FILE = "projections.json"
INIT_TIMEOUT = 20  # seconds an online start may take before the projection falls back to offline
CHECK_SECONDS = 60  # for reading online runs back
TRAINING_STEPS = ("pretrain", "finetune")


@dataclass(frozen=True)
class Projection:
    """A run as W&B has it."""

    run: str
    """W&B's id."""
    path: str
    """`entity/project/run` on a server; empty while it lies here only."""
    checked: bool
    """The server's values were read back and equal the records."""


def curves(run: RunRecord, store: Path) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """The metric rows of each training step of a run, by label."""
    for label in TRAINING_STEPS:
        if label in run.steps:
            path = store / run.steps[label].key / PAYLOAD / "metrics.jsonl"
            if path.exists():
                yield label, [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def summary(run: RunRecord, store: Path) -> dict[str, float]:
    """Main score per task, and their mean when no task is missing; empty if none is there."""
    values = {}
    for task, ref in run.evaluations.items():
        path = store / ref.key / PAYLOAD / SCORES_FILE
        if path.exists():
            values[f"scores/{task}"] = 100 * read_scores(path).main
    if values and len(values) == len(run.evaluations):
        values["scores/mean"] = sum(values.values()) / len(values)
    return values


def complete(run: RunRecord, store: Path) -> bool:
    """Whether every step of a run has its record."""
    return all((store / ref.key / RECORD_FILE).exists() for ref in run.steps.values())


def configuration(run: RunRecord, sweep: SweepRecord, store: Path) -> dict[str, Any]:
    """What a W&B run is told about itself: its overrides, seed, and the spec and digest of every step."""
    overrides = next(arm.overrides for arm in sweep.arms if arm.name == run.arm)
    steps = {label: read_record(store / ref.key / RECORD_FILE) for label, ref in run.steps.items()}
    return {
        "sweep": f"{sweep.name}@{sweep.id}",
        "arm": run.arm,
        "seed": run.seed,
        "overrides": list(overrides),
        "steps": {label: {"key": run.steps[label].key, "digest": record.digest} for label, record in steps.items()},
        "specs": {label: record.spec for label, record in steps.items() if not label.startswith("evaluate/")},
    }


def projections(folder: Path) -> dict[str, Projection]:
    """What was projected of a sweep, by `arm:seed`."""
    marker = folder / PROJECTED_FILE
    data: dict[str, Any] = json.loads(marker.read_text(encoding="utf-8")) if marker.exists() else {}
    return {name: decode(Projection, value) for name, value in data.items()}


def keep_projections(folder: Path, done: dict[str, Projection]) -> None:
    """Write it down, after every run."""
    write_json(folder / PROJECTED_FILE, {name: asdict(one) for name, one in done.items()})


def project(folder: Path, store: Path, mode: Mode, project_name: str) -> int:
    """Project every complete run that has not been projected yet; returns their number."""
    sweep, done = read_sweep(folder), projections(folder)
    todo = [run for run in sweep.runs if f"{run.arm}:{run.seed}" not in done and complete(run, store)]
    if not todo:
        return 0
    if mode == "online":
        mode = _answered()
    keep_inside(folder)
    for run in todo:
        mode, done[f"{run.arm}:{run.seed}"] = _project_run(run, sweep, folder, store, mode, project_name)
        keep_projections(folder, done)
    return len(todo)


def _answered() -> Mode:
    """Online if the server answers; asked once for the sweep, because every run's own start would wait for it anew."""
    try:
        tracker_server.probe()
    except ServerError as error:
        print(f"W&B: {error}; projecting offline, sync later", file=sys.stderr)
        return "offline"
    return "online"


def keep_inside(folder: Path) -> None:
    """Keep everything W&B writes inside the sweep's folder."""
    for name in ("DIR", "DATA_DIR", "CACHE_DIR", "CONFIG_DIR"):
        os.environ[f"WANDB_{name}"] = str(folder)
    os.environ.setdefault("WANDB_SILENT", "true")


def _project_run(
    run: RunRecord, sweep: SweepRecord, folder: Path, store: Path, mode: Mode, project_name: str
) -> tuple[Mode, Projection]:
    """One W&B run; falls back to offline when an online start fails. Returns the mode used and what was made."""
    import wandb

    settings = wandb.Settings(
        init_timeout=INIT_TIMEOUT,
        x_disable_stats=True,
        x_disable_meta=True,
        x_disable_machine_info=True,
        x_save_requirements=False,
    )
    arguments = {
        "project": project_name, "group": f"{sweep.name}@{sweep.id}", "job_type": sweep.name,
        "name": f"{run.arm}-{run.seed}", "tags": [run.arm, f"seed-{run.seed}"],
        "config": configuration(run, sweep, store), "dir": str(folder), "reinit": "create_new", "settings": settings,
    }  # fmt: skip
    try:
        started = wandb.init(mode=mode, **arguments)
    except wandb.errors.Error as error:
        if mode == "offline":
            raise
        print(f"W&B cannot be reached ({error}); projecting offline, sync later", file=sys.stderr)
        mode, started = "offline", wandb.init(mode="offline", **arguments)
    with started as tracked:
        for label, rows in curves(run, store):
            tracked.define_metric(f"{label}/*", step_metric=f"{label}/step")
            for row in rows:
                tracked.log({f"{label}/{name}": value for name, value in row.items() if isinstance(value, (int, float))})
        for name, value in summary(run, store).items():
            tracked.summary[name] = value
        path = f"{tracked.entity}/{tracked.project}/{tracked.id}" if mode == "online" else ""
        made = Projection(tracked.id, path, checked=False)
    return mode, made


def main() -> int:
    """`project FOLDER ...` makes W&B runs out of records; `sync SWEEP` uploads them and reads them back."""
    parser = argparse.ArgumentParser(prog="python -m harness.tracker", description="Project finished runs onto W&B.")
    commands = parser.add_subparsers(dest="command", required=True)
    command = commands.add_parser("project", help="one W&B run for every finished run of a sweep")
    command.add_argument("folder", type=Path, help="store/sweeps/<name>/<id>")
    command.add_argument("--store", type=Path, required=True)
    command.add_argument("--mode", choices=("offline", "online"), default="offline")
    command.add_argument("--project", required=True)
    upload = commands.add_parser("sync", help="upload what was projected offline, read it back, compare it with the records")
    upload.add_argument("sweep", help="NAME[@id], or its folder")
    upload.add_argument("--store", type=Path, default=Path(os.environ.get("HARNESS_STORE", "store")))
    upload.add_argument("--timeout", type=float, default=300, metavar="SECONDS", help="for all of it (default: %(default)s)")
    arguments = parser.parse_args()
    from harness import tracker_sync

    if arguments.command == "sync":
        return tracker_sync.run(arguments.sweep, arguments.store, arguments.timeout)
    count = project(arguments.folder, arguments.store, arguments.mode, arguments.project)
    if count:
        print(f"projected {count} runs onto W&B: {arguments.folder / 'wandb'}")
    if count and any(one.path for one in projections(arguments.folder).values()):
        tracker_sync.run(str(arguments.folder), arguments.store, CHECK_SECONDS)
    return 0


if __name__ == "__main__":
    sys.exit(main())
