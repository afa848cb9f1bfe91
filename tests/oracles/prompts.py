"""Rewrites tests/golden/prompts.json. Run it after a template got a new version, and read the diff."""

import importlib.util
import json
from pathlib import Path

from generators.prompts import TEMPLATES

TESTS = Path(__file__).parents[1]
spec = importlib.util.spec_from_file_location("test_prompts", TESTS / "generators" / "test_prompts.py")
assert spec is not None
assert spec.loader is not None
module = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)
golden = {template.name: module.rendered(template) for template in TEMPLATES}
(TESTS / "golden" / "prompts.json").write_text(json.dumps(golden, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
print(f"{len(golden)} templates, {sum(map(len, golden.values()))} prompts")
