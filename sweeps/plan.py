"""From a run's specification to its graph of steps.

    synthesize ─┐
    natural ────┴─> mix ─────────────┐
    weak pairs ────> pretrain ───────┴─> finetune ─> evaluate (one step per task)

A check for contamination reads the mix, or the weak pairs, and the texts of the suite; under `drop` and `fail` training reads
what it lets through. An encoder may refine the mix before fine-tuning reads it.

Each step is given its own narrow part of the specification: that is what lets arms share it. `pin` first replaces what is
only named in conf/ (a folder's bytes, installed packages) by digests; both run in the parent and again in every worker, and
import nothing heavy.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from generators import labelled, mined
from generators.contamination import ContaminationSpec
from generators.mined import MinedSpec
from generators.refine import RefineSpec
from harness.config import ConfigError, Problem, nearest
from harness.identity import canonical
from harness.instructions import TABLE, InstructionFormat
from harness.runtime import Runtime
from harness.server import ServedModel, ServerSpec
from harness.step import Step
from harness.tasks import Suite, TaskSpec, plan_tasks
from models import adapted, backbone
from models.adapted import Adapted, Judged
from models.concatenation import ConcatenationSpec
from models.encoder import EncoderSpec, ModelSpec
from models.pooling import PoolingError, Stated, stated
from models.train import TrainingSpec
from sweeps.spec import Natural, NoTraining, Pretraining, Refinement, RunSpec

# Bumped by hand when the same spec would give other bytes; tests/golden/payloads.json catches a bump that was forgotten.
VERSIONS = {
    "synthesize": 1, "mined": 1, "labelled": 1, "mix": 1, "contamination": 1, "refine": 1, "pretrain": 2, "finetune": 2,
    "merge": 1, "evaluate": 2,
}  # fmt: skip
CHECKPOINTS = ("pretrain", "finetune")  # the order in which they are laid onto the backbone


@dataclass(frozen=True)
class EvaluateSpec:
    """What an evaluate step computes, besides the checkpoints it reads."""

    encoder: EncoderSpec | ServerSpec | ConcatenationSpec
    instruction: InstructionFormat
    task: TaskSpec


@dataclass(frozen=True)
class CheckSpec:
    """What a contamination step looks for in the pairs it reads."""

    search: ContaminationSpec
    tasks: tuple[TaskSpec, ...]
    """Without their instructions: what an encoder is told about a task changes none of its texts."""


@dataclass(frozen=True)
class RefiningSpec:
    """What an encoder does to the pairs it reads."""

    encoder: EncoderSpec
    instruction: InstructionFormat
    how: RefineSpec


def pin(spec: RunSpec, runtime: Runtime) -> RunSpec:
    """The same run with digests in place of what conf/ only names; raises ConfigError with every problem."""
    return survey(spec, runtime).accepted(lacking=False)


@dataclass(frozen=True)
class Survey:
    """A run as far as it can be pinned on this machine."""

    spec: RunSpec
    """Digests in place of names, except where something is missing: there it says what conf/ says."""
    wrong: tuple[Problem, ...]
    """What no machine could run."""
    needs: tuple[Problem, ...]
    """What this machine lacks."""

    def accepted(self, *, lacking: bool) -> RunSpec:
        """The run; raises ConfigError with what is wrong, and with what is missing unless it may lack something."""
        if self.wrong or (self.needs and not lacking):
            raise ConfigError((*self.wrong, *self.needs))
        return self.spec


def survey(spec: RunSpec, runtime: Runtime) -> Survey:
    """Pin what can be pinned, and list what is wrong and what is missing; raises nothing."""
    wrong: list[Problem] = []
    needs: list[Problem] = []
    model, natural, pretrain = spec.model, spec.natural, spec.pretrain
    if isinstance(model, ServedModel):
        wrong += _untrainable(spec, "model.kind is server")
        needs += _unserved(model, runtime)
    else:
        try:
            wrong += _untrainable(spec, "model.backbone.kind is peft") if isinstance(model.backbone, Adapted) else ()
            wrong += _type_problems(model)
            model = _pin_model(model, runtime)
        except backbone.BackboneError as error:
            needs.append(Problem("model.backbone", str(error)))
        except PoolingError as error:
            wrong.append(Problem("model.pooling", str(error)))
        if isinstance(model.pooling, Stated) and needs:
            wrong.append(
                Problem("model.pooling", "is stated by the model's folder, which is not here; choose another, or bring it")
            )
    refine = _survey_refinement(spec, runtime, needs, wrong)
    try:
        if "natural" in spec.data.roles and not isinstance(spec.finetune, NoTraining):
            natural = _pin_pairs(natural, runtime)
    except ValueError as error:
        needs.append(Problem("natural", str(error)))
    try:
        if isinstance(pretrain, Pretraining):
            pretrain = replace(pretrain, pairs=_pin_pairs(pretrain.pairs, runtime))
    except ValueError as error:
        needs.append(Problem("pretrain.pairs", str(error)))
    try:
        tasks_of(spec.eval, runtime)
    except ConfigError as error:
        wrong += error.problems
    return Survey(replace(spec, model=model, natural=natural, refine=refine, pretrain=pretrain), tuple(wrong), tuple(needs))


def _survey_refinement(spec: RunSpec, runtime: Runtime, needs: list[Problem], wrong: list[Problem]) -> Refinement | NoTraining:
    if isinstance(spec.refine, NoTraining) or isinstance(spec.finetune, NoTraining):
        return spec.refine
    try:
        return replace(spec.refine, model=_pin_model(spec.refine.model, runtime))
    except backbone.BackboneError as error:
        needs.append(Problem("refine.model.backbone", str(error)))
    except PoolingError as error:
        wrong.append(Problem("refine.model.pooling", str(error)))
    return spec.refine


def _pin_model(model: ModelSpec, runtime: Runtime) -> ModelSpec:
    model = replace(model, backbone=_pin_backbone(model.backbone, runtime))
    if isinstance(model.pooling, Stated):
        model = replace(model, pooling=stated(adapted.own_folder(model.backbone, runtime.models)))
    return model


def _unserved(model: ServedModel, runtime: Runtime) -> Iterator[Problem]:
    if runtime.endpoint(model.name) is None:
        remedy = f"runtime.endpoints=[{{model: {model.name}, url: http://HOST/v1, key_variable: null}}]"
        yield Problem("runtime.endpoints", f"has no server for model.name {model.name!r}; say where it answers: {remedy}")


def _untrainable(spec: RunSpec, why: str) -> Iterator[Problem]:
    for stage in ("pretrain", "finetune"):
        if not isinstance(getattr(spec, stage), NoTraining):
            yield Problem(stage, f"{why}, which cannot be trained; choose {stage}=none")


def _type_problems(model: ModelSpec) -> Iterator[Problem]:
    for name in model.unnormalized:
        if name not in TABLE:
            yield Problem("model.unnormalized", f"{name!r} is no type of task{nearest(name, TABLE)}")


def sources(runtime: Runtime) -> Path | None:
    """Where labelled files and source trees lie."""
    return None if runtime.sources is None else Path(runtime.sources).expanduser()


# Pinning reads bytes (packages, weights): once in a process for what all arms share. By canonical form and place.
_pinned: dict[tuple[str, str | None], Any] = {}


def _pin_pairs(spec: Natural, runtime: Runtime) -> Natural:
    key = (canonical(spec), runtime.sources)
    if key not in _pinned:
        pin_pairs: Any = mined.pin if isinstance(spec, MinedSpec) else labelled.pin
        _pinned[key] = pin_pairs(spec, sources(runtime))
    pinned: Natural = _pinned[key]
    return pinned


def _pin_backbone(spec: Judged, runtime: Runtime) -> Judged:
    key = (canonical(spec), runtime.models)
    if key not in _pinned:
        pinned = adapted.pin(spec, runtime.models)
        adapted.locate(pinned, runtime.models)
        _pinned[key] = pinned
    found: Judged = _pinned[key]
    return found


def plan(spec: RunSpec, runtime: Runtime) -> dict[str, Step]:
    """The steps of one pinned run by label, inputs before those who read them."""
    steps: dict[str, Step] = {}
    checkpoints: dict[str, Step] = {}
    if isinstance(spec.pretrain, Pretraining):
        steps["weak"] = _pairs_step(spec.pretrain.pairs, "weak pairs")
        pairs = _checked(spec, runtime, "weak", steps)
        steps["pretrain"] = checkpoints["pretrain"] = _step("pretrain", _pretraining(spec, spec.pretrain), {"pairs": pairs})
    if not isinstance(spec.finetune, NoTraining):
        pools = {}
        for role in spec.data.roles:
            pools[role] = steps[role] = (
                _step("synthesize", spec.generator, {}) if role == "synthetic" else _pairs_step(spec.natural, "natural pairs")
            )
        steps["mix"] = _step("mix", spec.data, pools)
        pairs = _checked(spec, runtime, "mix", steps)
        if isinstance(spec.refine, Refinement):
            by = spec.refine.model
            pairs = steps["refine"] = _step(
                "refine", RefiningSpec(by.encoder(), by.instruction, spec.refine.how), {"pairs": pairs}
            )
        steps["finetune"] = checkpoints["finetune"] = _step("finetune", _finetuning(spec), {"pairs": pairs, **checkpoints})
    for judged in _judged(spec, runtime):
        name = judged.task.name
        steps[f"evaluate/{name}"] = _step("evaluate", judged, checkpoints, f"evaluate {name}")
    return steps


_checks: dict[tuple[str, str | None], CheckSpec] = {}


def _checked(spec: RunSpec, runtime: Runtime, label: str, steps: dict[str, Step]) -> Step:
    """The pairs that training reads in place of step `label`: its own, or what a check lets through. Adds the check."""
    pairs = steps[label]
    if spec.contamination.policy == "none":
        return pairs
    key = (canonical([spec.contamination, spec.eval]), runtime.data)
    if key not in _checks:
        tasks = tuple(replace(judged.task, instruction="") for judged in _judged(spec, runtime))
        _checks[key] = CheckSpec(spec.contamination, tasks)
    name = f"contamination/{label}"
    steps[name] = check = _step("contamination", _checks[key], {"pairs": pairs}, f"contamination of {pairs.label}")
    return pairs if spec.contamination.policy == "report" else check


_tasks: dict[tuple[str, str | None], tuple[TaskSpec, ...]] = {}


def tasks_of(suite: Suite, runtime: Runtime) -> tuple[TaskSpec, ...]:
    """The tasks of a suite, planned once for all arms that are judged on it; raises ConfigError."""
    key = (canonical(suite), runtime.data)
    if key not in _tasks:
        _tasks[key] = plan_tasks(suite, runtime.data)
    return _tasks[key]


_judgements: dict[tuple[str, str | None], tuple[EvaluateSpec, ...]] = {}


def _judged(spec: RunSpec, runtime: Runtime) -> tuple[EvaluateSpec, ...]:
    """What is judged, made once for all seeds of an arm: a thousand runs share the objects, and so the text of each."""
    instruction = spec.model.instruction
    key = (canonical([spec.model, spec.eval]), runtime.data)
    if key not in _judgements:
        tasks = tasks_of(spec.eval, runtime)
        encoders = {kind: spec.model.encoder(kind) for kind in {task.task_type for task in tasks}}
        _judgements[key] = tuple(EvaluateSpec(encoders[task.task_type], instruction, task) for task in tasks)
    return _judgements[key]


def _step(name: str, spec: object, inputs: Mapping[str, Step], label: str = "") -> Step:
    return Step(name, VERSIONS[name], spec, dict(inputs), label or name)


def _pairs_step(spec: Natural, label: str) -> Step:
    return _step("mined" if isinstance(spec, MinedSpec) else "labelled", spec, {}, label)


def _pretraining(spec: RunSpec, stage: Pretraining) -> TrainingSpec:
    model = spec.model
    assert isinstance(model, ModelSpec)  # noqa: S101 - `pin` refused to train anything else
    assert not isinstance(model.backbone, Adapted)  # noqa: S101 - the same
    return TrainingSpec(
        model.backbone, stage.pooling, model.attention, stage.adapter, stage.instruction, model.max_length, model.dtype,
        stage.train, stage.seed, model.positions,
    )  # fmt: skip


def _finetuning(spec: RunSpec) -> TrainingSpec:
    model = spec.model
    assert isinstance(model, ModelSpec)  # noqa: S101 - `pin` refused to train anything else
    assert not isinstance(model.backbone, Adapted)  # noqa: S101 - the same
    assert not isinstance(model.pooling, Stated)  # noqa: S101 - `pin` replaced it
    assert not isinstance(spec.finetune, NoTraining)  # noqa: S101 - for the type checker: the caller looked
    return TrainingSpec(
        model.backbone, model.pooling, model.attention, model.adapter, model.instruction, model.max_length, model.dtype,
        spec.finetune, spec.seed, model.positions,
    )  # fmt: skip
