"""From a run's specification to its graph of steps.

    synthesize ─┐
    natural ────┴─> mix ─────────────┐
    weak pairs ────> pretrain ───────┴─> finetune ─> evaluate (one step per task)

Each step is given its own narrow part of the specification: that is what lets arms share it. `pin` first replaces what is
only named in conf/ (a folder's bytes, installed packages) by digests; both run in the parent and again in every worker, and
import nothing heavy.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from generators import mined
from generators.mined import MinedSpec
from harness.config import ConfigError, Problem
from harness.instructions import InstructionFormat
from harness.runtime import Runtime
from harness.step import Step
from harness.tasks import TaskSpec, plan_tasks
from models import backbone
from models.encoder import EncoderSpec
from models.train import TrainingSpec
from sweeps.spec import Natural, NoTraining, Pretraining, RunSpec

# Bumped by hand when the same spec would give other bytes; tests/golden/payloads.json catches a bump that was forgotten.
VERSIONS = {"synthesize": 1, "mined": 1, "labelled": 1, "mix": 1, "pretrain": 1, "finetune": 1, "evaluate": 1}


@dataclass(frozen=True)
class EvaluateSpec:
    """What an evaluate step computes, besides the checkpoints it reads."""

    encoder: EncoderSpec
    instruction: InstructionFormat
    task: TaskSpec


def pin(spec: RunSpec, runtime: Runtime) -> RunSpec:
    """The same run with digests in place of what conf/ only names; raises ConfigError with every problem."""
    problems: list[Problem] = []
    model, natural, pretrain = spec.model, spec.natural, spec.pretrain
    try:
        model = replace(model, backbone=backbone.pin(model.backbone, runtime.models))
        backbone.locate(model.backbone, runtime.models)
    except backbone.BackboneError as error:
        problems.append(Problem("model.backbone", str(error)))
    try:
        if "natural" in spec.data.roles and not isinstance(spec.finetune, NoTraining):
            natural = _pin_pairs(natural, runtime)
    except ValueError as error:
        problems.append(Problem("natural", str(error)))
    try:
        if isinstance(pretrain, Pretraining):
            pretrain = replace(pretrain, pairs=_pin_pairs(pretrain.pairs, runtime))
    except ValueError as error:
        problems.append(Problem("pretrain.pairs", str(error)))
    try:
        plan_tasks(spec.eval, runtime.data)
    except ConfigError as error:
        problems += error.problems
    if problems:
        raise ConfigError(problems)
    return replace(spec, model=model, natural=natural, pretrain=pretrain)


def sources(runtime: Runtime) -> Path | None:
    """Where labelled files and source trees lie."""
    return None if runtime.sources is None else Path(runtime.sources).expanduser()


def _pin_pairs(spec: Natural, runtime: Runtime) -> Natural:
    return mined.pin(spec, sources(runtime)) if isinstance(spec, MinedSpec) else spec


def plan(spec: RunSpec, runtime: Runtime) -> dict[str, Step]:
    """The steps of one pinned run by label, inputs before those who read them."""
    steps: dict[str, Step] = {}
    checkpoints: dict[str, Step] = {}
    if isinstance(spec.pretrain, Pretraining):
        steps["weak"] = _pairs_step(spec.pretrain.pairs, "weak pairs")
        steps["pretrain"] = checkpoints["pretrain"] = _step(
            "pretrain", _pretraining(spec, spec.pretrain), {"pairs": steps["weak"]}
        )
    if not isinstance(spec.finetune, NoTraining):
        pools = {}
        for role in spec.data.roles:
            pools[role] = steps[role] = (
                _step("synthesize", spec.generator, {}) if role == "synthetic" else _pairs_step(spec.natural, "natural pairs")
            )
        steps["mix"] = _step("mix", spec.data, pools)
        steps["finetune"] = checkpoints["finetune"] = _step(
            "finetune", _finetuning(spec), {"pairs": steps["mix"], **checkpoints}
        )
    for task in plan_tasks(spec.eval, runtime.data):
        judged = EvaluateSpec(spec.model.encoder(), spec.model.instruction, task)
        steps[f"evaluate/{task.name}"] = _step("evaluate", judged, checkpoints, f"evaluate {task.name}")
    return steps


def _step(name: str, spec: object, inputs: Mapping[str, Step], label: str = "") -> Step:
    return Step(name, VERSIONS[name], spec, dict(inputs), label or name)


def _pairs_step(spec: Natural, label: str) -> Step:
    return _step("mined" if isinstance(spec, MinedSpec) else "labelled", spec, {}, label)


def _pretraining(spec: RunSpec, stage: Pretraining) -> TrainingSpec:
    model = spec.model
    return TrainingSpec(
        model.backbone, stage.pooling, model.attention, stage.adapter, stage.instruction, model.max_length, model.dtype,
        stage.train, stage.seed,
    )  # fmt: skip


def _finetuning(spec: RunSpec) -> TrainingSpec:
    model = spec.model
    assert not isinstance(spec.finetune, NoTraining)  # noqa: S101 - for the type checker: the caller looked
    return TrainingSpec(
        model.backbone, model.pooling, model.attention, model.adapter, model.instruction, model.max_length, model.dtype,
        spec.finetune, spec.seed,
    )  # fmt: skip
