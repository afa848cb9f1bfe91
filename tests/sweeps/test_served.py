"""A model behind a server is an arm that is judged, never trained, and says so before anything runs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from harness.config import ConfigError
from harness.runtime import Endpoint, Runtime
from harness.server import ServerSpec
from sweeps.compose import Composer
from sweeps.plan import EvaluateSpec, pin, plan
from sweeps.spec import Composed, RunSpec

CONF = Path(__file__).parents[2] / "conf"
UNTRAINED = ("pretrain=none", "finetune=none")


def composed(*overrides: str) -> RunSpec:
    return Composed.of(Composer(CONF).compose(["model=server", "model.name=words", *overrides])).decode_run()


def with_endpoint(runtime: Runtime, url: str) -> Runtime:
    return replace(runtime, endpoints=(Endpoint("words", url, None),))


def test_the_address_is_no_part_of_a_step_and_the_stated_revision_is(runtime: Runtime) -> None:
    first, moved = (with_endpoint(runtime, url) for url in ("http://a/v1", "http://b/v1"))
    steps = plan(pin(composed(*UNTRAINED), first), first)
    again = plan(pin(composed(*UNTRAINED), moved), moved)
    newer = plan(pin(composed(*UNTRAINED, "model.revision='2'"), first), first)

    assert {label.split("/")[0] for label in steps} == {"evaluate"}
    assert all(isinstance(step.spec, EvaluateSpec) and isinstance(step.spec.encoder, ServerSpec) for step in steps.values())
    assert [step.key for step in steps.values()] == [step.key for step in again.values()]
    assert not {step.key for step in steps.values()} & {step.key for step in newer.values()}


def test_a_server_without_an_address_or_with_training_is_refused(runtime: Runtime) -> None:
    with pytest.raises(ConfigError) as refused:
        pin(composed(), runtime)

    found = str(refused.value)
    assert "has no server for model.name 'words'" in found
    assert "choose pretrain=none" in found
    assert "choose finetune=none" in found
