"""Per-item values of an evaluation: how they are laid out, and the main score they give back.

Long format (`harness.scores.Item`): a row for every (item, repeat, field).

| task type | item | repeat | fields |
|---|---|---|---|
| Retrieval, Reranking and both with instructions | query id | 0 | `ndcg_at_k`, `map_at_k`, `recall_at_k`, `mrr_at_k`, |
| | | | `precision_at_k`, `hit_rate_at_k`; MindSmall its main metric per merged query, FollowIR `p-MRR` per query |
| STS | row | 0 | `similarity` (cosine), `gold` (scaled to 0..1, as mteb does) |
| PairClassification | row | 0 | `similarity`, `cosine`, `manhattan`, `euclidean`, `dot`, `gold` |
| Classification | test row | experiment | `predicted`, `correct`; `gold` at repeat 0. Labels that are words are numbered |
| MultilabelClassification | test row | experiment | `correct` (every label right), `gold_L`, `predicted_L` per label |
| Clustering | `Level i` | sample | `v_measure`, `ami` |
| | document row | sample | `assignment_i` of level i, a row for every draw (with replacement); `gold_i` at repeat 0 |
| Clustering (v1) | set | 0 | `v_measure`; `set:row` has `assignment_0`, `gold_0` |
| Summarization | text | 0 | `spearman`, its share of the score (SummEval v1: mean of correlation and p-value) |
| | `text:summary` | 0 | `similarity`, `gold` |
| BitextMining | row | 0 | `predicted`, `gold` (rows of the other side), `correct` |

Reports recompute and pair scores from these alone; nothing here imports mteb or torch. Not here: how mteb's predictions
become rows (`tasks/capture.py`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from harness.scores import item_schema

if TYPE_CHECKING:
    import pyarrow as pa
    from numpy.typing import NDArray

RANKING = ("Retrieval", "Reranking", "InstructionRetrieval", "InstructionReranking")
DIGITS = 5  # mteb rounds the mean of a ranking metric to five decimals (retrieval_metrics.py), all but MRR
Cell = tuple[str, str]  # (split, subset)


class ItemError(ValueError):
    """Items from which the score asked for cannot be computed; names what is missing."""


@dataclass
class ItemColumns:
    """Rows gathered column by column: an evaluation can have millions."""

    chunks: list[dict[str, Any]] = field(default_factory=list)

    def add(self, cell: Cell, items: Sequence[str], name: str, values: Sequence[float], repeat: int = 0) -> None:
        """Append one field's values for `items`, in order; both must be of one length."""
        if len(items) != len(values):
            raise ItemError(f"{cell}: {len(values)} values of {name} for {len(items)} items")
        self.chunks.append({"cell": cell, "items": items, "name": name, "values": values, "repeat": repeat})

    def table(self) -> pa.Table:
        """All rows, in the order added, in the schema of `harness.scores`."""
        import pyarrow as pa

        tables = []
        for chunk in self.chunks:
            rows = len(chunk["items"])
            split, subset = chunk["cell"]
            columns = [
                pa.repeat(pa.scalar(split), rows), pa.repeat(pa.scalar(subset), rows),
                pa.array(chunk["items"], pa.string()), pa.repeat(pa.scalar(chunk["repeat"], pa.int32()), rows),
                pa.repeat(pa.scalar(chunk["name"]), rows), pa.array(np.asarray(chunk["values"], dtype=np.float64)),
            ]  # fmt: skip
            tables.append(pa.table(columns, schema=item_schema()))
        return pa.concat_tables(tables).combine_chunks() if tables else item_schema().empty_table()


def write_table(path: Path, table: pa.Table) -> None:
    """Write items to parquet; the same items give the same bytes."""
    import pyarrow.parquet as pq

    pq.write_table(table, path, compression="zstd", row_group_size=1 << 20)


@dataclass(frozen=True)
class CellItems:
    """The items of one (split, subset)."""

    table: pa.Table
    cell: Cell

    def names(self) -> list[str]:
        """Fields present, in order of first appearance."""
        import pyarrow.compute as pc

        return [str(name) for name in pc.unique(self.table["field"]).to_pylist()]

    def rows(self, name: str) -> pa.Table:
        """Rows of one field; raises ItemError naming cell and field if there are none."""
        import pyarrow.compute as pc

        rows = self.table.filter(pc.equal(self.table["field"], name))
        if not rows.num_rows:
            raise ItemError(f"{self.cell[0]}/{self.cell[1]}: no items with field {name!r}; has {self.names()}")
        return rows

    def values(self, name: str) -> NDArray[np.float64]:
        """Values of a field in row order."""
        return np.asarray(self.rows(name)["value"].to_numpy(), dtype=np.float64)

    def by_item(self, name: str) -> dict[str, float]:
        """A field that has one value per item."""
        rows = self.rows(name)
        return dict(zip(rows["item"].to_pylist(), rows["value"].to_pylist(), strict=True))

    def by_repeat(self, name: str) -> Iterator[tuple[list[str], NDArray[np.float64]]]:
        """Items and values of a field, one experiment or sample after the other."""
        import pyarrow.compute as pc

        rows = self.rows(name)
        for repeat in sorted(pc.unique(rows["repeat"]).to_pylist()):
            part = rows.filter(pc.equal(rows["repeat"], repeat))
            yield part["item"].to_pylist(), np.asarray(part["value"].to_numpy(), dtype=np.float64)


def cells(table: pa.Table) -> Iterator[CellItems]:
    """The (split, subset) cells of a table in order of first appearance; no group_by, whose import alone takes 0.3 s."""
    import pyarrow as pa

    split, subset = (table[name].combine_chunks().dictionary_encode() for name in ("split", "subset"))
    codes = split.indices.to_numpy().astype(np.int64) * max(len(subset.dictionary), 1) + subset.indices.to_numpy()
    found, first = np.unique(codes, return_index=True)
    for code, row in sorted(zip(found.tolist(), first.tolist(), strict=True), key=lambda pair: pair[1]):
        part = table if len(found) == 1 else table.filter(pa.array(codes == code))
        yield CellItems(part, (split[row].as_py(), subset[row].as_py()))


def main_from_items(task_type: str, main_metric: str, table: pa.Table) -> dict[Cell, float]:
    """The main score of every (split, subset) from its items, equal to mteb's; raises ItemError where there is no recipe."""
    recipe = _recipe(task_type, main_metric)
    return {cell.cell: recipe(cell) for cell in cells(table)}


def supported(task_type: str, main_metric: str) -> bool:
    """Whether items of such a task can be kept and give its main score back."""
    try:
        _recipe(task_type, main_metric)
    except ItemError:
        return False
    return True


def _recipe(task_type: str, main: str) -> Callable[[CellItems], float]:
    known: dict[tuple[str, str], Callable[[CellItems], float]] = {
        ("STS", "cosine_spearman"): _sts,
        ("Summarization", "cosine_spearman"): lambda cell: float(np.mean(cell.values("spearman"))),
        ("Classification", "accuracy"): _accuracy,
        ("Classification", "f1"): _macro_f1,
        ("MultilabelClassification", "accuracy"): _accuracy,
        ("MultilabelClassification", "f1"): _multilabel_f1,
        ("Clustering", "v_measure"): lambda cell: float(np.mean(cell.values("v_measure"))),
        ("Clustering", "ami"): lambda cell: float(np.mean(cell.values("ami"))),
        ("BitextMining", "f1"): _bitext_f1,
        ("BitextMining", "accuracy"): _accuracy,
        **{("PairClassification", f"{name}_{metric}"): recipe for name, metric, recipe in _pair_recipes()},
    }
    if task_type in RANKING:
        return _ranking(main)
    if (task_type, main) not in known:
        raise ItemError(f"no recipe for {main!r} of task type {task_type!r}; known: {sorted(known)} and {RANKING}")
    return known[task_type, main]


def _ranking(main: str) -> Callable[[CellItems], float]:
    if main == "paired_accuracy":  # NevIR: both queries of a pair must be right
        return lambda cell: _grouped(cell, "recall_at_1", lambda hits: float(all(hit == 1 for hit in hits)))
    if main == "robustness_at_10":  # InstructIR: the worst of a query's instructions
        return lambda cell: _grouped(cell, "ndcg_at_10", min)
    if main == "p-MRR" or main.startswith("mrr_at_"):
        return lambda cell: _mean(cell.values(main))
    return lambda cell: round(_mean(cell.values("recall_at_1" if main == "accuracy" else main)), DIGITS)


def _mean(values: NDArray[np.float64]) -> float:
    return float(sum(values.tolist()) / len(values))  # left to right, as mteb sums


def _grouped(cell: CellItems, name: str, judge: Callable[[list[float]], float]) -> float:
    groups: dict[str, list[float]] = {}
    for item, value in cell.by_item(name).items():
        groups.setdefault(item.split("_")[0], []).append(value)
    return math.fsum(judge(values) for values in groups.values()) / len(groups)


def _sts(cell: CellItems) -> float:
    from scipy.stats import spearmanr

    return float(spearmanr(cell.values("gold"), cell.values("similarity"))[0])


DIRECTIONS = {"similarity": 1, "cosine": 1, "manhattan": -1, "euclidean": -1, "dot": 1}


def _pair_recipes() -> Iterator[tuple[str, str, Callable[[CellItems], float]]]:
    """A metric by one similarity, or (`max_ap`, `max_accuracy`) the best over all of them."""
    for metric, judge in (("ap", _average_precision), ("accuracy", _best_accuracy)):
        for name in (*DIRECTIONS, "max"):
            yield name, metric, partial(_pair_score, judge, tuple(DIRECTIONS) if name == "max" else (name,))


def _pair_score(judge: Callable[..., float], names: tuple[str, ...], cell: CellItems) -> float:
    gold = cell.values("gold").astype(np.int64)
    return max(judge(cell.values(name) * DIRECTIONS[name], gold) for name in names)


def _average_precision(scores: NDArray[np.float64], gold: NDArray[np.int64]) -> float:
    from sklearn.metrics import average_precision_score

    return float(average_precision_score(gold, scores))


def _best_accuracy(scores: NDArray[np.float64], gold: NDArray[np.int64]) -> float:
    """Accuracy at the best threshold between two neighbours in rank that differ; 0 if all scores are equal, as in mteb."""
    order = np.argsort(-scores, kind="stable")
    ranked, ranks = gold[order], scores[order]
    right = np.cumsum(ranked) + np.sum(ranked == 0) - np.cumsum(ranked == 0)
    splits = ranks[:-1] != ranks[1:]
    return float(right[:-1][splits].max() / len(gold)) if splits.any() else 0.0


def _accuracy(cell: CellItems) -> float:
    return float(np.mean([float(np.mean(values)) for _, values in cell.by_repeat("correct")]))


def _macro_f1(cell: CellItems) -> float:
    from sklearn.metrics import f1_score

    gold = cell.by_item("gold")
    runs = cell.by_repeat("predicted")
    return float(np.mean([f1_score([gold[i] for i in items], values, average="macro") for items, values in runs]))


def _multilabel_f1(cell: CellItems) -> float:
    from sklearn.metrics import f1_score

    labels = sorted(name.removeprefix("gold_") for name in cell.names() if name.startswith("gold_"))
    true = np.stack([cell.values(f"gold_{label}") for label in labels], axis=1)
    columns = [[values for _, values in cell.by_repeat(f"predicted_{label}")] for label in labels]
    runs = [np.stack(run, axis=1) for run in zip(*columns, strict=True)]
    return float(np.mean([f1_score(true, predicted, average="macro") for predicted in runs]))


def _bitext_f1(cell: CellItems) -> float:
    from sklearn.metrics import f1_score

    gold, predicted = cell.values("gold").astype(int), cell.values("predicted").astype(int)
    return float(f1_score(gold, predicted, zero_division=0, average="weighted"))
