"""Scores that are a share of hits among few queries (passkey and needle, 50 a length), with what so few can say (trap 34).

Their per-query values are 0 or 1, so the exact binomial interval holds; a difference inside it is no finding, and no gate
should stand on one of them alone.
"""

from __future__ import annotations

from collections.abc import Iterator

from reports.frame import Evaluated, Frame

HITS = ("ndcg_at_1", "recall_at_1", "hit_rate_at_1", "accuracy")
RANKING = ("Retrieval", "Reranking")
FEW = 200
LEVEL = 0.95


def interval(hits: int, count: int) -> tuple[float, float]:
    """The exact (Clopper-Pearson) 95 % interval of a share, in points."""
    from scipy.stats import binomtest

    found = binomtest(hits, count).proportion_ci(LEVEL, method="exact")
    return 100 * float(found.low), 100 * float(found.high)


def notes(frame: Frame) -> list[str]:
    """One line for every run and task of that kind: each split with its interval."""
    lines = []
    for run in frame.runs:
        for task, done in run.tasks.items():
            if cells := list(_cells(done)):
                seed = "" if run.seed is None else f":{run.seed}"
                lines.append(f"{task}, {run.arm}{seed}, with exact 95 % intervals over its queries: {'; '.join(cells)}")
    return lines


def _cells(done: Evaluated) -> Iterator[str]:
    scores = done.scores
    if scores.task_type not in RANKING or scores.main_metric not in HITS:
        return
    for row in scores.subsets:
        hits = row.main * row.n_items
        if row.n_items <= FEW and abs(hits - round(hits)) < 1e-3:
            low, high = interval(round(hits), row.n_items)
            yield f"{row.split} {100 * row.main:.0f} [{low:.0f}, {high:.0f}] of {row.n_items}"
