"""Declared training data are mteb's, share for share, and reading them imports nothing heavy."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from harness import training_data

SUITES = ("MTEB(eng, v1)", "MTEB(eng, v2)", "MTEB(Multilingual, v2)")


def test_what_is_committed_is_what_the_installed_mteb_declares() -> None:
    assert json.loads(training_data.FILE.read_text(encoding="utf-8")) == json.loads(json.dumps(training_data.generate()))
    assert training_data.FILE.stat().st_size < 400_000


def test_every_model_has_seen_what_mteb_says_and_every_share_is_mtebs() -> None:
    import mteb

    suites = {name: [task.metadata.name for task in mteb.get_benchmark(name).tasks] for name in SUITES}
    shares = set()
    for meta in mteb.get_model_metas():
        expected = meta.get_training_datasets()
        assert training_data.seen(meta.name) == expected, meta.name
        if expected is not None and meta.name in training_data._data()["models"]:
            for tasks in suites.values():
                shares.add(share := training_data.zero_shot_share([meta.name], tasks))
                overlap = len(expected & set(tasks)) / len(set(tasks))
                assert share == int(100 - 100 * overlap)
    e5 = mteb.get_model_meta("intfloat/e5-mistral-7b-instruct")

    assert len(shares) > 20, "premise: models differ"
    for tasks in suites.values():
        assert training_data.zero_shot_share([e5.name], tasks) == e5.zero_shot_percentage(tasks)


def test_what_is_not_declared_is_not_known() -> None:
    assert training_data.seen("nobody/nothing") is None
    assert training_data.zero_shot_share(["nobody/nothing"], ["SciFact"]) is None
    assert training_data.zero_shot_share(["FacebookAI/xlm-roberta-large", "nobody/nothing"], ["SciFact"]) is None
    assert training_data.zero_shot_share(["FacebookAI/xlm-roberta-large"], []) is None
    assert training_data.zero_shot_share([], ["SciFact"]) is None


@pytest.mark.parametrize(
    ("models", "share"),
    [
        (["FacebookAI/xlm-roberta-large"], 100),
        (["intfloat/e5-mistral-7b-instruct"], 50),
        (["FacebookAI/xlm-roberta-large", "intfloat/e5-mistral-7b-instruct"], 50),
    ],
)
def test_models_side_by_side_have_seen_what_any_of_them_has(models: list[str], share: int) -> None:
    assert training_data.zero_shot_share(models, ["FEVER", "SciFact"]) == share


def test_reading_imports_nothing_heavy() -> None:
    code = (
        "import sys; from harness import training_data; training_data.seen('intfloat/e5-mistral-7b-instruct');"
        "print([m for m in ('mteb', 'torch', 'datasets', 'transformers', 'pydantic') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == "[]"
