"""`reports scores`: every score of a run as one CSV row, in points, for other people's tools."""

from __future__ import annotations

import csv
from collections.abc import Iterable
from typing import TextIO

from reports import inert
from reports.frame import Frame

COLUMNS = ("arm", "seed", "task", "task_type", "subset", "split", "metric", "score", "n_items")


def write_scores_csv(frames: Iterable[Frame], out: TextIO, *, every_metric: bool) -> list[str]:
    """Write one row per (arm, seed, task, subset, split) and metric; returns what is missing, one line each.

    Scores are mteb's numbers times 100. Without `every_metric` only the task's main metric is written.
    """
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(COLUMNS)
    missing = []
    for frame in frames:
        for run in frame.runs:
            for task, done in run.tasks.items():
                for cell in done.scores.subsets:
                    metrics = cell.metrics if every_metric else {done.scores.main_metric: cell.main}
                    for metric, score in metrics.items():
                        texts = (task, done.scores.task_type, cell.subset, cell.split, metric)
                        seed = "" if run.seed is None else run.seed
                        row = [inert.csv(run.arm), seed, *map(inert.csv, texts), f"{100 * score:.10g}", cell.n_items]
                        writer.writerow(row)
            missing += [f"{run.arm} seed {run.seed}: {task} is missing ({why})" for task, why in run.missing.items()]
    return missing
