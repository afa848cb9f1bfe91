"""A store as `sweeps` leaves it, made of numbers a test chooses: real records, digests, score and item files."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import spearmanr

from harness.identity import combine_digests, fingerprint, folder_digests
from harness.record import Record, write_json, write_record
from harness.scores import Item, SubsetScore, TaskScores, write_items, write_scores
from harness.sweep_record import ArmRecord, RunRecord, StepRef, SweepRecord, write_sweep

ENVIRONMENT = {
    "versions": {"torch": "2.13.0", "transformers": "5.23.0"}, "hardware": "cpu A", "seconds": 2.0,
    "commit": "c", "python": "3.11",
}  # fmt: skip


@dataclass
class Builder:
    """Writes evaluate steps and a sweep.json; every number is given by the test."""

    store: Path
    scores: dict[tuple[str, int, str], TaskScores] = field(default_factory=dict)
    items: dict[tuple[str, int, str], list[Item]] = field(default_factory=dict)
    unfinished: set[tuple[str, int, str]] = field(default_factory=set)
    hardware: dict[str, str] = field(default_factory=dict)
    specs: dict[tuple[str, int, str], Mapping[str, object]] = field(default_factory=dict)
    description: str = ""
    weights: dict[tuple[str, int], str] = field(default_factory=dict)

    def put(self, arm: str, seed: int, scores: TaskScores, items: list[Item] | None = None) -> None:
        """Register the scores of a task."""
        self.scores[arm, seed, scores.task] = scores
        self.items[arm, seed, scores.task] = items or []

    def write(self, name: str = "quick", sweep_id: str = "abc123", family: tuple[str, ...] | None = None) -> SweepRecord:
        """Write the store and return the sweep."""
        keys = [*self.scores, *self.unfinished]
        arms = list(dict.fromkeys(arm for arm, _, _ in keys))
        seeds = tuple(sorted({seed for _, seed, _ in keys}))
        tasks = list(dict.fromkeys(task for _, _, task in keys))
        runs = []
        for arm in arms:
            for seed in seeds:
                steps = {"finetune": self._weights(arm, seed)}
                steps |= {f"evaluate/{t}": self._step(arm, seed, t) for t in tasks if (arm, seed, t) in keys}
                runs.append(RunRecord(arm, seed, steps))
        records = tuple(ArmRecord(arm, (), self.description) for arm in arms)
        family = tuple(arms[1:]) if family is None else family
        sweep = SweepRecord(
            name,
            sweep_id,
            "What does it do?",
            "mean",
            family,
            "task_types",
            None,
            arms[0],
            seeds,
            "one corpus",
            (),
            records,
            tuple(runs),
        )
        write_sweep(self.store, sweep)
        return sweep

    def _weights(self, arm: str, seed: int) -> StepRef:
        ref = StepRef("finetune", fingerprint([arm, seed]))
        self._finish(ref, {"weights.txt": self.weights.get((arm, seed), f"{arm} {seed}")}, self.hardware.get(arm, "cpu A"), {})
        return ref

    def _finish(self, ref: StepRef, texts: Mapping[str, str], hardware: str, spec: Mapping[str, object]) -> None:
        folder = self.store / ref.step / ref.fingerprint
        (folder / "payload").mkdir(parents=True, exist_ok=True)
        for file, text in texts.items():
            (folder / "payload" / file).write_text(text, encoding="utf-8")
        write_json(folder / "measured.json", ENVIRONMENT | {"hardware": hardware})
        files = folder_digests(folder / "payload")
        record = Record(ref.step, 1, ref.fingerprint, dict(spec), {}, files, combine_digests(files))
        write_record(folder / "record.json", record)

    def _step(self, arm: str, seed: int, task: str) -> StepRef:
        ref = StepRef("evaluate", fingerprint([arm, seed, task]))
        if (arm, seed, task) in self.unfinished:
            return ref
        payload = self.store / ref.step / ref.fingerprint / "payload"
        payload.mkdir(parents=True, exist_ok=True)
        write_scores(payload / "scores.json", self.scores[arm, seed, task])
        if self.items[arm, seed, task]:
            write_items(payload / "items.parquet", self.items[arm, seed, task])
        self._finish(ref, {}, self.hardware.get(arm, "cpu A"), self.specs.get((arm, seed, task), {}))
        return ref


def one_cell(task: str, task_type: str, main: float, metric: str = "ndcg_at_10", n: int = 50) -> TaskScores:
    """A task with one English test cell."""
    cell = SubsetScore("test", "default", ("eng-Latn",), main, {metric: main, "other": main / 2}, n)
    return TaskScores(task, task_type, metric, "2.26.24", "r1", (cell,))


def retrieval(task: str, values: np.ndarray) -> tuple[TaskScores, list[Item]]:
    """A retrieval task with per-query nDCG values (0 to 1)."""
    items = [Item("test", "default", f"q{i}", 0, "ndcg_at_10", float(v)) for i, v in enumerate(values)]
    return one_cell(task, "Retrieval", float(np.mean(values)), n=len(values)), items


@pytest.fixture
def builder(tmp_path: Path) -> Builder:
    """An empty store."""
    return Builder(tmp_path / "store")


@pytest.fixture
def small(builder: Builder) -> Builder:
    """Baseline and one arm, two seeds, three tasks of two types and two bitext languages; means computed in oracles."""
    table = {
        ("base", 0): (0.50, 0.60, 0.70), ("base", 1): (0.52, 0.64, 0.72),
        ("mean", 0): (0.48, 0.61, 0.70), ("mean", 1): (0.49, 0.63, 0.75),
    }  # fmt: skip
    for (arm, seed), (retr, other, sts) in table.items():
        builder.put(arm, seed, one_cell("QuickRetrieval", "Retrieval", retr))
        builder.put(arm, seed, one_cell("SciFact", "Retrieval", other))
        builder.put(arm, seed, one_cell("QuickSTS", "STS", sts, "cosine_spearman"))
        cells = tuple(
            SubsetScore("test", f"eng-{code}", ("eng-Latn", f"{code}-Latn"), sts - shift, {"f1": sts - shift}, 24)
            for code, shift in (("deu", 0.1), ("fra", 0.2))
        )
        builder.put(arm, seed, TaskScores("QuickBitext", "BitextMining", "f1", "2.26.24", "r1", cells))
    return builder


def with_items(arm_shift: float, seed: int, rng: np.random.Generator, items: int = 120) -> list[tuple[TaskScores, list[Item]]]:
    """Four tasks whose scores are those of their items: retrieval, STS, ten classification experiments, clustering."""
    population = np.random.default_rng(99)  # the same items for every arm and seed
    ease, gold = population.random(items), np.round(population.uniform(0, 5, items) * 2) / 2
    noise = rng.normal(0, 0.02)
    ndcg = np.clip(np.round(ease + arm_shift + noise + rng.normal(0, 0.1, items), 3), 0, 1)
    found = [retrieval("QuickRetrieval", ndcg)]
    similarity = gold / 5 + population.normal(0, 0.3, items) + rng.normal(0, max(0.02, 0.1 - arm_shift), items)
    rho = float(spearmanr(gold, similarity)[0])
    fields = (("similarity", similarity), ("gold", gold / 5))
    rows = [Item("test", "default", str(i), 0, name, float(v)) for name, values in fields for i, v in enumerate(values)]
    found.append((one_cell("QuickSTS", "STS", rho, "cosine_spearman", items), rows))
    right = rng.random((10, items)) < np.clip(ease + arm_shift + noise, 0.02, 0.98)
    rows = [Item("test", "default", str(i), e, "correct", float(v)) for e, run in enumerate(right) for i, v in enumerate(run)]
    found.append((one_cell("QuickClassification", "Classification", float(right.mean()), "accuracy", items), rows))
    samples = np.clip(0.4 + arm_shift + noise + rng.normal(0, 0.02, 10), 0, 1)
    rows = [Item("test", "default", "Level 0", r, "v_measure", float(v)) for r, v in enumerate(samples)]
    found.append((one_cell("QuickClustering", "Clustering", float(samples.mean()), "v_measure", items), rows))
    return found


@pytest.fixture
def rich(builder: Builder) -> Builder:
    """Six arms, two seeds, four tasks with items; `no_instruction` is truly ten points worse, the others are equal."""
    for index, (arm, shift) in enumerate(
        {"base": 0.0, "rank_4": 0.0, "rank_64": 0.0, "mean_pooling": 0.0, "english": 0.0, "no_instruction": -0.1}.items()
    ):
        for seed in (0, 1):
            for scores, items in with_items(shift, seed, np.random.default_rng([index, seed])):
                builder.put(arm, seed, scores, items)
    return builder


@pytest.fixture(scope="session")
def data() -> Path:
    """Other people's data: HARNESS_DATA, or beside the repository."""
    folder = Path(os.environ.get("HARNESS_DATA", Path(__file__).parents[3] / "shared" / "data"))
    if not (folder / "published").is_dir():
        pytest.skip(f"no published results below {folder}; set HARNESS_DATA")
    return folder


@pytest.fixture
def reports(capsys: pytest.CaptureFixture[str], builder: Builder) -> Callable[..., tuple[int, str, str]]:
    """Run `python -m reports` in this process: (exit code, stdout, stderr)."""
    from reports.__main__ import main

    def call(*arguments: str) -> tuple[int, str, str]:
        code = main([*arguments, "--store", str(builder.store)])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return call


def as_json(path: Path) -> object:
    """A JSON file."""
    return json.loads(path.read_text(encoding="utf-8"))
