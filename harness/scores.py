"""What an evaluation leaves on disk, read by `evaluate.py` when writing and by `reports` when reading.

`scores.json` holds mteb's metrics per (split, subset), in mteb's own unit (0 to 1, or as the metric has it), never rounded
by us; `items.parquet` holds the per-item values from which a score can be recomputed and paired. A missing score is absent
and makes means undefined; it is never zero.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pyarrow as pa

SCORES_FILE = "scores.json"
ITEMS_FILE = "items.parquet"


class ScoreError(ValueError):
    """A score file that cannot be believed: not finite, or not of this schema. Names the file."""


@dataclass(frozen=True)
class SubsetScore:
    """The metrics of one (split, subset) of a task."""

    split: str
    subset: str
    languages: tuple[str, ...]
    """mteb's codes, `eng-Latn`; two for a translation pair."""
    main: float
    metrics: dict[str, float]
    """Every finite scalar metric mteb reports."""
    n_items: int
    """Queries, pairs, documents or examples that were scored."""


@dataclass(frozen=True)
class TaskScores:
    """One task, evaluated once, for one model."""

    task: str
    task_type: str
    main_metric: str
    mteb_version: str
    dataset_revision: str
    subsets: tuple[SubsetScore, ...]

    @property
    def main(self) -> float:
        """The task's score: the unweighted mean of the main scores of its (split, subset) cells, as mteb means it."""
        return math.fsum(subset.main for subset in self.subsets) / len(self.subsets)


def write_scores(path: Path, scores: TaskScores) -> None:
    """Write strict JSON; raises ScoreError if there is no subset or a main score is not finite."""
    _check(scores, path)
    path.write_text(json.dumps(asdict(scores), indent=1, sort_keys=True, allow_nan=False) + "\n", encoding="utf-8")


def read_scores(path: Path) -> TaskScores:
    """Read what `write_scores` wrote; raises ScoreError naming the file otherwise."""
    try:
        data: Any = json.loads(path.read_text(encoding="utf-8"))
        subsets = tuple(SubsetScore(**{**row, "languages": tuple(row["languages"])}) for row in data.pop("subsets"))
        scores = TaskScores(**data, subsets=subsets)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise ScoreError(f"{path}: not a score file of this schema ({error})") from error
    _check(scores, path)
    return scores


def _check(scores: TaskScores, path: Path) -> None:
    if not scores.subsets:
        raise ScoreError(f"{path}: task {scores.task} has no scored subset")
    for subset in scores.subsets:
        if not math.isfinite(subset.main) or subset.n_items < 1:
            raise ScoreError(
                f"{path}: {scores.task} [{subset.split}/{subset.subset}] has main score {subset.main} "
                f"over {subset.n_items} items"
            )


@dataclass(frozen=True)
class Item:
    """One per-item value, long format: one row for every (item, repeat, field).

    Which fields a task type has stands in `harness/items.py`.
    """

    split: str
    subset: str
    item: str
    """The query id, pair index, example index ... as text."""
    repeat: int
    """Experiment (classification) or sample (clustering) it belongs to; 0 where there is one."""
    field: str
    """`ndcg_at_10`, `similarity`, `gold`, `correct`, `v_measure` ..."""
    value: float


def item_schema() -> pa.Schema:
    """Parquet schema of per-item values."""
    import pyarrow as pa

    return pa.schema([
        ("split", pa.string()), ("subset", pa.string()), ("item", pa.string()), ("repeat", pa.int32()),
        ("field", pa.string()), ("value", pa.float64()),
    ])  # fmt: skip


def write_items(path: Path, items: Iterable[Item]) -> int:
    """Write per-item values in the order given; the same items give the same bytes. Returns their number."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    columns: dict[str, list[Any]] = {name: [] for name in item_schema().names}
    for item in items:
        for name, column in columns.items():
            column.append(getattr(item, name))
    pq.write_table(pa.table(columns, schema=item_schema()), path, compression="zstd")
    return len(columns["item"])


def read_items(path: Path) -> pa.Table:
    """The table of per-item values with the columns of `Item`."""
    import pyarrow.parquet as pq

    return pq.read_table(path, schema=item_schema())
