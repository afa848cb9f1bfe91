"""mteb's own mock tasks: every type and layout of data it has, through our adapter, search and capture."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import pytest

from harness import evaluate as module
from harness.evaluate import evaluate
from harness.instructions import NoInstruction
from harness.items import main_from_items, supported
from harness.scores import read_items, read_scores
from harness.step import silent
from harness.tasks import TaskSpec
from harness.tasks.isolate import isolated


def mock_tasks() -> dict[str, Any]:
    from mteb.mocks import ALL_MOCK_TASK_TEST_GRID

    tasks = [task for task in ALL_MOCK_TASK_TEST_GRID if list(task.metadata.modalities) == ["text"]]
    for task in tasks:
        if task.metadata.main_score == "lrap":  # needs the classifier's probabilities; no real task is judged by it
            type(task).metadata = task.metadata.model_copy(update={"main_score": "accuracy"})
    return {task.metadata.name: task for task in tasks}


def spec_of(task: Any) -> TaskSpec:
    meta = task.metadata
    return TaskSpec(
        name=meta.name, task_type=meta.type, kind="mteb", dataset="mock", revision=meta.dataset["revision"], data="hub",
        splits=tuple(meta.eval_splits), subsets=tuple(meta.hf_subsets), instruction="", mteb="2.26.24", main=meta.main_score,
    )  # fmt: skip


def given_class(base: type[Any], _: TaskSpec) -> type[Any]:
    return base


def shipped_decoder() -> Any:
    from harness.config import decode
    from models.encoder import ModelSpec, load_encoder
    from sweeps.compose import Composer

    fields = Composer(Path(__file__).resolve().parents[2] / "conf").compose(["model=tiny"])["model"]
    return load_encoder(decode(ModelSpec, fields).encoder(), [], None, "cpu")


def test_mock_tasks_score_as_in_mteb_and_give_their_items_back(
    words: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    judge_all(words, tmp_path, monkeypatch)


@pytest.mark.slow
def test_mock_tasks_through_our_encoder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same with the shipped decoder: tokens, pooling, widths and all."""
    encoder = shipped_decoder()
    judge_all(encoder, tmp_path, monkeypatch)

    assert encoder.counts.tokens > 1000


def judge_all(encoder: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Aggregates (planned as their parts) and types without items are left to the plan, which refuses them."""
    with isolated("2.26.24", offline=True):
        tasks = mock_tasks()
    judged = []
    for name, task in tasks.items():
        if not supported(task.metadata.type, task.metadata.main_score) or hasattr(task, "tasks"):
            continue
        monkeypatch.setattr(module, "task_class", partial(given_class, type(task)))
        out, spec = tmp_path / f"{len(judged)}", spec_of(task)
        out.mkdir()
        evaluate(spec, NoInstruction("none"), encoder, out, None, silent, {})
        scores = read_scores(out / "scores.json")
        found = main_from_items(spec.task_type, spec.main, read_items(out / "items.parquet"))
        for row in scores.subsets:
            assert found[row.split, row.subset] == pytest.approx(row.main, abs=1e-9), (name, row.subset)
        judged.append(spec.task_type)

    assert len(judged) >= 24, sorted(judged)
    assert set(judged) >= {"Retrieval", "Reranking", "STS", "PairClassification", "Classification", "MultilabelClassification"}
    assert set(judged) >= {"Clustering", "Summarization", "BitextMining", "InstructionRetrieval"}


def test_followir_s_share_of_each_query_is_kept() -> None:
    from mteb._evaluators.retrieval_metrics import evaluate_p_mrr_change

    from harness.items import ItemColumns
    from harness.tasks.rankings import changes_kept

    qrels = {f"{query}-{part}": {"d1": 1, "d2": 0, "d3": 0} for query in "ab" for part in ("og", "changed")}
    results = {
        "a-og": {"d1": 0.9, "d2": 0.8, "d3": 0.1}, "a-changed": {"d1": 0.2, "d2": 0.8, "d3": 0.1},
        "b-og": {"d1": 0.5, "d2": 0.9, "d3": 0.7}, "b-changed": {"d1": 0.9, "d2": 0.3, "d3": 0.2},
    }  # fmt: skip
    fields: dict[str, dict[str, float]] = {}
    with changes_kept(fields):
        whole = evaluate_p_mrr_change(qrels, results, {"a": ["d1"], "b": ["d1", "d2"]}, [1, 3])["p-MRR"]
    columns = ItemColumns()
    columns.add(("test", "default"), list(fields["p-MRR"]), "p-MRR", list(fields["p-MRR"].values()))

    assert fields["p-MRR"]["a"] != fields["p-MRR"]["b"]
    found = main_from_items("InstructionReranking", "p-MRR", columns.table())
    assert found["test", "default"] == pytest.approx(whole, abs=1e-12)
