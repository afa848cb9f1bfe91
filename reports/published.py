"""Results that others published, as rows: MTEB's public result files, filtered to a benchmark and completed.

Layout: `<model>/<revision>/<Task>.json` (a results folder, a model's, or a revision's). Rules (mteb 1.x and 2.x files alike):
only the splits and subsets the benchmark means (unfiltered, the same files give 65.42 where the benchmark's mean is 66.46);
one score per task, from the revision's folder, else `external`, else `no_revision_available`; aggregates such as CQADupstack
count once; a missing cell makes the task missing. Nothing is imported without a benchmark.

Written to `store/imports/<name>.json`. Without per-item values, inference is over tasks, and tables say so.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from harness import catalogue
from harness.config import decode
from harness.identity import fingerprint
from harness.record import write_json
from harness.scores import SubsetScore, TaskScores
from harness.sweep_record import ArmRecord, SweepRecord
from reports.frame import Evaluated, Frame, Run

FILLING = ("external", "no_revision_available")
META = "model_meta.json"
COSINE_AP = ("cosine_ap", "cos_sim_ap")
"""How mteb 2.x and 1.x call the average precision of cosine similarities."""


class PublishedError(ValueError):
    """A folder that holds no results of this layout, or a file that is none; names it."""


@dataclass(frozen=True)
class PublishedModel:
    """One revision of one model."""

    label: str
    model: str
    revision: str
    tasks: dict[str, TaskScores]
    missing: dict[str, str]
    filled: dict[str, str]
    """Tasks that came from another folder, and from which."""


@dataclass(frozen=True)
class Published:
    """What one import kept."""

    name: str
    benchmark: str
    pair_metric: str
    models: tuple[PublishedModel, ...]


def read_published(folder: Path, name: str, benchmark: str, *, cosine_ap: bool = False) -> Published:
    """Read every model revision below a folder; raises PublishedError naming folder or file.

    With `cosine_ap`, pair classification is scored by the cosine's average precision, as papers of 2023 did, instead of
    mteb's maximum over similarities.
    """
    wanted = catalogue.benchmark(benchmark)
    models = [_model(group, wanted, cosine_ap=cosine_ap) for group in _revisions(folder)]
    if not models:
        raise PublishedError(f"{folder}: no result files; expected <model>/<revision>/<Task>.json")
    return Published(name, benchmark, "cosine_ap" if cosine_ap else "max_ap", tuple(models))


def _revisions(folder: Path) -> list[tuple[Path, tuple[Path, ...]]]:
    """Each revision's folder with those that fill it; fillers alone only where a model has nothing else."""
    if not folder.is_dir():
        raise PublishedError(f"{folder}: no such folder")
    leaves = sorted({path.parent for path in folder.rglob("*.json") if path.name != META})
    groups = []
    for parent in sorted({leaf.parent for leaf in leaves}):
        mine = [leaf for leaf in leaves if leaf.parent == parent]
        fillers = tuple(leaf for name in FILLING for leaf in mine if leaf.name == name)
        own = [leaf for leaf in mine if leaf.name not in FILLING]
        groups += [(leaf, fillers) for leaf in own] or [(fillers[0], fillers[1:])]
    return groups


def _model(group: tuple[Path, tuple[Path, ...]], wanted: Iterable[catalogue.Selection], *, cosine_ap: bool) -> PublishedModel:
    folder, fillers = group
    tasks: dict[str, TaskScores] = {}
    missing: dict[str, str] = {}
    filled: dict[str, str] = {}
    for selection in wanted:
        reasons = []
        for source in (folder, *fillers):
            path = source / f"{selection.task}.json"
            found = read_result(path, selection, cosine_ap=cosine_ap) if path.is_file() else "no file"
            if isinstance(found, TaskScores):
                tasks[selection.task] = found
                if source != folder:
                    filled[selection.task] = source.name
                break
            reasons.append(f"{source.name}: {found}")
        else:
            missing[selection.task] = "; ".join(reasons)
    model, revision = _names(folder)
    return PublishedModel(f"{model.split('/')[-1]}@{revision[:8]}", model, revision, tasks, missing, filled)


def _names(folder: Path) -> tuple[str, str]:
    return folder.parent.name.replace("__", "/"), folder.name


def read_result(path: Path, selection: catalogue.Selection, *, cosine_ap: bool = False) -> TaskScores | str:
    """One result file, filtered to the benchmark's cells; a text says which cell is missing or not a number.

    Raises PublishedError naming the file if it is not a result file. Bare NaN is read (mteb writes it) and never kept.
    """
    try:
        data: Any = json.loads(path.read_text(encoding="utf-8"))
        by_cell = {(split, row["hf_subset"]): row for split, rows in data["scores"].items() for row in rows}
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise PublishedError(f"{path}: not an MTEB result file ({type(error).__name__}: {error})") from error
    entry = catalogue.entry(selection.task)
    cells = []
    for split in selection.splits:
        for subset in selection.subsets:
            row = by_cell.get((split, subset))
            if row is None:
                return f"no {split}/{subset}"
            main = _main(row, cosine_ap=cosine_ap and entry.type == "PairClassification")
            if not isinstance(main, (int, float)) or not math.isfinite(main):
                return f"{split}/{subset} has main score {main}"
            metrics = {k: float(v) for k, v in row.items() if isinstance(v, (int, float)) and math.isfinite(v)}
            cells.append(SubsetScore(split, subset, tuple(row.get("languages", ())), float(main), metrics, 0))
    version = data.get("mteb_version") or "not stated"
    revision = data.get("dataset_revision") or "not stated"
    return TaskScores(selection.task, entry.type, entry.main, str(version), str(revision), tuple(cells))


def _main(row: Mapping[str, Any], *, cosine_ap: bool) -> Any:
    if not cosine_ap:
        return row.get("main_score")
    return next((row[name] for name in COSINE_AP if name in row), None)


def import_path(store: Path, name: str) -> Path:
    """Where an import lies."""
    return store / "imports" / f"{name}.json"


def write_published(store: Path, published: Published) -> Path:
    """Write an import and return its path."""
    path = import_path(store, published.name)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, asdict(published))
    return path


def published_frame(store: Path, name: str) -> Frame:
    """An import as a frame: models are arms, the first is what others are compared with."""
    path = import_path(store, name)
    found = decode(Published, json.loads(path.read_text(encoding="utf-8")), str(path))
    runs = []
    for model in found.models:
        tasks = {task: Evaluated(scores, None, "", "") for task, scores in model.tasks.items()}
        runs.append(Run(model.label, None, tasks, model.missing, frozenset(), {}, ""))
    return frame_of(found.name, f"Published results on {found.benchmark}, pairs by {found.pair_metric}", runs, store)


def frame_of(name: str, question: str, runs: list[Run], store: Path, notes: tuple[str, ...] = ()) -> Frame:
    """A frame of rows that no sweep made; the first row is the baseline."""
    arms = tuple(ArmRecord(run.arm, (), "") for run in runs)
    identity = fingerprint(
        {"name": name, "rows": [[run.arm, {t: d.scores.main for t, d in run.tasks.items()}] for run in runs]}
    )
    family = tuple(run.arm for run in runs[1:])
    sweep = SweepRecord(name, identity, question, "mean", family, "T1", None, runs[0].arm, (), "", notes, arms, ())
    return Frame(sweep, store, tuple(runs))
