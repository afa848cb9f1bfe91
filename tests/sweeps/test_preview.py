"""Costs foretold: sums that remember what they lack, wall time by simulation, rates only of like work."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from harness.step import Step
from harness.store import Store
from sweeps import run as engine
from sweeps.ablation import named
from sweeps.compose import Composer
from sweeps.cost import Amount, Cost, Costs
from sweeps.graph import Graph, Node
from sweeps.preview import duration, foretell, preview, short, wall_seconds
from sweeps.run import Planned, plan_sweep
from sweeps.spec import Composed
from sweeps.throughput import Throughput, speed_key


def chain(*names: str, source: Step | None = None) -> list[Step]:
    """Steps that each read the one before."""
    steps: list[Step] = []
    for name in names:
        last = steps[-1] if steps else source
        steps.append(Step("mix", 1, {"name": name}, {} if last is None else {"from": last}, name))
    return steps


def nodes(*steps: Step) -> dict[str, Node]:
    return Graph.of([(f"{step.label}:0", {step.label: step}, {}) for step in steps]).nodes


def test_wall_time_is_the_longest_lane() -> None:
    first = chain("a", "b", "c")
    second = chain("d")
    seconds = {"a": 1.0, "b": 2.0, "c": 3.0, "d": 4.0}

    both = nodes(*first, *second)
    assert wall_seconds(both, lambda step: seconds[step.label], 1) == 10
    assert wall_seconds(both, lambda step: seconds[step.label], 2) == 6, "a chain cannot be shared out"
    assert wall_seconds({}, lambda _: 1.0, 2) == 0


@given(st.lists(st.floats(0, 100), min_size=1, max_size=12), st.integers(1, 4))
def test_wall_time_lies_between_the_ideal_and_one_worker(lengths: list[float], workers: int) -> None:
    steps = [chain(f"s{i}")[0] for i in range(len(lengths))]
    seconds = {step.label: length for step, length in zip(steps, lengths, strict=True)}
    wall = wall_seconds(nodes(*steps), lambda step: seconds[step.label], workers)

    assert max(*lengths, sum(lengths) / workers) - 1e-6 <= wall <= sum(lengths) + 1e-6


def test_sums_remember_what_they_lack() -> None:
    total = Cost(texts=Amount(5)) + Cost(texts=Amount.of(None), seconds=Amount(1.5))

    assert total.texts == Amount(5, 1)
    assert total.seconds == Amount(1.5)
    assert total.requests == Amount()


def finished(root: Path, kind: str, name: str, spec: Any, measured: Any, training: Any = None) -> None:
    """A finished step by hand."""
    folder = root / kind / name
    (folder / "payload").mkdir(parents=True)
    inputs = {"pairs": {"step": "mix", "fingerprint": "p", "digest": "d"}}
    (folder / "record.json").write_text(json.dumps({"spec": spec, "inputs": inputs}))
    (folder / "measured.json").write_text(json.dumps({"hardware": "here", **measured}))
    if training:
        (folder / "payload" / "training.json").write_text(json.dumps(training))


def spec_of(backbone: str, kind: str = "lora") -> dict[str, Any]:
    return {
        "backbone": {"name": backbone}, "dtype": "float32", "attention": "causal", "adapter": {"kind": kind}, "max_length": 64,
        "instruction": {"kind": "none"}, "train": {"activations": "keep", "negatives": 1, "steps": 10, "batch_size": 4},
    }  # fmt: skip


def test_rates_are_taken_only_from_like_work_on_like_hardware(tmp_path: Path) -> None:
    measured = {"seconds": 12.0, "train_seconds": 10.0, "tokens_per_second": 100.0}
    finished(tmp_path, "finetune", "a", spec_of("small"), measured, {"tokens": 1000, "examples": 40})
    finished(tmp_path, "finetune", "b", spec_of("large"), {**measured, "hardware": "elsewhere"}, {"tokens": 9, "examples": 1})
    encoder = {"encoder": spec_of("small"), "task": {"name": "QuickSTS"}}
    finished(tmp_path, "evaluate", "c", encoder, {"seconds": 30.0, "texts_asked": 300})
    found = Throughput.measured(tmp_path, "here")

    assert found.training(spec_of("small"), 500) == pytest.approx(2 + 5)
    assert found.training(spec_of("small", "full"), 500) is None, "full training has another speed"
    assert found.training(spec_of("large"), 500) is None, "measured on other hardware"
    assert found.length("finetune", spec_of("small"), "p") == 25
    assert found.length("pretrain", spec_of("small"), "p") is None
    small, large = speed_key(spec_of("small")), speed_key(spec_of("large"))
    assert found.evaluation(small, "QuickSTS", 300) == 30
    assert found.evaluation(small, "QuickBitext", 50) == 5, "by texts where the task is new"
    assert found.evaluation(small, "QuickBitext", None) is None
    assert found.evaluation(large, "QuickSTS", 50) is None
    assert found.other("mix") is None


@pytest.fixture
def quickstart(conf: Path, stand_in: list[str], monkeypatch: pytest.MonkeyPatch) -> Planned:
    monkeypatch.setattr(engine, "_conf", conf)
    composer = Composer(conf)
    ablation = named(composer.compose(["sweep=quickstart"])["sweep"], stand_in)
    return plan_sweep("quickstart", ablation, Composed.of(composer.compose(stand_in)).decode_runtime())


def test_the_quickstart_is_counted_before_anything_is_there(quickstart: Planned) -> None:
    found = foretell(quickstart)

    assert len(found.missing) == len(found.graph.nodes) == 206
    assert found.total.requests == Amount(1164), "1,110 examples and 54 brainstorms"
    assert found.total.training_steps == Amount(22 * 12 + 60)
    assert found.total.texts == Amount(22 * 2204)
    assert found.total.training_tokens == Amount(0, 23), "nothing to tokenise yet, and that is said"
    assert found.total.seconds == Amount(0, 206)
    assert [row.name for row in found.rows][:2] == ["shared by arms", "baseline"]
    assert sum(row.missing for row in found.rows[1:]) > 206, "shared steps stand in every arm, their cost in one row"
    assert sum(row.cost.texts.known for row in found.rows) == found.total.texts.known


def test_whether_activations_are_kept_is_shown(quickstart: Planned, capsys: pytest.CaptureFixture[str]) -> None:
    preview(quickstart, Console(width=160))

    printed = capsys.readouterr().out
    assert printed.count("finetune: 12 steps of 64 pairs, 1,024 tokens a pass, all activations kept") == 1
    assert "pretrain: 60 steps of 64 pairs, 2,048 tokens a pass" in printed
    assert "synthetic_only" in printed


def test_what_is_there_costs_nothing(quickstart: Planned) -> None:
    step = next(step for step in quickstart.runs[0][1].values() if step.name == "synthesize")
    folder = Store(quickstart.store.root).folder(step)
    folder.mkdir(parents=True)
    (folder / "record.json").write_text("{}")

    assert foretell(quickstart).total.requests == Amount()
    assert Costs(quickstart.store, quickstart.runtime).of(step).requests == Amount(1164)


@pytest.mark.parametrize(
    ("text", "expected"), [(short(999), "999"), (short(12_345), "12.3 k"), (duration(80), "80 s"), (duration(600), "10 min"),
                           (duration(7200), "2.0 h"), (short(4.19e6), "4.19 M")],
)  # fmt: skip
def test_figures_for_people(text: str, expected: str) -> None:
    assert text == expected
