"""The shipped decoder on all eight types: the same bytes twice, shuffled, beside another model, one text a batch or many."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from harness.config import decode
from harness.identity import folder_digest
from harness.items import main_from_items
from harness.scores import read_items, read_scores
from harness.tasks import TaskSpec
from models.encoder import ModelSpec, TorchEncoder, load_encoder
from sweeps.compose import Composer

CONF = Path(__file__).resolve().parents[2] / "conf"

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]


def loaded(chunk_tokens: int, *overrides: str) -> TorchEncoder:
    fields = Composer(CONF).compose(["model=tiny", *overrides])["model"]
    spec = replace(decode(ModelSpec, fields).encoder(), chunk_tokens=chunk_tokens)
    return load_encoder(spec, [], None, "cpu")


def digests(judge: Any, specs: Iterable[TaskSpec], encoder: Any) -> dict[str, str]:
    return {spec.name: folder_digest(judge(spec, encoder)) for spec in specs}


def test_every_type_scores_the_same_whatever_surrounds_it(quick_specs: dict[str, TaskSpec], judge: Any) -> None:
    """`chunk_tokens` of 1 is a batch of one text; 8192 holds 64 texts of the longest that is asked for."""
    specs = list(quick_specs.values())
    encoder, other = loaded(1024), loaded(1024, "model/pooling=mean")
    expected = digests(judge, specs, encoder)
    others = digests(judge, specs[:3], other)
    single, many = loaded(1), loaded(64 * 128)

    assert {spec.task_type for spec in specs} >= {"Retrieval", "Reranking", "STS", "PairClassification", "Classification"}
    assert len(specs) == 8
    assert not set(others.values()) & set(expected.values()), "premise: another model"
    assert digests(judge, specs[::-1], encoder) == expected, "again, in another order, after another model"
    assert digests(judge, specs, single) == expected
    assert digests(judge, specs, many) == expected
    texts = [f"text {i}" for i in range(200)]
    for size, model in ((1, single), (64, many)):
        rows: list[int] = []
        embed = model._network.embed
        model._network.embed = lambda part, width=None, e=embed, r=rows: (r.append(len(part)), e(part, width))[1]  # type: ignore[method-assign, misc]
        model.encode(texts)
        assert min(max(rows), 64) == size, "premise: rows of a batch"


def test_main_scores_follow_from_item_files_alone(quick_specs: dict[str, TaskSpec], judge: Any) -> None:
    encoder = loaded(1024)
    for spec in quick_specs.values():
        out = judge(spec, encoder)
        found = main_from_items(spec.task_type, spec.main, read_items(out / "items.parquet"))
        for row in read_scores(out / "scores.json").subsets:
            assert found[row.split, row.subset] == pytest.approx(row.main, abs=1e-9)
