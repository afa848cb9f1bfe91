"""Writes tests/reports/items/minilm_*: real data sets judged by all-MiniLM-L6-v2 with two poolings, from a finished sweep.

    python -m harness -m model=minilm model/pooling=mean,weighted_mean pretrain=none finetune=none eval=local \
        runtime.data=DIR 'eval.tasks=[SciFact,Banking77Classification,STS16]' runtime.store=STORE
    python tests/oracles/minilm_items.py STORE

Only the fields from which the main score follows are kept, and no text of anybody's.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from harness.items import main_from_items, write_table
from harness.scores import read_items, read_scores
from harness.sweep_record import read_sweep

OUT = Path(__file__).parents[1] / "reports" / "items"
FIELDS = {"Retrieval": ["ndcg_at_10"], "Classification": ["correct"], "STS": ["similarity", "gold"]}


def main(store: Path) -> None:
    """Copy the evaluations of both arms."""
    (path,) = store.glob("sweeps/*/*/sweep.json")
    for run in read_sweep(path.parent).runs:
        encoder = "minilm_mean" if run.arm == "baseline" else "minilm_weighted_mean"
        for task, ref in run.evaluations.items():
            payload, folder = store / ref.key / "payload", OUT / encoder / task
            scores, items = read_scores(payload / "scores.json"), read_items(payload / "items.parquet")
            kept = items.filter(pc.is_in(items["field"], value_set=pa.array(FIELDS[scores.task_type])))
            assert main_from_items(scores.task_type, scores.main_metric, kept).keys()
            folder.mkdir(parents=True, exist_ok=True)
            write_table(folder / "items.parquet", kept)
            shutil.copyfile(payload / "scores.json", folder / "scores.json")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
