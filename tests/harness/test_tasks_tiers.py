"""A tier holds what its rule says, and its file states what the oracle finds."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from tests.oracles.tiers import COUNTS, figures, scores, tier

CONF = Path(__file__).resolve().parents[2] / "conf" / "eval"


@pytest.mark.parametrize("name", COUNTS)
def test_a_tier_states_how_well_it_stands_for_the_whole(name: str) -> None:
    text = (CONF / f"mteb_eng_v1_{name}.yaml").read_text(encoding="utf-8")
    tasks = yaml.safe_load(text)["tasks"]
    found = figures(tasks)

    assert tasks == tier(COUNTS[name])
    assert f"correlation {found.correlation:.2f}," in text
    assert f"error {found.error:.1f} points" in text


def test_the_whole_suite_stands_for_itself() -> None:
    found = figures(list(scores()))

    assert len(scores()) == 56
    assert found.correlation == pytest.approx(1)
    assert found.error == pytest.approx(0)
