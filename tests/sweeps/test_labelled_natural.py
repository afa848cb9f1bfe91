"""Labelled pairs as the natural half of a mix: planned by their bytes, refused where they are missing, built and mixed."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from generators.labelled import LabelledSpec
from harness.config import ConfigError, decode
from harness.identity import plain
from harness.pairs import read_pairs
from harness.runtime import Runtime
from harness.step import Step
from harness.store import Store
from sweeps.compose import Composer
from sweeps.plan import pin, plan
from sweeps.spec import Composed
from sweeps.steps import body_of
from tests.generators.test_hub_sets import copy, rows_of, shipped


def planned(conf: Path, runtime: Runtime, *overrides: str) -> dict[str, Step]:
    spec = Composed.of(Composer(conf).compose(overrides)).decode_run()
    return plan(pin(spec, runtime), runtime)


def with_sources(runtime: Runtime, folder: Path) -> Runtime:
    return replace(runtime, sources=str(folder))


def test_a_file_of_ones_own_enters_by_its_bytes(conf: Path, runtime: Runtime, tmp_path: Path) -> None:
    runtime = with_sources(runtime, tmp_path)
    rows = [json.dumps({"query": f"query {n}", "positive": f"positive {n}"}) for n in range(4)]
    (tmp_path / "one.jsonl").write_text("\n".join(rows))
    (tmp_path / "other.jsonl").write_text("\n".join(rows[:3]))
    one, other = (
        planned(conf, runtime, "natural=files", f"natural.sets.own.file={name}.jsonl")["natural"] for name in ("one", "other")
    )

    assert one.name == "labelled"
    assert decode(LabelledSpec, plain(one.spec)) == one.spec, "a worker plans again from what the parent writes down"
    assert len(one.spec.sets["own"].sha256) == 64
    assert one.fingerprint != other.fingerprint
    with pytest.raises(ConfigError, match=r"natural: own: there is no file .*gone\.jsonl"):
        planned(conf, runtime, "natural=files", "natural.sets.own.file=gone.jsonl")


def test_the_papers_fourteen_sets_are_gathered_and_mixed(conf: Path, runtime: Runtime, tmp_path: Path) -> None:
    """From copies in the hub's layout, three rows in every file; a set that is not there is named before anything is built."""
    runtime = with_sources(runtime, tmp_path / "hub")
    overrides = (
        "natural=paper",
        "data=natural_only",
        "natural.sets.msmarco_document.ratio=1.0",
        "natural.sets.quora.ratio=1.0",
    )
    names = list(Composer(conf).compose(overrides)["natural"]["sets"])
    for name in names[1:]:
        copy(shipped(name), tmp_path / "hub", rows_of(name))
    with pytest.raises(ConfigError, match=rf"natural: {names[0]}: .* is neither|natural: {names[0]}: .* has no"):
        planned(conf, runtime, *overrides)
    copy(shipped(names[0]), tmp_path / "hub", rows_of(names[0]))
    steps = planned(conf, runtime, *overrides)
    store = Store(runtime.store_path)
    for label in ("natural", "mix"):
        store.realize(steps[label], body_of(steps[label]), runtime)
    natural = read_pairs(store.payload(steps["natural"]) / "pairs.parquet")
    mixed = read_pairs(store.payload(steps["mix"]) / "pairs.parquet")

    assert len(names) == 14
    assert set(Counter(pair.source for pair in natural)) == set(names)
    assert {pair.language for pair in natural if pair.source == "miracl"} >= {"Arabic", "Swahili", "Chinese"}
    assert all(len(pair.negatives) <= 1 for pair in natural)
    assert {pair.identity for pair in mixed} == {pair.identity for pair in natural}
