"""An arm that merges other arms of its sweep: its members' runs as one model, judged and not trained.

Everything up to the members' checkpoints is theirs, shared step by step. Weights are merged in a step of their own, whose
payload takes the place of a fine-tuning; vectors are merged while a task is judged. What does not fit together is said here,
before anything is trained.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Annotated, Any, Literal

from annotated_types import Gt, MinLen

from harness.config import ConfigError, Problem, decode
from harness.identity import canonical, plain
from harness.runtime import Runtime
from harness.step import Step
from models.adapter import Lora
from models.concatenation import ConcatenationSpec
from models.encoder import EncoderSpec
from models.merge import MergeSpec
from sweeps.ablation import Merge
from sweeps.plan import CHECKPOINTS, VERSIONS, plan
from sweeps.spec import RunSpec


@dataclass(frozen=True)
class MergedRun:
    """What a worker plans again in place of a RunSpec: the members, pinned, all with one seed."""

    how: Literal["weights", "vectors"]
    weights: Annotated[tuple[Annotated[float, Gt(0)], ...], MinLen(2)]
    arms: Annotated[tuple[str, ...], MinLen(2)]
    members: Annotated[tuple[RunSpec, ...], MinLen(2)]

    def with_seed(self, seed: int) -> MergedRun:
        """The same merge of the runs with another seed."""
        return replace(self, members=tuple(member.with_seed(seed) for member in self.members))


def plan_again(config: Mapping[str, Any], runtime: Runtime) -> Mapping[str, Step]:
    """The steps of a run or of a merge of runs, from what is written down."""
    if "members" in config:
        return plan_merged(decode(MergedRun, config), runtime)
    return plan(decode(RunSpec, config), runtime)


Run = tuple[str, int, Mapping[str, Step], Mapping[str, Any]]


def merged_runs(
    merges: Mapping[str, Merge], members: Mapping[str, RunSpec], seeds: Sequence[int], runtime: Runtime
) -> list[Run]:
    """(arm, seed, steps, what a worker plans again) of every merge and seed; raises ConfigError with the problems of all."""
    runs: list[Run] = []
    problems: list[Problem] = []
    for name, merge in merges.items():
        merged = MergedRun(merge.how, merge.weights, merge.arms, tuple(members[arm] for arm in merge.arms))
        try:
            for seed in seeds:
                run = merged.with_seed(seed)
                runs.append((name, seed, plan_merged(run, runtime), plain(run)))
        except ConfigError as error:
            problems += [Problem(f"sweep.merges.{name}.{problem.path}", problem.message) for problem in error.problems]
    if problems:
        raise ConfigError(problems)
    return runs


def plan_merged(run: MergedRun, runtime: Runtime) -> dict[str, Step]:
    """The steps by label, those of a member under `arm:label`; raises ConfigError if the members do not fit together."""
    plans = [plan(member, runtime) for member in run.members]
    if problems := list(_unlike(run, plans)):
        raise ConfigError(problems)
    steps = {
        f"{arm}:{label}": step
        for arm, found in zip(run.arms, plans, strict=True)
        for label, step in found.items()
        if not label.startswith("evaluate/")
    }
    return steps | (_by_weights(run, plans) if run.how == "weights" else _by_vectors(run, plans))


def _by_weights(run: MergedRun, plans: Sequence[Mapping[str, Step]]) -> dict[str, Step]:
    """The merge, and the first member's tasks judged on it in place of that member's last checkpoint."""
    first = plans[0]
    last = {str(i): _trained(found) for i, found in enumerate(plans)}
    merge = Step("merge", VERSIONS["merge"], MergeSpec(run.weights), last, "merge of weights")
    beneath = _stages(first)[:-1] if isinstance(_trained(first).spec.adapter, Lora) else []  # whole weights lie on nothing
    checkpoints = {**{role: first[role] for role in beneath}, CHECKPOINTS[-1]: merge}
    return {"merge": merge} | {label: replace(step, inputs=checkpoints) for label, step in _judged(first)}


def _by_vectors(run: MergedRun, plans: Sequence[Mapping[str, Step]]) -> dict[str, Step]:
    """The first member's tasks judged on the vectors of all, whose checkpoints are read under `0.finetune`, `1.finetune` ..."""
    inputs = {f"{i}.{role}": found[role] for i, found in enumerate(plans) for role in _stages(found)}
    steps = {}
    for label, step in _judged(plans[0]):
        parts = tuple(_of_length_one(found[label].spec.encoder) for found in plans)
        encoder = ConcatenationSpec("concatenation", parts, run.weights)
        steps[label] = replace(step, spec=replace(step.spec, encoder=encoder), inputs=inputs)
    return steps


def _of_length_one(encoder: Any) -> Any:
    """Each part is brought to length one in any case; asked for it, arms and merges share their vectors."""
    return replace(encoder, normalize=True) if isinstance(encoder, EncoderSpec) else encoder


def _stages(steps: Mapping[str, Step]) -> list[str]:
    return [role for role in CHECKPOINTS if role in steps]


def _trained(steps: Mapping[str, Step]) -> Step:
    return steps[_stages(steps)[-1]]


def _judged(steps: Mapping[str, Step]) -> Iterator[tuple[str, Step]]:
    for label, step in steps.items():
        if label.startswith("evaluate/"):
            yield label, step


def _unlike(run: MergedRun, plans: Sequence[Mapping[str, Step]]) -> Iterator[Problem]:
    """Why each member does not fit the first one."""
    first, *others = plans
    untrained = [arm for arm, found in zip(run.arms, plans, strict=True) if not _stages(found)]
    if run.how == "weights" and untrained:
        yield Problem("arms", f"{untrained[0]!r} trains nothing, it has no weights of its own; choose how: vectors")
        return
    for arm, other in zip(run.arms[1:], others, strict=True):
        both = f"{run.arms[0]!r} and {arm!r}"
        if dict(_tasks(first)) != dict(_tasks(other)):
            yield Problem("arms", f"{both} are judged on other tasks, or with other instructions (eval, model.instruction)")
        elif run.how == "weights" and (keys := _differing(first, other)):
            remedy = "only the weights of models that encode alike are merged, choose how: vectors"
            yield Problem("arms", f"{both} differ in {', '.join(keys)}; {remedy}")


def _tasks(steps: Mapping[str, Step]) -> Iterator[tuple[str, str]]:
    for label, step in _judged(steps):
        yield label, canonical([step.spec.instruction, step.spec.task])


def _differing(one: Mapping[str, Step], other: Mapping[str, Step]) -> list[str]:
    """What keeps two trained arms from having their weights merged, as keys."""
    encoders = [(step.spec.encoder, other[label].spec.encoder) for label, step in _judged(one)]
    names = [field.name for field in fields(EncoderSpec)]
    keys = [f"model.{name}" for name in names if any(getattr(a, name) != getattr(b, name) for a, b in encoders)]
    adapters = [_trained(steps).spec.adapter for steps in (one, other)]
    if adapters[0].kind != adapters[1].kind:
        keys.append("model.adapter.kind")
    elif isinstance(adapters[0], Lora):
        beneath = [[steps[role].key for role in _stages(steps)[:-1]] for steps in (one, other)]
        keys += ["pretrain, on which the adapters lie"] if beneath[0] != beneath[1] else []
    return keys
