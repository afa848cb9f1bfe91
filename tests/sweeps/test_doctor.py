"""The doctor names what is wrong or missing, never what a key is, and downloads and imports nothing heavy."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from harness.runtime import Runtime
from sweeps import doctor
from sweeps.readiness import readiness

REPOSITORY = Path(__file__).resolve().parents[2]
HEAVY = ("torch", "transformers", "peft", "mteb", "sklearn", "datasets", "wandb")
CANARY = "canary-8c1f-never-print-me"


@pytest.mark.parametrize("form", [[], ["--json"]])
def test_keys_are_never_printed_and_nothing_heavy_is_imported(tmp_path: Path, form: list[str]) -> None:
    probe = (
        "import atexit, json, runpy, sys; "
        f"atexit.register(lambda: sys.stderr.write(json.dumps([n for n in {HEAVY!r} if n in sys.modules]))); "
        "sys.argv = ['sweeps', *sys.argv[1:]]; runpy.run_module('sweeps', run_name='__main__', alter_sys=True)"
    )
    secret = dict.fromkeys(doctor.KEYS, CANARY) | {"HF_ENDPOINT": f"http://user:{CANARY}@127.0.0.1:9"}
    command = [sys.executable, "-W", "ignore", "-c", probe, "doctor", "--store", str(tmp_path / "store"), *form]
    done = subprocess.run(
        command, capture_output=True, text=True, cwd=REPOSITORY, env=os.environ | secret, check=False, timeout=200
    )

    assert "present" in done.stdout
    assert CANARY not in done.stdout + done.stderr
    assert done.stderr.endswith("[]")
    assert not (tmp_path / "store").exists()


def test_a_missing_or_old_package_is_broken_and_an_extra_only_a_note(tmp_path: Path) -> None:
    project = tmp_path / "pyproject.toml"
    project.write_text(
        '[project]\nrequires-python = ">=3.11"\ndependencies = ["numpy>=1", "numpy>=999", "not-there-at-all>=2"]\n'
        '[project.optional-dependencies]\ndev = ["not-there-either"]\n'
    )
    found = list(doctor.installed(project))

    assert [check.verdict for check in found] == ["ok", "ok", "broken", "broken", "note"]
    assert "is not >=999" in found[2].message
    assert "make setup" in found[3].message


def test_store_health_tells_torn_records_from_left_overs(runtime: Runtime, capsys: pytest.CaptureFixture[str]) -> None:
    folder = runtime.store_path / "mix"
    (folder / ("a" * 20)).mkdir(parents=True)
    (folder / f"{'b' * 20}.partial").mkdir()
    assert {check.verdict for check in doctor.health(runtime.store_path)} == {"broken", "note"}
    (folder / ("a" * 20) / "record.json").write_text("{")
    found = list(doctor.health(runtime.store_path))

    assert [(check.verdict, check.name[:5]) for check in found] == [("broken", "mix/a"), ("note", "mix/b")]
    assert doctor.report(found, as_json=True) == 1
    assert json.loads(capsys.readouterr().out)[0]["verdict"] == "broken"
    assert doctor.report(found[1:], as_json=True) == 0


def test_what_an_ablation_needs_is_told_once(conf: Path) -> None:
    missing = ["model.backbone={kind: folder, name: nowhere, sha256: auto}"]
    (found,) = [one for one in readiness(conf, missing, None) if one.name == "quickstart"]

    assert found.verdict == "needs"
    assert found.arms == 11
    assert len(found.problems) == 1
    assert "runtime.models" in found.message
