"""A vector depends on the real tokens alone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from harness.kinds import kind_of, members
from models.pooling import Cls, LastToken, Mean, Pooling, PoolingError, WeightedMean, pool, stated

ALL = [member(kind_of(member)) for member in members(Pooling)]


def by_hand(spec: Any, row: torch.Tensor) -> torch.Tensor:
    """The pooling of one unpadded row, written as its definition reads."""
    if spec.kind == "last_token":
        return row[len(row) - 1]
    if spec.kind == "cls":
        return row[0]
    weights = [i + 1 if isinstance(spec, WeightedMean) else 1 for i in range(len(row))]
    return sum(w * state for w, state in zip(weights, row, strict=True)) / sum(weights)  # type: ignore[no-any-return]


@pytest.mark.parametrize("spec", ALL, ids=lambda s: s.kind)
@pytest.mark.parametrize("side", ["right", "left", "both"])
def test_trap_05_padding_on_any_side_changes_nothing(spec: Any, side: str) -> None:
    rows = [torch.randn(n, 8, dtype=torch.float64) for n in (1, 3, 7)]
    hidden, mask = torch.randn(3, 9, 8, dtype=torch.float64), torch.zeros(3, 9, dtype=torch.long)
    for i, row in enumerate(rows):
        start = {"right": 0, "left": 9 - len(row), "both": 1}[side]
        hidden[i, start : start + len(row)], mask[i, start : start + len(row)] = row, 1

    assert not mask.all()
    torch.testing.assert_close(pool(spec, hidden, mask), torch.stack([by_hand(spec, row) for row in rows]))


@pytest.mark.parametrize("spec", ALL, ids=lambda s: s.kind)
def test_no_argument_is_changed(spec: Any) -> None:
    hidden, mask = torch.randn(2, 4, 8), torch.tensor([[1, 1, 0, 0], [1, 1, 1, 1]])
    before = hidden.clone(), mask.clone()

    pool(spec, hidden, mask)

    assert torch.equal(hidden, before[0])
    assert torch.equal(mask, before[1])


@pytest.mark.parametrize("spec", ALL, ids=lambda s: s.kind)
def test_half_precision_states_give_float32_vectors(spec: Any) -> None:
    assert pool(spec, torch.randn(2, 4, 8, dtype=torch.bfloat16), torch.ones(2, 4)).dtype is torch.float32


def test_poolings_differ() -> None:
    """Premise of every test above: four poolings are four functions."""
    hidden = torch.randn(1, 5, 8)
    found = torch.cat([pool(spec, hidden, torch.ones(1, 5)) for spec in ALL])

    assert (torch.cdist(found, found) + torch.eye(len(ALL)) > 0.1).all()


def sentence_transformers_folder(folder: Path, config: dict[str, Any]) -> Path:
    (folder / "1_Pooling").mkdir(parents=True)
    modules = [{"path": "", "type": "a.Transformer"}, {"path": "1_Pooling", "type": "sentence_transformers.models.Pooling"}]
    (folder / "modules.json").write_text(json.dumps(modules))
    (folder / "1_Pooling" / "config.json").write_text(json.dumps(config))
    return folder


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({"pooling_mode": "lasttoken"}, LastToken("last_token")),
        ({"pooling_mode_mean_tokens": True, "pooling_mode_cls_token": False}, Mean("mean")),
        ({"pooling_mode_cls_token": True, "pooling_mode_max_tokens": False}, Cls("cls")),
        ({"pooling_mode_weightedmean_tokens": True}, WeightedMean("weighted_mean")),
    ],
)
def test_a_folder_says_how_it_is_pooled(config: dict[str, Any], expected: Any, tmp_path: Path) -> None:
    assert stated(sentence_transformers_folder(tmp_path / "st", config)) == expected


BOTH = {"pooling_mode_mean_tokens": True, "pooling_mode_cls_token": True}


@pytest.mark.parametrize("config", [{"pooling_mode": "max"}, {"pooling_mode_max_tokens": True}, {}, BOTH])
def test_a_pooling_that_is_not_ours_is_refused(config: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(PoolingError, match="none of ours; choose model/pooling"):
        stated(sentence_transformers_folder(tmp_path / "st", config))


def test_a_folder_that_says_nothing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PoolingError, match="does not lead to a pooling"):
        stated(tmp_path)
