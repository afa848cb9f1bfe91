"""Versions are honest: a step whose payload changed on the same input must carry another version.

What is only text and selection is compared byte by byte everywhere. Computed numbers are bytes of one kind of machine: there
they are compared as such, elsewhere by the losses they came with.
"""

import json
from pathlib import Path

import pytest

from tests.golden.run import PAYLOADS, machine, realize

COMPUTED = ("pretrain", "finetune", "evaluate")
EXACT = ("synthesize", "mined", "mix")


def test_a_changed_payload_has_a_changed_version(tmp_path: Path) -> None:
    """If this fails: bump the step in `sweeps.plan.VERSIONS`, then `python -m tests.golden.rewrite`."""
    golden = json.loads(PAYLOADS.read_text())
    found = realize(tmp_path)

    assert list(found) == list(golden["steps"])
    for label, now in found.items():
        then = golden["steps"][label]
        assert now["version"] == then["version"], f"{label}: rewrite the golden file after a bump"
        if now["step"] in EXACT or machine() == golden["machine"]:
            assert now["digest"] == then["digest"], f"{label}: other bytes under version {now['version']} of {now['step']}"
        if "losses" in then:
            assert now["losses"] == pytest.approx(then["losses"], rel=1e-3)


def test_every_kind_of_step_is_golden() -> None:
    kinds = {entry["step"] for entry in json.loads(PAYLOADS.read_text())["steps"].values()}

    assert kinds == {*COMPUTED, *EXACT}


def test_the_same_run_again_in_the_same_process_gives_the_same_bytes(tmp_path: Path) -> None:
    assert realize(tmp_path / "one") == realize(tmp_path / "two")
