"""Named baselines: committable folders that hold a run's scores, per-item values and what makes it comparable.

`baselines/<name>/` is a store of its own with one arm: the records and measurements of its steps, the scores and items of its
evaluations, and no weights. It is immutable: `set` refuses a name that exists, and every file is checked against
`baseline.json` before it is used. A new baseline is a new name in a reviewed commit.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from harness.config import ConfigError, decode
from harness.identity import combine_digests, folder_digests
from harness.record import MEASURED_FILE, PAYLOAD, RECORD_FILE, write_json
from harness.scores import ITEMS_FILE, SCORES_FILE
from harness.sweep_record import StepRef, SweepRecord, find_sweep, read_sweep, write_sweep
from reports.frame import Frame
from reports.load import load, parse_reference

BASELINE_FILE = "baseline.json"


class BaselineError(RuntimeError):
    """A baseline that does not exist, exists already, or was changed; names it and the remedy."""


@dataclass(frozen=True)
class Baseline:
    """`baseline.json`: where a baseline came from, and the digest of every file in it."""

    name: str
    source: str
    sweep: str
    arm: str
    seeds: tuple[int, ...]
    tasks: tuple[str, ...]
    files: dict[str, str]
    digest: str


def set_baseline(store: Path, run: str, name: str, root: Path) -> Baseline:
    """Copy a complete run into `root/name`; raises BaselineError if the name is taken or the run is not complete."""
    folder = root / name
    if folder.exists():
        raise BaselineError(
            f"{folder} exists and baselines are immutable; choose another name, or delete it in a reviewed commit"
        )
    reference = parse_reference(run)
    (frame,) = load(store, [run], with_baseline=False)
    arm = reference.arm or frame.sweep.baseline
    runs = [one for one in frame.runs if one.arm == arm]
    lacking = [f"{one.arm} seed {one.seed}: {task} ({why})" for one in runs for task, why in one.missing.items()]
    if not runs or lacking:
        raise BaselineError(f"{run} is not complete: {'; '.join(lacking) or 'no such run'}")
    kept = tuple(one for one in frame.sweep.runs if one.arm == arm and one.seed in {r.seed for r in runs})
    arms = tuple(one for one in frame.sweep.arms if one.name == arm)
    seeds = tuple(one.seed for one in kept)
    sweep = replace(frame.sweep, runs=kept, arms=arms, baseline=arm, family=(), seeds=seeds, notes=())
    partial = root / f".{name}.partial"
    shutil.rmtree(partial, ignore_errors=True)
    _copy(frame.store, sweep, partial)
    files = folder_digests(partial)
    baseline = Baseline(name, run, sweep.name, arm, seeds, frame.suite, files, combine_digests(files))
    write_json(partial / BASELINE_FILE, asdict(baseline))
    partial.rename(folder)
    return baseline


def _copy(store: Path, sweep: SweepRecord, target: Path) -> None:
    write_sweep(target, sweep)
    for run in sweep.runs:
        for ref in run.steps.values():
            _copy_step(store, ref, target)


def _copy_step(store: Path, ref: StepRef, target: Path) -> None:
    source, copy = store / ref.step / ref.fingerprint, target / ref.step / ref.fingerprint
    (copy / PAYLOAD).mkdir(parents=True, exist_ok=True)
    judged = (f"{PAYLOAD}/{SCORES_FILE}", f"{PAYLOAD}/{ITEMS_FILE}") if ref.step == "evaluate" else ()
    for name in (RECORD_FILE, MEASURED_FILE, *judged):
        if (source / name).is_file():
            shutil.copyfile(source / name, copy / name)
    if not any((copy / PAYLOAD).iterdir()):
        (copy / PAYLOAD).rmdir()


def find_baseline(name: str, root: Path) -> Path:
    """The folder of a baseline, by name below `root` or by path; raises BaselineError listing what is there."""
    for folder in (Path(name), root / name, Path(name).parent):
        if (folder / BASELINE_FILE).is_file():
            return folder
    raise BaselineError(f"no baseline {name!r} in {root}; there are: {', '.join(baselines(root)) or 'none'}")


def baselines(root: Path) -> list[str]:
    """Names of the baselines below a folder."""
    return sorted(path.parent.name for path in root.glob(f"*/{BASELINE_FILE}"))


def read_baseline(folder: Path) -> Baseline:
    """Read a baseline and check every file; raises BaselineError naming those that were changed, added or removed."""
    path = folder / BASELINE_FILE
    try:
        baseline = decode(Baseline, json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, ConfigError) as error:
        raise BaselineError(f"{path}: not a baseline ({error})") from error
    found = {name: digest for name, digest in folder_digests(folder).items() if name != BASELINE_FILE}
    changed = sorted(name for name in found.keys() | baseline.files.keys() if found.get(name) != baseline.files.get(name))
    if changed or baseline.digest != combine_digests(baseline.files):
        raise BaselineError(
            f"{folder}: changed since it was set: {', '.join(changed[:5]) or BASELINE_FILE}; restore it from git"
        )
    return baseline


def baseline_frame(folder: Path) -> Frame:
    """The baseline's runs as a frame, after every file was checked."""
    baseline = read_baseline(folder)
    sweep = read_sweep(find_sweep(folder, baseline.sweep))
    (frame,) = load(folder, [f"{sweep.name}@{sweep.id}"], with_baseline=False)
    return frame
