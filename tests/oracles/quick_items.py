"""Writes tests/reports/items: the quick benchmark judged with two bags of words, real scores and items of all eight types.

python tests/oracles/quick_items.py
"""

from __future__ import annotations

import importlib.util
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

from harness.evaluate import evaluate
from harness.instructions import Natural
from harness.step import silent
from harness.tasks import Quick, plan_tasks, quick
from harness.tasks.prompts import PaperPrompts

ROOT = Path(__file__).parents[2]
OUT = ROOT / "tests" / "reports" / "items"


def main() -> None:
    """Judge both encoders and keep what reports read."""
    words = _encoder_class()
    for name in ("words", "other words"):
        for spec in plan_tasks(Quick("quick", tuple(quick.TASKS), PaperPrompts("paper"), "2.26.24"), None):
            with tempfile.TemporaryDirectory() as scratch:
                evaluate(spec, Natural("natural"), words(name), Path(scratch), None, silent, {})
                folder = OUT / name.replace(" ", "_") / spec.name
                folder.mkdir(parents=True, exist_ok=True)
                for file in ("scores.json", "items.parquet"):
                    shutil.copyfile(Path(scratch) / file, folder / file)


def _encoder_class() -> Any:
    path = ROOT / "tests" / "harness" / "conftest.py"
    module_spec = importlib.util.spec_from_file_location("harness_conftest", path)
    assert module_spec is not None
    assert module_spec.loader is not None
    module = importlib.util.module_from_spec(module_spec)
    sys.modules["harness_conftest"] = module
    module_spec.loader.exec_module(module)
    return module.WordEncoder


if __name__ == "__main__":
    main()
