"""Lines 2.5 and 5.3: each of these traps has at least one test named after its number, and all of them pass unskipped.

python -m tests.acceptance.traps [NUMBER ... [WORD ...]]        words name further tests to run
"""

from __future__ import annotations

import re
import subprocess
import sys

from tests.acceptance.quickstart import REPOSITORY, require

TRAPS = (*range(1, 12), *range(21, 26), 28, 31, 36, *range(43, 46), *range(48, 51))


def main() -> None:
    """Collect by name, check that no number is missing, run them."""
    asked = tuple(int(text) for text in sys.argv[1:] if text.isdigit()) or TRAPS
    words = [text for text in sys.argv[1:] if not text.isdigit()]
    expression = " or ".join([*(f"trap_{number:02d}_" for number in asked), *words])
    base = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-k", expression]
    listed = subprocess.run([*base, "--collect-only", "-q"], cwd=REPOSITORY, capture_output=True, text=True, check=False).stdout
    found = {int(number) for number in re.findall(r"test_trap_(\d+)_", listed)}
    for number in asked:
        require(number in found, f"trap {number} has a test of its number")
    sys.exit(subprocess.run([*base, "-q", "-rs"], cwd=REPOSITORY, check=False).returncode)


if __name__ == "__main__":
    main()
