"""Change this field, exactly these steps change: the whole secret of sharing, as a table."""

import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from harness.config import ConfigError
from harness.identity import fingerprint, plain
from harness.runtime import Runtime
from harness.step import Step
from sweeps.ablation import BASELINE, named
from sweeps.compose import Composer
from sweeps.plan import VERSIONS, pin, plan
from sweeps.spec import Composed
from sweeps.steps import BODIES

GOLDEN = Path(__file__).resolve().parents[1] / "golden" / "fingerprints.json"
KINDS = ("Retrieval", "Reranking", "STS", "PairClassification", "Classification", "Clustering", "Summarization", "Bitext")
TASKS = [f"evaluate/Quick{kind}" for kind in KINDS]
EVERYTHING = ["weak", "pretrain", "synthetic", "natural", "mix", "finetune", *TASKS]
TRAINED = ["finetune", *TASKS]


def planned(conf: Path, runtime: Runtime, overrides: Sequence[str] = ()) -> dict[str, Step]:
    """Steps of a run that is not pinned: what lies on this machine plays no part."""
    return plan(Composed.of(Composer(conf).compose(overrides)).decode_run(), runtime)


def changed(one: dict[str, Step], other: dict[str, Step]) -> list[str]:
    both = one.keys() & other.keys()
    return [label for label in {**one, **other} if label not in both or one[label].key != other[label].key]


def test_the_baseline_has_these_steps_inputs_first(conf: Path, runtime: Runtime) -> None:
    steps = planned(conf, runtime)
    seen: set[str] = set()
    for step in steps.values():
        assert all(source.key in seen for source in step.inputs.values())
        seen.add(step.key)

    assert list(steps) == EVERYTHING


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("seed=1", TRAINED),
        ("model.adapter.rank=4", TRAINED),
        ("model/pooling=mean", TRAINED),
        ("model/instruction=none", TRAINED),
        ("finetune.learning_rate=1e-5", TRAINED),
        ("finetune.loss.temperature=0.05", TRAINED),
        ("finetune.chunk_tokens=512", TRAINED),
        ("data=synthetic_only", ["natural", "mix", *TRAINED]),
        ("data=english_only", ["mix", *TRAINED]),
        ("data.seed=7", ["mix", *TRAINED]),
        ("generator.filters.alike=0.5", ["synthetic", "mix", *TRAINED]),
        ("natural.limit=10", ["natural", "mix", *TRAINED]),
        ("pretrain.seed=7", ["pretrain", *TRAINED]),
        ("pretrain.pooling.kind=mean", ["pretrain", *TRAINED]),
        ("pretrain.pairs.limit=10", ["weak", "pretrain", *TRAINED]),
        ("pretrain=none", ["weak", "pretrain", *TRAINED]),
        ("finetune=none", ["synthetic", "natural", "mix", *TRAINED]),
        ("model.max_length=64", ["pretrain", *TRAINED]),
        ("model.dtype=bfloat16", ["pretrain", *TRAINED]),
        ("model.normalize=false", TASKS),
        ("model.chunk_tokens=512", TASKS),
        ("eval.tasks=[QuickSTS]", [task for task in TASKS if task != "evaluate/QuickSTS"]),
        ("runtime.workers=1", []),
        ("runtime.threads=2", []),
        ("runtime.store=elsewhere", []),
        ("runtime.device=cpu", []),
    ],
)
def test_blast_radius(conf: Path, runtime: Runtime, override: str, expected: list[str]) -> None:
    assert sorted(changed(planned(conf, runtime), planned(conf, runtime, [override]))) == sorted(expected)


@pytest.mark.parametrize(
    ("arm", "expected"),
    [
        ("synthetic_only", ["natural", "mix", *TRAINED]),
        ("natural_only", ["synthetic", "mix", *TRAINED]),
        ("no_pretraining", ["weak", "pretrain", *TRAINED]),
        ("lora_4", TRAINED),
        ("lora_64", TRAINED),
        ("mean_pooling", TRAINED),
        ("weighted_mean", TRAINED),
        ("no_instruction", TRAINED),
        ("task_type_prefix", TRAINED),
        ("english_only", ["mix", *TRAINED]),
    ],
)
def test_every_arm_of_the_quickstart_changes_exactly_this(conf: Path, runtime: Runtime, arm: str, expected: list[str]) -> None:
    overrides = named(Composer(conf).compose(["sweep=quickstart"])["sweep"], []).overrides()

    assert len(overrides) == 11
    assert sorted(changed(planned(conf, runtime), planned(conf, runtime, overrides[arm]))) == sorted(expected)
    assert changed(planned(conf, runtime), planned(conf, runtime, overrides[BASELINE])) == []


def test_trap_31_the_data_and_its_revision_are_part_of_an_evaluation(conf: Path, runtime: Runtime) -> None:
    spec = planned(conf, runtime)["evaluate/QuickSTS"].spec

    assert len(spec.task.data) == 64
    assert spec.task.revision
    assert spec.task.mteb == "2.26.24"


def test_every_step_has_a_version_and_a_body() -> None:
    assert set(VERSIONS) == set(BODIES)


def test_fingerprints_of_the_baseline_are_golden(conf: Path, runtime: Runtime) -> None:
    """A change of identity is a visible line in a diff: rewrite the file with `python -m tests.golden.rewrite`."""
    found = {label: step.key for label, step in planned(conf, runtime).items()}

    assert found == json.loads(GOLDEN.read_text())


def test_types_judged_without_normalisation_change_their_own_tasks_alone(conf: Path, runtime: Runtime) -> None:
    plain, found = planned(conf, runtime), planned(conf, runtime, ["model.unnormalized=[Classification]"])

    assert changed(plain, found) == ["evaluate/QuickClassification"]
    assert {label for label, step in found.items() if label in TASKS and not step.spec.encoder.normalize} == {
        "evaluate/QuickClassification"
    }


def test_a_type_of_task_that_does_not_exist_is_refused(conf: Path, runtime: Runtime) -> None:
    spec = Composed.of(Composer(conf).compose(["model.unnormalized=[Clasification]"])).decode_run()
    with pytest.raises(ConfigError, match="'Clasification' is no type of task.*Classification"):
        pin(spec, runtime)


def test_a_pooling_the_folder_states_is_that_pooling(conf: Path, runtime: Runtime) -> None:
    untrained = ["model=minilm", "pretrain=none", "finetune=none"]
    by_name, read = (
        plan(pin(Composed.of(Composer(conf).compose([*untrained, f"model/pooling={name}"])).decode_run(), runtime), runtime)
        for name in ("mean", "stated")
    )

    assert not changed(by_name, read)
    with pytest.raises(ConfigError, match="modules.json does not lead to a pooling"):
        pin(Composed.of(Composer(conf).compose(["model/pooling=stated"])).decode_run(), runtime)


def test_fingerprints_put_together_from_parts_are_those_of_the_whole(conf: Path, runtime: Runtime) -> None:
    """The texts of specs are made field by field and shared; the name of a step must not show it."""
    for step in planned(conf, runtime).values():
        inputs = {role: source.fingerprint for role, source in step.inputs.items()}
        whole = {"inputs": inputs, "name": step.name, "spec": plain(step.spec), "version": step.version}

        assert step.fingerprint == fingerprint(whole)
