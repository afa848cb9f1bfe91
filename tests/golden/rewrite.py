"""Rewrites the golden files: `python -m tests.golden.rewrite`. Look at the diff.

Every changed fingerprint is a change of identity; every changed payload digest needs a bump in `sweeps.plan.VERSIONS`.
"""

import json
import tempfile
from pathlib import Path

from harness.runtime import Runtime
from tests.golden.run import PAYLOADS, machine, realize
from tests.sweeps.test_plan import GOLDEN, planned

CONF = Path(__file__).resolve().parents[2] / "conf"
RUNTIME = Runtime("store", "ledger.sqlite", "cpu", 1, 1, 60.0, None, None, None, None, "disabled", "golden")


def main() -> None:
    """Write what the code says now."""
    found = {label: step.key for label, step in planned(CONF, RUNTIME).items()}
    GOLDEN.write_text(json.dumps(found, indent=1) + "\n")
    with tempfile.TemporaryDirectory() as folder:
        PAYLOADS.write_text(json.dumps({"machine": machine(), "steps": realize(Path(folder))}, indent=1) + "\n")


if __name__ == "__main__":
    main()
