"""Every shipped question: its arms compose, decode, plan, preview and differ, and its values are the paper's."""

from __future__ import annotations

import dataclasses
import io
import json
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from harness.runtime import Runtime
from models.adapter import Lora
from models.encoder import ModelSpec
from models.train import TrainSpec
from reports.layouts import LAYOUTS
from reports.reference import names as reference_names
from sweeps import run
from sweeps.ablation import BASELINE, Ablation, named
from sweeps.compose import Composer
from sweeps.merging import plan_again
from sweeps.preview import preview
from sweeps.spec import Composed, NoTraining, RunSpec

CONF = Path(__file__).resolve().parents[2] / "conf"
PUBLISHED = Path(__file__).resolve().parents[2] / "reports" / "reference"
ARMS = {  # the baseline included
    "generator": 8, "language_mix": 4, "merging": 6, "negatives": 9, "paper_hyperparameters": 9, "paper_main": 4,
    "paper_multilingual": 4, "paper_passkey": 4, "paper_pretraining": 4, "quickstart": 11, "trained": 2,
}  # fmt: skip
OURS = {"merging", "quickstart", "trained"}  # need nothing that does not ship with us
BATCH = 2048


@pytest.fixture(scope="module")
def composer(tmp_path_factory: pytest.TempPathFactory) -> Composer:
    return Composer(CONF, tmp_path_factory.mktemp("composed"))


def ablation_of(composer: Composer, name: str, *overrides: str) -> Ablation:
    return named(composer.compose([f"sweep={name}"])["sweep"], overrides)


def arms_of(composer: Composer, name: str) -> dict[str, RunSpec]:
    """The decoded specification of every arm."""
    overrides = ablation_of(composer, name).overrides()
    return {arm: Composed.of(composer.compose(texts)).decode_run() for arm, texts in overrides.items()}


def training(spec: RunSpec) -> TrainSpec:
    assert isinstance(spec.finetune, TrainSpec)
    return spec.finetune


def model(spec: RunSpec) -> ModelSpec:
    assert isinstance(spec.model, ModelSpec)
    return spec.model


def rank(spec: RunSpec) -> int:
    adapter = model(spec).adapter
    assert isinstance(adapter, Lora)
    return adapter.rank


def published(name: str) -> Mapping[str, Any]:
    """A table of the paper as it is kept for reports."""
    data: Mapping[str, Any] = json.loads((PUBLISHED / f"{name}.json").read_text(encoding="utf-8"))
    return data


@pytest.mark.parametrize("name", sorted(ARMS))
def test_every_arm_of_every_shipped_ablation_plans_previews_and_changes_a_step(
    name: str, composer: Composer, runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a machine without the weights, the data, the server: what is missing is named, and no arm is the baseline."""
    assert {path.stem for path in (CONF / "sweep").glob("*.yaml")} == set(ARMS)
    monkeypatch.setattr(run, "_conf", CONF)
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    live = name not in {*OURS, "paper_passkey"}
    few = ["generator.draws.size=40"] if live else []  # half a million draws only to count them take minutes
    ablation = ablation_of(composer, name, *few)
    planned = run.plan_sweep(name, ablation, dataclasses.replace(runtime, models="/nowhere"), preview=True)
    keys: dict[str, set[str]] = {}
    for record in planned.record.runs:
        keys.setdefault(record.arm, set()).update(ref.key for ref in record.steps.values())
    for _, steps, written in planned.runs:
        again = plan_again(written, planned.runtime)
        assert [step.key for step in again.values()] == [step.key for step in steps.values()], "a worker plans something else"
    printed = io.StringIO()
    preview(planned, Console(file=printed, width=300))

    assert len(keys) == len(ablation.names()) + 1 == ARMS[name]
    for arm, found in keys.items():
        assert arm == BASELINE or found != keys[BASELINE], f"{arm} computes nothing that the baseline does not"
        assert arm in printed.getvalue()
    assert len({frozenset(steps) for steps in keys.values()}) == len(keys), "two arms are the same runs"
    assert bool(planned.needs) == (name not in OURS)
    for problem in planned.needs:
        assert problem.path in printed.getvalue()


@pytest.mark.parametrize("name", sorted(ARMS))
def test_what_is_assumed_names_a_value_and_tables_exist(name: str, composer: Composer) -> None:
    ablation = ablation_of(composer, name)
    data: Any = composer.compose(ablation.baseline)
    for key in ablation.assumed:
        node = data if key.split(".")[0] in data else dataclasses.asdict(ablation)
        for part in key.split("."):
            assert part in node, f"{key} is no value of the baseline"
            node = node[part]

    assert ablation.table in LAYOUTS
    assert ablation.reference is None or ablation.reference.replace(":", ".") in reference_names()
    assert set(ablation.family) == set(ablation.names())


def test_a_missing_backbone_is_refused_before_anything_is_built(
    composer: Composer, runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run, "_conf", CONF)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(ValueError, match=r"model\.backbone: .*Mistral-7B-v0\.1"):
        run.plan_sweep("paper_main", ablation_of(composer, "paper_main"), runtime)
    assert not runtime.store_path.joinpath("sweeps").exists()


def test_the_documentation_lists_what_ships() -> None:
    text = (CONF.parent / "docs" / "ablations.md").read_text(encoding="utf-8")
    listed = dict(re.findall(r"^\| `(\w+)` \| (\d+) \|", text, re.MULTILINE))

    assert {name: int(arms) for name, arms in listed.items()} == ARMS


def test_the_recipe_is_the_papers(composer: Composer) -> None:
    """Section 4.1, appendix A, and the released adapter's configuration."""
    for name in ("paper_main", "paper_hyperparameters", "paper_pretraining", "paper_multilingual"):
        spec = arms_of(composer, name)[BASELINE]
        train, judged = training(spec), model(spec)
        assert isinstance(judged.adapter, Lora)
        assert (train.batch_size, train.learning_rate, train.warmup_steps, train.schedule) == (BATCH, 1e-4, 100, "linear")
        assert (train.weight_decay, train.loss.temperature, train.negatives) == (0.1, 0.02, 1)
        adapter = judged.adapter
        assert (adapter.rank, adapter.alpha, adapter.dropout, adapter.targets) == (16, 32, 0.1, "all-linear")
        assert (judged.pooling.kind, judged.instruction.kind, judged.max_length) == ("last_token", "natural", 512)
        assert judged.backbone.id == "mistralai/Mistral-7B-v0.1"  # type: ignore[union-attr]


def test_every_mix_is_gone_through_once(composer: Composer) -> None:
    """Steps are floor(examples / 2,048); the paper's counts are 1.8M in all, 500k of them generated."""
    for name in ("paper_main", "paper_hyperparameters", "paper_pretraining", "paper_multilingual"):
        for arm, spec in arms_of(composer, name).items():
            if not isinstance(spec.finetune, NoTraining):
                assert spec.finetune.steps == spec.data.size // BATCH, f"{name}: {arm}"
                assert spec.data.match == "steps"
    sizes = {arm: spec.data.size for arm, spec in arms_of(composer, "paper_main").items()}
    synthetic = {s.role: s.share for s in arms_of(composer, "paper_main")[BASELINE].data.sources}["synthetic"]

    assert sizes[BASELINE] == 1_800_000
    assert sizes["synthetic_only"] == 500_000 == round(synthetic * 1_800_000, -3)
    assert sizes["no_synthetic"] == 1_300_000


def test_arms_are_the_rows_of_the_published_tables(composer: Composer) -> None:
    t5 = arms_of(composer, "paper_hyperparameters")
    ours = [row for row in published("paper.T1")["rows"] if row[1] == "ours"]

    assert len(published("paper.T5")["rows"]) == ARMS["paper_hyperparameters"] == 9
    assert len(published("paper.T17")["columns"]) - 2 == ARMS["paper_main"] == len(ours) + 1
    assert len(published("paper.T7")["rows"]) == ARMS["paper_pretraining"]
    assert {arm: rank(spec) for arm, spec in t5.items() if arm.startswith("lora")} == {"lora_8": 8, "lora_32": 32}
    assert {t5[arm].model.instruction.kind for arm in ("no_instruction", "task_type_prefix")} == {"none", "task_type_prefix"}
    assert {model(t5[arm]).pooling.kind for arm in ("mean_pooling", "weighted_mean")} == {"mean", "weighted_mean"}
    assert model(t5["llama2"]).backbone.id == "meta-llama/Llama-2-7b-hf"  # type: ignore[union-attr]
    assert t5["msmarco_only"].data.roles == ("natural",)


def test_pretraining_takes_the_backbones_own_adapter_and_pooling(composer: Composer) -> None:
    arms = arms_of(composer, "paper_pretraining")
    found = {arm: spec.pretrain for arm, spec in arms.items()}
    stages = {arm: stage for arm, stage in found.items() if not isinstance(stage, NoTraining)}

    assert set(stages) == {BASELINE, "xlmr"}
    assert {arm: (stage.adapter.kind, stage.pooling.kind) for arm, stage in stages.items()} == {
        BASELINE: ("lora", "last_token"), "xlmr": ("none", "mean"),
    }  # fmt: skip
    assert {stage.train.steps for stage in stages.values()} == {10_000}
    assert found["mistral_not_pretrained"].kind == found["xlmr_not_pretrained"].kind == "none"


def test_windows_and_bases_are_those_of_figure_5(composer: Composer) -> None:
    arms = arms_of(composer, "paper_passkey")
    columns = published("paper.Fig5")["columns"][1:]
    read = {arm: (model(s).positions.sliding_window, model(s).positions.rope_base) for arm, s in arms.items()}

    assert len(columns) == ARMS["paper_passkey"]
    assert read == {
        BASELINE: (None, None), "window_32k": (32768, None), "base_1e5": (32768, 1e5), "base_1e6": (32768, 1e6),
    }  # fmt: skip
    assert all(spec.finetune.kind == spec.pretrain.kind == "none" for spec in arms.values()), "nothing is trained"
    assert {model(spec).max_length for spec in arms.values()} == {32768}


def test_a_key_that_only_the_ablations_baseline_has_can_be_set(tmp_path: Path) -> None:
    """`eval.lengths` is no key of conf/run.yaml, whose suite is another; a wrong key still finds its right name."""
    codes, printed = [], []
    for key in ("lengths", "lenghts"):
        command = [sys.executable, "-m", "harness", "-m", "sweep=paper_passkey", f"eval.{key}=[256]", "preview=true"]
        command.append(f"runtime.store={tmp_path / 'store'}")
        done = subprocess.run(command, capture_output=True, text=True, cwd=CONF.parent, timeout=120, check=False)
        codes.append(done.returncode)
        printed.append(done.stdout + done.stderr)

    assert codes == [0, 4]
    assert "to build: 4 evaluate" in printed[0]
    assert "did you mean 'eval.lengths'?" in printed[1]
