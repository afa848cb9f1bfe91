"""One task, one encoder: mteb's scores with every item kept, on a fresh task, with nothing cached and nothing left behind.

mteb's result cache answers for other checkpoints and for older data (traps 28, 31), its task objects carry state from one
evaluation to the next (44, 50), its import reseeds the process (45). So a task is made anew for every evaluation, its own
`evaluate` is called and scores are written by us. `mteb.evaluate` itself is not called: before that same method it imports
sentence_transformers (7 s) to ask whether our encoder is one of its models; a test holds the two to equal scores.

The payload (deterministic): `scores.json`, `items.parquet`, `mteb.json` (the public results layout, without times) and
`probes.json` (what this task's templates make of three texts, and the token ids the encoder sees).
"""

from __future__ import annotations

import json
import math
import time
import warnings
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from harness.encoder import EncodeCounts, Encoder
from harness.instructions import InstructionFormat, Side, render
from harness.items import Cell, write_table
from harness.scores import ITEMS_FILE, SCORES_FILE, SubsetScore, TaskScores, write_scores
from harness.step import Report
from harness.tasks import HUB, TaskSpec, passkey, quick
from harness.tasks.adapter import Adapter, EvaluateError
from harness.tasks.capture import Capture, RecordedDraws
from harness.tasks.isolate import isolated

MTEB_FILE = "mteb.json"
PROBES_FILE = "probes.json"
PROBES = ("What is the capital of France?", "Even monkeys fall from trees.", "猿も木から落ちる。")
SEED = 42  # mteb's own for every task: its sampled clusterings and classifiers are part of the published scores
KEPT = Path("never-written")  # naming a folder makes mteb hand out its predictions, which `Capture` takes instead
DIGITS = 6  # of mteb's own result files


def evaluate(
    spec: TaskSpec, form: InstructionFormat, encoder: Encoder, out: Path, data_root: str | None, report: Report,
    measured: dict[str, Any],
) -> None:  # fmt: skip
    """Evaluate `encoder` on a task and write the payload to `out`.

    `data_root` is `runtime.data`, needed if the task's data is local. Raises `adapter.EvaluateError`, `capture.CountError`,
    `isolate.VersionError` or what mteb raises; then nothing in `out` may be believed.
    """
    started, before = time.perf_counter(), EncodeCounts(**asdict(encoder.counts))
    with isolated(spec.mteb, offline=spec.data != HUB), warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        capture = Capture()
        task = fresh_task(spec, data_root, capture)
        adapter = Adapter(encoder, form, spec)
        loading = time.perf_counter()
        task.load_data()
        loaded = time.perf_counter()
        results = _score(task, spec, adapter, capture, report)
        _write(task, spec, results, capture, out)
    write_strict(out / PROBES_FILE, probes(spec, form, encoder))
    total = time.perf_counter() - started
    measured.update({
        "seconds": total, "seconds_prepare": loading - started, "seconds_load": loaded - loading,
        "seconds_encode": adapter.seconds, "seconds_score": total - (loaded - started) - adapter.seconds,
        **_spent(encoder.counts, before), "texts_asked": adapter.asked,
        "items": {"/".join(cell): count for cell, count in capture.counts.items()},
        "warnings": dict(Counter(f"{row.category.__name__}: {str(row.message).splitlines()[0]}" for row in warned)),
    })  # fmt: skip


def fresh_task(spec: TaskSpec, data_root: str | None, capture: Capture) -> Any:
    """A new task object, of a subclass made for this evaluation, that reports to `capture` and reads the data of `spec`.

    A subclass, because metadata set on an instance is dropped by the first evaluation (trap 50).
    """
    base = task_class(spec)
    dataset = {**base.metadata.dataset, "revision": spec.revision}
    if spec.kind == "mteb" and spec.data != HUB:
        if data_root is None:
            raise EvaluateError(f"{spec.name}: its data is local, but runtime.data is not set")
        folder = Path(data_root, spec.dataset)
        if not folder.is_dir():
            raise EvaluateError(f"{spec.name}: no data in {folder}; put the hub's data set {spec.dataset} there")
        dataset |= {"path": str(folder.resolve()), "revision": f"local-{spec.data[:12]}"}
    attributes: dict[str, Any] = {
        "__module__": base.__module__,
        "metadata": base.metadata.model_copy(update={"dataset": dataset}),
        **capture.methods(base),
    }
    task = type(base.__name__, (base,), attributes)(seed=SEED)
    task.hf_subsets = list(spec.subsets)
    task._eval_splits = list(spec.splits)  # noqa: SLF001 - as mteb's get_task does
    if spec.task_type == "Clustering":
        task.rng_state = RecordedDraws(task.rng_state.getstate())
    return task


def task_class(spec: TaskSpec) -> type[Any]:
    """The class a task is an instance of: ours, or mteb's by name."""
    import mteb

    if spec.kind == "passkey":
        return passkey.task_class(spec.name, spec.revision)
    return quick.task_class(spec.name) if spec.kind == "quick" else type(mteb.get_task(spec.name))


def _score(
    task: Any, spec: TaskSpec, adapter: Adapter, capture: Capture, report: Report
) -> dict[str, dict[str, dict[str, Any]]]:
    """Scores of mteb by split and subset, in the order of mteb.evaluate, on which sampled tasks depend."""
    batches = [list(spec.subsets)] if spec.task_type == "BitextMining" else [[subset] for subset in spec.subsets]
    total = len(spec.splits) * len(batches)
    results: dict[str, dict[str, dict[str, Any]]] = {}
    for i, split in enumerate(spec.splits):
        results[split] = {}
        for j, subsets in enumerate(batches):
            report(i * len(batches) + j, total, f"{spec.name} {split}")
            options = {"batch_size": 32, "show_progress_bar": False}
            found = task.evaluate(adapter, split, subsets, encode_kwargs=options, prediction_folder=KEPT)
            for subset in subsets:
                if subset not in found:
                    raise EvaluateError(f"{spec.name}: mteb gave no scores for {split}/{subset}")
                capture.record(task, (split, subset), found[subset])
                results[split][subset] = dict(found[subset])
    report(total, total, spec.name)
    return results


def _write(task: Any, spec: TaskSpec, results: Mapping[str, Mapping[str, Any]], capture: Capture, out: Path) -> None:
    from mteb.results import TaskResult

    public = TaskResult.from_task_results(task, results, evaluation_time=0.0).to_dict()
    for volatile in ("evaluation_time", "date", "kg_co2_emissions", "evaluation_phases"):
        public[volatile] = None
    languages = {(split, row["hf_subset"]): row["languages"] for split, part in public["scores"].items() for row in part}
    cells: list[Cell] = [(split, subset) for split, part in results.items() for subset in part]
    subsets = tuple(_subset_score(cell, languages[cell], results[cell[0]][cell[1]], capture.counts[cell]) for cell in cells)
    revision = public["dataset_revision"]
    write_scores(out / SCORES_FILE, TaskScores(spec.name, spec.task_type, spec.main, spec.mteb, revision, subsets))
    write_table(out / ITEMS_FILE, capture.columns.table())
    write_strict(out / MTEB_FILE, public)


def _subset_score(cell: Cell, languages: Sequence[str], scores: Mapping[str, Any], items: int) -> SubsetScore:
    numbers = {name: float(value) for name, value in scores.items() if isinstance(value, (int, float, np.number))}
    finite = {name: value for name, value in sorted(numbers.items()) if math.isfinite(value) and name != "main_score"}
    return SubsetScore(*cell, tuple(languages), numbers["main_score"], finite, items)


def probes(spec: TaskSpec, form: InstructionFormat, encoder: Encoder) -> list[dict[str, Any]]:
    """What the encoder sees of three texts on either side of this task: strings and token ids."""
    sides: tuple[Side, ...] = ("query", "document")
    rows = []
    for text in PROBES:
        for side in sides:
            rendered = render(form, spec.task_type, side, spec.instruction, text)
            rows.append({"text": text, "side": side, "rendered": rendered, "token_ids": encoder.token_ids(rendered)})
    return rows


def write_strict(path: Path, value: Any) -> None:
    """Write JSON that any parser reads: mteb's bare NaN becomes null, floats have mteb's six digits."""
    text = json.dumps(_strict(value), indent=1, sort_keys=True, allow_nan=False, ensure_ascii=False)
    path.write_text(text + "\n", encoding="utf-8")


def _strict(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _strict(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_strict(item) for item in value]
    if isinstance(value, (float, np.floating)):
        return round(float(value), DIGITS) if math.isfinite(value) else None
    return value


def _spent(now: EncodeCounts, before: EncodeCounts) -> dict[str, Any]:
    spent = {name: value - getattr(before, name) for name, value in asdict(now).items()}
    return spent | {"truncated_share": spent["truncated"] / spent["texts"] if spent["texts"] else 0.0}
