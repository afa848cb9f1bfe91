"""Line 6.4: the recorded corpus through `python -m generators`; the card and the figure are the committed ones."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.acceptance.quickstart import REPOSITORY, require

COMMITTED = REPOSITORY / "docs" / "img" / "seed_corpus"


def main() -> None:
    """Generate, count, compare."""
    with tempfile.TemporaryDirectory(prefix="recorded-") as folder:
        for filters in ("strict", "paper"):
            out = Path(folder) / filters
            command = [sys.executable, "-m", "generators", "-o", str(out), "generator=recorded", f"generator/filters={filters}"]
            subprocess.run(command, cwd=REPOSITORY, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            counts = json.loads((out / "counts.json").read_text())
            rejected = sum(counts["rejected"].values())
            print(f"{filters}: {counts['accepted']} accepted, rejected by reason: {counts['rejected'] or 'none'}")
            answers = [json.loads(line) for line in (out / "answers.jsonl").read_text().splitlines()]
            examples = sum(answer["stage"] == "example" for answer in answers)
            require(counts["accepted"] + rejected == examples == 1110, f"{filters}: every recorded answer has a verdict")
        for path in sorted(COMMITTED.iterdir()):
            made = Path(folder) / "strict" / "card" / path.name
            require(made.read_bytes() == path.read_bytes(), f"{path.relative_to(REPOSITORY)} is what this run made")
        require(len(list(COMMITTED.iterdir())) == 2, "a card and a figure are committed")


if __name__ == "__main__":
    main()
