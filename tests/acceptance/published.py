"""Line 2.3: all-MiniLM-L6-v2, untrained, by our encoder on real MTEB data, against the scores published for it."""

from __future__ import annotations

import csv
import io
import json
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.acceptance.quickstart import REPOSITORY, data_folder, harness, require

TASKS = ("STSBenchmark", "STS12", "STS16", "SICK-R", "SciFact", "Banking77Classification")
TOLERANCE = 0.05  # points of 100
SKIP = 77


def published(task: str) -> float:
    """The published main score on the test split, 0 to 100."""
    (path,) = (data_folder() / "published" / "sentence-transformers__all-MiniLM-L6-v2").glob(f"*/{task}.json")
    return 100 * float(json.loads(path.read_text())["scores"]["test"][0]["main_score"])


def main() -> None:
    """Run the promised command and compare."""
    if not (data_folder() / "mteb").is_dir():
        print(f"no data in {data_folder()}; set HARNESS_DATA")
        sys.exit(SKIP)
    with tempfile.TemporaryDirectory(prefix="published-") as folder:
        store = Path(folder) / "store"
        harness(
            "model=minilm", "pretrain=none", "finetune=none", "eval=local", f"runtime.data={data_folder() / 'mteb'}",
            f"eval.tasks=[{','.join(TASKS)}]", store=store,
        )  # fmt: skip
        command = [sys.executable, "-m", "reports", "scores", "run", "--store", str(store)]
        rows = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=True).stdout
        main_scores = {row["task"]: float(row["score"]) for row in csv.DictReader(io.StringIO(rows))}
        print(f"{'task':<26}{'published':>10}{'ours':>10}{'difference':>12}")
        for task in TASKS:
            print(f"{task:<26}{published(task):>10.3f}{main_scores[task]:>10.3f}{main_scores[task] - published(task):>+12.3f}")
        for task in TASKS:
            require(abs(main_scores[task] - published(task)) <= TOLERANCE, f"{task} within {TOLERANCE} points of published")
        print(
            f"Banking77: {changed_predictions(store)} predictions differ from sentence-transformers' vectors, all experiments"
        )


def changed_predictions(store: Path) -> str:
    """How many class predictions change between our vectors and sentence-transformers' on the same task."""
    from harness.encoder import EncodeCounts
    from harness.evaluate import evaluate
    from harness.instructions import NoInstruction
    from harness.scores import read_items
    from harness.step import silent
    from harness.tasks import Mteb, plan_tasks
    from tests.acceptance.peer import Peer

    path = next(p for p in store.glob("evaluate/*/payload") if "Banking77" in (p / "scores.json").read_text())
    suite = json.loads((path.parent / "record.json").read_text())["spec"]["task"]
    (spec,) = (task for task in plan_tasks(_suite(Mteb), str(data_folder() / "mteb")) if task.name == suite["name"])
    with tempfile.TemporaryDirectory() as folder:
        evaluate(spec, NoInstruction("none"), Peer(EncodeCounts()), Path(folder), str(data_folder() / "mteb"), silent, {})
        ours, theirs = (
            {(row["item"], row["repeat"]): row["value"] for row in read_items(place / "items.parquet").to_pylist()
             if row["field"] == "predicted"}
            for place in (path, Path(folder))
        )  # fmt: skip
    require(bool(ours) and ours.keys() == theirs.keys(), "premise: the same predictions are compared")
    return f"{sum(ours[key] != theirs[key] for key in ours)} of {len(ours)}"


def _suite(kind: type) -> object:
    from harness.config import decode
    from sweeps.compose import Composer

    data = Composer(REPOSITORY / "conf").compose(["eval=local", "eval.tasks=[Banking77Classification]"])["eval"]
    return decode(kind, data)


if __name__ == "__main__":
    main()
