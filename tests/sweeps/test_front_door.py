"""`python -m harness`: bad input costs a second and nothing else; the parent never imports torch."""

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
HEAVY = ("torch", "transformers", "peft", "mteb", "sklearn", "datasets", "wandb")

PROBE = f"""
import atexit, json, runpy, sys
atexit.register(lambda: print("MODULES " + json.dumps([name for name in {HEAVY!r} if name in sys.modules])))
sys.argv = ["harness", *sys.argv[1:]]
runpy.run_module("harness", run_name="__main__", alter_sys=True)
"""


def harness(*arguments: str) -> tuple[int, str, list[str]]:
    """Exit code, everything printed (one space between words), heavy modules that were imported."""
    done = subprocess.run(
        [sys.executable, "-c", PROBE, *arguments], capture_output=True, text=True, cwd=REPOSITORY, timeout=120, check=False
    )
    printed, _, modules = done.stdout.rpartition("MODULES ")
    return done.returncode, " ".join((printed + done.stderr).split()), json.loads(modules)


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["model.adapter.rnk=4", "model/pooling=men"], ["model.adapter.rank", "'mean'"]),
        (["model.adapter.rank=0"], ["model.adapter", "rank", "greater than 0"]),
        (["model.adapter.rank='4'"], ["model.adapter", "rank", "valid integer"]),
        (["-m", "sweep=quickstrat"], ["sweep", "'quickstart'"]),
        (["sweep=quickstart"], ["add -m"]),
        (["-m", "sweep=quickstart", "only=[lora_5]"], ["lora_5", "lora_4"]),
        (["eval.tasks=[QuickSST]"], ["QuickSST", "QuickSTS"]),
        (["eval=local", "eval.tasks=[STSBenchmrk]", "runtime.data=/tmp"], ["STSBenchmrk", "STSBenchmark"]),
        (["eval=local", "eval.tasks=[STSBenchmark]", "runtime.data=/nowhere"], ["STSBenchmark", "/nowhere"]),
        (["data.languages=[]"], ["data", "may not be empty"]),
        (["model=minilm", "model.backbone.distribution=not-installed"], ["not-installed"]),
        (["-m", "seed=1"], ["nothing is swept"]),
        (["-m", "sweep=quickstart", "sweep.primary=QuickSTSS"], ["QuickSTSS", "QuickSTS"]),
    ],
)
def test_bad_input_names_the_key_and_the_remedy_and_runs_nothing(
    stand_in: list[str], tmp_path: Path, arguments: list[str], named: list[str]
) -> None:
    given = {argument.split("=")[0] for argument in arguments}
    minilm = "model=minilm" in arguments
    usual = [text for text in stand_in if text.split("=")[0] not in given and not (minilm and text.startswith("model."))]
    flags = [argument for argument in arguments if argument.startswith("-")]
    code, printed, modules = harness(*flags, *usual, *(argument for argument in arguments if argument not in flags))

    assert code == 4
    for word in named:
        assert word in printed
    assert "nothing was run" in printed
    assert modules == []
    assert not (tmp_path / "store" / "sweeps").exists()


def test_what_every_arm_has_wrong_is_told_once(stand_in: list[str]) -> None:
    code, printed, _ = harness("-m", *stand_in, "sweep=quickstart", "finetune.batch_size=1", "finetune.steps=0")

    assert code == 4
    assert "2 problems" in printed
    assert printed.count("batch_size") == printed.count("finetune.steps") == 1


def test_preview_runs_nothing_and_imports_nothing_heavy(stand_in: list[str], tmp_path: Path) -> None:
    code, printed, modules = harness("-m", *stand_in, "sweep=quickstart", "preview=true")

    assert code == 0
    assert "22 finetune" in printed
    assert "176 evaluate" in printed
    assert "1 pretrain" in printed
    assert modules == []
    assert not (tmp_path / "store" / "finetune").exists()


def test_help_and_errors_answer_in_about_a_second() -> None:
    harness("--help")
    seconds = []
    for _ in range(3):
        started = time.process_time(), time.monotonic()
        code, printed, modules = harness("--help")
        seconds.append(time.monotonic() - started[1])

    assert code == 0
    assert "model" in printed
    assert modules == []
    assert min(seconds) < 3.0, "a second on an idle machine; three on one that is busy with other tests"
