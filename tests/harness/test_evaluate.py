"""An evaluation is fresh, leaves nothing behind, scores what mteb scores, and refuses what is no score."""

from __future__ import annotations

import hashlib
import json
import os
import random
import socket
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from harness.evaluate import evaluate, fresh_task
from harness.identity import folder_digest
from harness.instructions import TABLE, Natural, NoInstruction, TaskTypePrefix, render
from harness.items import main_from_items
from harness.scores import read_items, read_scores
from harness.tasks import Mteb, TaskSpec, plan_tasks, quick
from harness.tasks.adapter import Adapter, EvaluateError
from harness.tasks.capture import Capture, CountError, RecordedDraws
from harness.tasks.isolate import VersionError, isolated
from harness.tasks.pairs import scored_texts
from harness.tasks.prompts import MtebPrompts

STS_ROWS = [
    ("a dog barks", "a dog barked", 4.5),
    ("rain today", "rain now", 2.0),
    ("cats", "no dogs", 1.0),
    ("x y", "z", 0.0),
]


@pytest.fixture
def local_sts(tmp_path: Path) -> tuple[TaskSpec, str]:
    """STSBenchmark with four rows in a folder in the hub's layout."""
    folder = tmp_path / "data/mteb/stsbenchmark-sts"
    folder.mkdir(parents=True)
    rows = [json.dumps({"sentence1": a, "sentence2": b, "score": score}) for a, b, score in STS_ROWS]
    (folder / "test.jsonl").write_text("\n".join(rows) + "\n", encoding="utf-8")
    prompts = MtebPrompts("mteb")
    suite = Mteb("mteb", None, ("STSBenchmark",), (), (), {}, {}, "local", prompts, "2.26.24")
    (spec,) = plan_tasks(suite, str(tmp_path / "data"))
    return spec, str(tmp_path / "data")


@pytest.mark.parametrize("name", quick.TASKS)
def test_the_payload_is_deterministic_and_fresh(
    name: str, quick_specs: dict[str, TaskSpec], quick_results: dict[str, Path], words: Any, judge: Any
) -> None:
    """Trap 44 at every type: the second evaluation of a process equals the first, byte for byte."""
    assert folder_digest(judge(quick_specs[name], words)) == folder_digest(quick_results[name])


def test_trap_08_documents_do_not_see_the_instruction(quick_specs: dict[str, TaskSpec], words: Any, judge: Any) -> None:
    spec = quick_specs["QuickRetrieval"]
    judge(spec, words)
    documents = {f"{row['title']} {row['text']}" for row in quick.read_rows("retrieval/corpus.jsonl")}
    queries = {f"Instruct: {spec.instruction}\nQuery: {row['text']}" for row in quick.read_rows("retrieval/queries.jsonl")}

    assert set(words.seen) == documents | queries
    assert len(words.seen) == 360


def test_trap_10_evaluation_renders_as_training_does(quick_specs: dict[str, TaskSpec], words: Any, judge: Any) -> None:
    """One function makes both; the exact string is this one."""
    spec = quick_specs["QuickSTS"]
    judge(spec, words)
    first = quick.read_rows("sts.jsonl")[0]["sentence1"]
    expected = f"Instruct: Retrieve semantically similar text.\nQuery: {first}"

    assert words.seen[0] == expected == render(Natural("natural"), "sts", "query", spec.instruction, first)


@pytest.mark.parametrize("name", quick.TASKS)
def test_trap_11_both_sides_of_a_symmetric_task_are_templated(
    name: str, quick_specs: dict[str, TaskSpec], words: Any, judge: Any
) -> None:
    spec = quick_specs[name]
    out = judge(spec, words)
    bare = [text for text in words.seen if not text.startswith("Instruct: ")]
    asymmetric = spec.task_type in {"Retrieval", "Reranking"}

    assert bool(bare) == asymmetric == (not TABLE[spec.task_type].documents)
    probes = json.loads((out / "probes.json").read_text(encoding="utf-8"))
    assert len(probes) == 6
    for row in probes:
        assert row["rendered"].startswith("Instruct: ") == (row["side"] == "query" or not asymmetric)
        assert row["token_ids"] == words.token_ids(row["rendered"])


def test_formats_reach_the_model(quick_specs: dict[str, TaskSpec], words: Any, judge: Any) -> None:
    judge(quick_specs["QuickClassification"], words, NoInstruction("none"))
    bare, words.seen = set(words.seen), []
    judge(quick_specs["QuickClassification"], words, TaskTypePrefix("task_type_prefix"))

    assert set(words.seen) == {f"classify: {text}" for text in bare}


def test_trap_28_two_models_in_one_process_keep_their_own_scores(
    quick_specs: dict[str, TaskSpec], quick_results: dict[str, Path], words: Any, other_words: Any, judge: Any
) -> None:
    spec = quick_specs["QuickPairClassification"]
    first = read_scores(judge(spec, words) / "scores.json")
    second = read_scores(judge(spec, other_words) / "scores.json")
    again = read_scores(judge(spec, words) / "scores.json")

    assert first == again == read_scores(quick_results[spec.name] / "scores.json")
    assert first.main != second.main


def test_trap_31_new_data_gives_a_new_score(local_sts: tuple[TaskSpec, str], words: Any, judge: Any) -> None:
    """The same task over changed files is evaluated again, not remembered."""
    spec, data = local_sts
    before = read_scores(judge(spec, words, data=data) / "scores.json")
    file = Path(data, "mteb/stsbenchmark-sts/test.jsonl")
    rows = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    for row in rows:
        row["score"] = 5 - row["score"]
    file.write_text("\n".join(json.dumps(row) for row in rows), encoding="utf-8")
    after = read_scores(judge(spec, words, data=data) / "scores.json")

    assert before.main == pytest.approx(-after.main)
    assert before.main != 0


def test_trap_36_a_missing_subset_is_an_error(quick_specs: dict[str, TaskSpec], words: Any, judge: Any) -> None:
    """No mean over what happens to be there."""
    spec = replace(quick_specs["QuickBitext"], subsets=("eng-deu", "eng-ita"))
    with pytest.raises((EvaluateError, KeyError), match="eng-ita"):
        judge(spec, words)


def test_trap_43_clustering_embeds_every_document(quick_specs: dict[str, TaskSpec], words: Any, judge: Any) -> None:
    measured: dict[str, Any] = {}
    judge(quick_specs["QuickClustering"], words, measured=measured)

    assert measured["items"] == {"test/default": 240}
    assert len(words.seen) == 240


def test_trap_43_a_task_that_embeds_a_fraction_of_few_documents_is_refused(words: Any) -> None:
    """Mteb's default on 30 documents embeds one of them and reports a perfect score."""
    from datasets import Dataset
    from mteb.abstasks import AbsTaskClustering

    with isolated("2.26.24", offline=True):
        base = quick.task_class("QuickClustering")
        defaults = {"max_fraction_of_documents_to_embed": AbsTaskClustering.max_fraction_of_documents_to_embed}
        capture = Capture()
        task = type("Few", (base,), {**defaults, **capture.methods(base)})()
        rows = [{"sentences": f"text {i}", "labels": f"label {i % 3}"} for i in range(30)]
        task.dataset, task.data_loaded = {"test": Dataset.from_list(rows)}, True
        task.rng_state = RecordedDraws(task.rng_state.getstate())
        model = adapter_for(words)
        scores = task.evaluate(model, "test", encode_kwargs={"batch_size": 32}, prediction_folder=Path("kept"))["default"]

        assert (scores["main_score"], len(words.seen)) == (1.0, 1)
        with pytest.raises(CountError, match="1 of 30 documents were embedded for 3 labels"):
            capture.record(task, ("test", "default"), scores)


def adapter_for(encoder: Any) -> Any:
    spec = TaskSpec("Few", "Clustering", "quick", "", "", "", ("test",), ("default",), "", "2.26.24", "v_measure")
    return Adapter(encoder, Natural("natural"), spec)


def test_trap_44_mteb_s_own_instances_do_carry_state(words: Any) -> None:
    """The premise: one task object evaluated twice draws other samples; a fresh one does not."""
    with isolated("2.26.24", offline=True):
        capture = Capture()
        base = quick.task_class("QuickClustering")
        task = type("Same", (base,), dict(capture.methods(base)))()
        options: dict[str, Any] = {"encode_kwargs": {"batch_size": 32}}
        scores = [task.evaluate(adapter_for(words), "test", **options)["default"]["main_score"] for _ in range(2)]

    assert scores[0] != scores[1]


def test_trap_45_an_evaluation_leaves_the_generators_alone(quick_specs: dict[str, TaskSpec], words: Any, judge: Any) -> None:
    def seed() -> None:
        random.seed(7)
        np.random.seed(7)  # noqa: NPY002 - the global generators are the point
        torch.manual_seed(7)

    def draws() -> tuple[float, float, float]:
        return random.random(), float(np.random.rand()), float(torch.rand(1))  # noqa: NPY002

    seed()
    expected = [draws() for _ in range(3)]
    seed()
    found = [draws()]
    judge(quick_specs["QuickClassification"], words)
    found.append(draws())
    judge(quick_specs["QuickClustering"], words)
    found.append(draws())

    assert found == expected


def test_trap_45_importing_mteb_leaves_the_generators_alone() -> None:
    code = (
        "import random; import numpy as np; random.seed(1); np.random.seed(1);"
        "a = random.getstate(), np.random.get_state()[1].tolist();"
        "from harness.tasks.isolate import isolated\n"
        "with isolated('2.26.24', offline=True): import sys; assert 'mteb' in sys.modules; assert random.getstate() != a[0]\n"
        "assert (random.getstate(), np.random.get_state()[1].tolist()) == a; print('same')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)

    assert done.stdout.strip() == "same", done.stderr


def test_trap_50_a_local_task_twice_with_the_network_off(
    local_sts: tuple[TaskSpec, str], words: Any, judge: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any) -> None:
        raise AssertionError("a connection was attempted")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    spec, data = local_sts
    first = folder_digest(judge(spec, words, data=data))

    assert folder_digest(judge(spec, words, data=data)) == first


def test_trap_50_the_premise_metadata_on_an_instance_is_dropped(quick_specs: dict[str, TaskSpec]) -> None:
    with isolated("2.26.24", offline=True):
        import mteb

        task = mteb.get_task("STSBenchmark")
        task.metadata = task.metadata.model_copy(update={"dataset": {"path": "elsewhere", "revision": "x"}})
        task.data_loaded, task.dataset = True, {}
        task.unload_data()
        assert task.metadata.dataset["path"] != "elsewhere"

        fresh = fresh_task(quick_specs["QuickSTS"], None, Capture())
        fresh.load_data()
        fresh.unload_data()
        assert fresh.metadata.name == "QuickSTS"


def test_nothing_is_written_outside(tmp_path: Path, quick_specs: dict[str, TaskSpec]) -> None:
    """Mteb makes a cache folder at import, datasets one at every load; here both go away with the process."""
    home, scratch, work = tmp_path / "home", tmp_path / "scratch", tmp_path / "work"
    for folder in (home, scratch, work):
        folder.mkdir()
    spec = quick_specs["QuickReranking"]
    code = (
        "from pathlib import Path; from harness.tasks import TaskSpec; from harness.evaluate import evaluate;"
        "from harness.instructions import NoInstruction; from harness.step import silent;"
        "from harness.encoder import EncodeCounts;"
        "import numpy as np, sys\n"
        "class One:\n  identity='one'; counts=EncodeCounts()\n"
        "  def encode(self, t): return np.array([[len(x), x.count('e'), 1] for x in t], dtype=np.float32)\n"
        "  def token_ids(self, t): return [1]\n"
        f"evaluate({spec!r}, NoInstruction('none'), One(), Path(sys.argv[1]), None, silent, {{}})"
    )
    out = tmp_path / "out"
    out.mkdir()
    root = str(Path(__file__).resolve().parents[2])
    environment = {**os.environ, "HOME": str(home), "TMPDIR": str(scratch), "PYTHONPATH": root}
    environment = {key: value for key, value in environment.items() if not key.startswith(("HF_", "MTEB", "XDG_"))}
    done = subprocess.run(
        [sys.executable, "-c", code, str(out)], cwd=work, env=environment, capture_output=True, text=True, check=False
    )

    assert done.returncode == 0, done.stderr
    assert (done.stdout, done.stderr) == ("", "")
    assert sorted(file.name for file in out.iterdir()) == ["items.parquet", "mteb.json", "probes.json", "scores.json"]
    assert not [path for folder in (home, scratch, work) for path in folder.rglob("*")]


def test_mteb_reads_our_result_file_which_any_json_parser_reads(quick_results: dict[str, Path]) -> None:
    from mteb.results import TaskResult

    for name, folder in quick_results.items():
        text = (folder / "mteb.json").read_text(encoding="utf-8")
        assert "NaN" not in text, name
        strict = json.loads(text)
        result = TaskResult.from_disk(folder / "mteb.json", load_historic_data=False)
        assert result.get_score() == pytest.approx(read_scores(folder / "scores.json").main, abs=1e-6)
        assert strict["evaluation_time"] is strict["date"] is strict["evaluation_phases"] is None


def test_a_vector_that_is_no_number_is_no_score(quick_specs: dict[str, TaskSpec], words: Any, judge: Any) -> None:
    whole = words.encode

    def broken(texts: Any) -> Any:
        vectors = whole(texts)
        vectors[3, 0] = np.nan
        return vectors

    words.encode = broken
    with pytest.raises(EvaluateError, match="QuickSTS: the vector of text 3 .* is not finite"):
        judge(quick_specs["QuickSTS"], words)


def test_vectors_of_the_wrong_shape_are_refused(quick_specs: dict[str, TaskSpec], words: Any, judge: Any) -> None:
    words.encode = lambda texts: np.ones((len(texts) - 1, 4), dtype=np.float32)
    with pytest.raises(EvaluateError, match=r"150 texts gave vectors of shape \(149, 4\)"):
        judge(quick_specs["QuickSTS"], words)


def test_another_mteb_is_refused(quick_specs: dict[str, TaskSpec], words: Any, judge: Any) -> None:
    with pytest.raises(VersionError, match=r"2\.26\.24 is installed, the task asks for 1\.0\.0"):
        judge(replace(quick_specs["QuickSTS"], mteb="1.0.0"), words)


def test_local_data_that_is_gone_names_itself(local_sts: tuple[TaskSpec, str], words: Any, judge: Any, tmp_path: Path) -> None:
    spec, _ = local_sts
    with pytest.raises(EvaluateError, match="STSBenchmark: no data in .*mteb/stsbenchmark-sts"):
        judge(spec, words, data=str(tmp_path / "nowhere"))
    with pytest.raises(EvaluateError, match=r"runtime\.data is not set"):
        judge(spec, words)


def test_counts_and_progress_are_measured(quick_specs: dict[str, TaskSpec], words: Any, tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    measured: dict[str, Any] = {}
    evaluate(
        quick_specs["QuickBitext"], Natural("natural"), words, tmp_path, None,
        lambda done, total, note="": seen.append((done, total)), measured,
    )  # fmt: skip

    assert seen == [(0, 1), (1, 1)]
    assert measured["texts"] == measured["texts_asked"] == 240
    assert measured["tokens"] == words.counts.tokens > 0
    assert measured["truncated_share"] == 0
    assert measured["items"] == {f"test/{pair}": 24 for pair in quick.PAIRS}


def test_skipped_summaries_are_told_apart_by_their_grades() -> None:
    gold = [[1.0, 1.0], [0.2, 0.4], [0.5, 0.1], [0.2, 0.4]]

    assert scored_texts(gold, [[0.2, 0.4], [0.5, 0.1], [0.2, 0.4]]) == [1, 2, 3]
    assert scored_texts(gold, [[0.5, 0.1], [0.2, 0.4]]) == [2, 3]
    with pytest.raises(CountError, match="1 of 4 summaries"):
        scored_texts(gold, [[0.2, 0.4]])


@pytest.mark.slow
@pytest.mark.parametrize("name", quick.TASKS)
def test_scores_equal_those_of_mteb_evaluate(
    name: str, quick_specs: dict[str, TaskSpec], quick_results: dict[str, Path], words: Any
) -> None:
    """The oracle: mteb's front door with its own classes, loader batches included."""
    import mteb

    spec = quick_specs[name]

    class Plain(mteb.models.abs_encoder.AbsEncoder):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            meta = mteb.models.ModelMeta.create_empty(overwrites={"name": "lab/words", "revision": "1"})
            self.mteb_model_meta = meta.model_copy(update={"similarity_fn_name": mteb.models.model_meta.ScoringFunction.COSINE})

        def encode(self, inputs: Any, *, prompt_type: Any = None, **_: Any) -> Any:
            side = "document" if prompt_type == mteb.types.PromptType.document else "query"
            texts = [text for batch in inputs for text in batch["text"]]
            return words.encode([render(Natural("natural"), spec.task_type, side, spec.instruction, text) for text in texts])

    result = mteb.evaluate(Plain(), quick.task_class(name)(), cache=None, show_progress_bar=False)
    theirs = {(split, row["hf_subset"]): row for split, rows in result.task_results[0].scores.items() for row in rows}
    ours = read_scores(quick_results[name] / "scores.json")

    assert len(theirs) == len(ours.subsets)
    for row in ours.subsets:
        expected = theirs[row.split, row.subset]
        assert row.main == pytest.approx(expected["main_score"], abs=1e-9)
        assert row.metrics == pytest.approx({key: expected[key] for key in row.metrics}, abs=1e-6)
    assert main_from_items(spec.task_type, spec.main, read_items(quick_results[name] / "items.parquet"))


def test_the_digest_of_the_shipped_benchmark_is_golden(quick_specs: dict[str, TaskSpec]) -> None:
    """Changed texts change every published quick score: do it knowingly, and change this line."""
    joined = "".join(spec.data for spec in quick_specs.values())

    assert hashlib.sha256(joined.encode()).hexdigest()[:16] == "b85bb815019d6eb1"
