"""Line 4.4, first half: every exit code of the gate from committed run folders, and its JUnit file in a JUnit reader.

`tests/reports/runs/lines.txt` has a shell line per exit code; `tests/oracles/gate_runs.py` wrote the folders, with verdicts
known by construction.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

from junitparser import Error, Failure, JUnitXml

from tests.acceptance.quickstart import REPOSITORY, require

RUNS = REPOSITORY / "tests" / "reports" / "runs"
EXPECTED = {0: (0, 0), 1: (1, 0), 2: (0, 1), 3: (0, 2)}
"""Failures and errors of the JUnit file by exit code; with a usage error there is no verdict and no file."""


def main() -> None:
    """Run the five lines as a shell does."""
    lines = [line.split(" ", 1) for line in (RUNS / "lines.txt").read_text(encoding="utf-8").splitlines()]
    folders = sorted(path.parent.name for path in RUNS.glob("*/baseline.json"))
    require(len(folders) == 5, f"five committed run folders: {', '.join(folders)}")
    require([code for code, _ in lines] == list("01234"), "a shell line for each of the five exit codes")
    for code, line in lines:
        with tempfile.TemporaryDirectory() as folder:
            check(int(code), line, Path(folder) / "gate.xml")


def check(code: int, line: str, report: Path) -> None:
    """One shell line: its exit code, and what a JUnit reader makes of the file."""
    print(f"$ {line}; echo $?", flush=True)
    shell = f"{line.replace('python', sys.executable, 1)} --junit {report}"
    done = subprocess.run(shell, shell=True, cwd=REPOSITORY, capture_output=True, text=True, check=False)  # noqa: S602 - ours
    print(f"{done.stdout}{done.stderr}{done.returncode}", flush=True)
    require(done.returncode == code, f"exit code {code}")
    if code not in EXPECTED:
        require(not report.exists(), "a usage error writes no verdict")
        return
    (suite,) = JUnitXml.fromfile(str(report))
    outcomes = [outcome for case in suite for outcome in case.result]
    counts = tuple(sum(isinstance(one, kind) for one in outcomes) for kind in (Failure, Error))
    require((suite.failures, suite.errors) == counts == EXPECTED[code], f"junitparser reads {counts} failures and errors")
    require(all(one.message for one in outcomes) and suite.tests == len(list(suite)) >= 2, f"in {suite.tests} test cases")


if __name__ == "__main__":
    main()
