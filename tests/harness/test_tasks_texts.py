"""The texts a task is judged on, counted against the files they come from."""

import json
from collections import Counter
from pathlib import Path

from harness.runtime import Runtime
from harness.tasks import quick
from harness.tasks.texts import judged_texts
from sweeps.compose import Composer
from sweeps.plan import plan
from sweeps.spec import Composed

FOLDER = quick.FOLDER
CONF = Path(__file__).resolve().parents[2] / "conf"


def test_every_quick_task_gives_the_texts_of_its_files(runtime: Runtime) -> None:
    steps = plan(Composed.of(Composer(CONF).compose([])).decode_run(), runtime)
    tasks = {step.spec.task.name: step.spec.task for step in steps.values() if step.name == "evaluate"}
    found = {name: list(judged_texts(task, None)) for name, task in tasks.items()}
    parts = {name: dict(Counter(text.part for text in texts)) for name, texts in found.items()}
    rows = {name: quick.read_rows(task.files[-1 if name != "QuickRetrieval" else 1]) for name, task in quick.TASKS.items()}
    relevant = {line.split("\t")[1] for line in (FOLDER / "retrieval/qrels.tsv").read_text().splitlines()[1:]}
    summaries = {
        name: sum(len(row[name]) for row in rows["QuickSummarization"]) for name in ("human_summaries", "machine_summaries")
    }

    assert parts == {
        "QuickRetrieval": {"query": len(rows["QuickRetrieval"]), "document": len(relevant)},
        "QuickReranking": {
            "query": len(rows["QuickReranking"]), "document": sum(len(row["positive"]) for row in rows["QuickReranking"]),
        },
        "QuickSTS": dict.fromkeys(("sentence1", "sentence2"), len(rows["QuickSTS"])),
        "QuickPairClassification": dict.fromkeys(("sentence1", "sentence2"), len(rows["QuickPairClassification"])),
        "QuickClassification": {"text": sum(row["split"] == "test" for row in rows["QuickClassification"])},
        "QuickClustering": {"sentences": len(rows["QuickClustering"])},
        "QuickSummarization": {"text": len(rows["QuickSummarization"]), **summaries},
        "QuickBitext": dict.fromkeys(("sentence1", "sentence2"), len(rows["QuickBitext"])),
    }  # fmt: skip
    for name, texts in found.items():
        assert len({text[:2] for text in texts}) == len(texts), f"{name}: two texts of one name"
        assert all(text.text.strip() for text in texts), name


def test_a_document_is_its_title_and_its_text(runtime: Runtime) -> None:
    steps = plan(Composed.of(Composer(CONF).compose(["eval.tasks=[QuickRetrieval]"])).decode_run(), runtime)
    texts = {
        text.name.split("/")[-1]: text.text
        for text in judged_texts(steps["evaluate/QuickRetrieval"].spec.task, None)
        if text.part == "document"
    }
    rows = {row["_id"]: row for row in map(json.loads, (FOLDER / "retrieval/corpus.jsonl").read_text().splitlines())}
    name, text = next(iter(texts.items()))

    assert rows[name]["title"]
    assert text == f"{rows[name]['title']} {rows[name]['text']}"
