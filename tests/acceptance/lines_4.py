"""The lines of issue 4: tables one can believe."""

from tests.acceptance.line import Line, pytest

LINES = (
    Line(4, 1, "Table 17 in, Table 1 out but for one printed digit; the authors' files 66.6, the reruns 66.46, never 65.42",
         ("python", "-m", "tests.acceptance.table_one")),
    Line(4, 2, "2,000 tables and gates a design from real items: coverage, family-wise error, false alarms, power as printed",
         pytest("-m", "slow", "-s", "tests/reports/test_simulation.py")),
    Line(4, 3, "synthetic only against the full data of Table 17: README has the table that the command prints",
         ("python", "-m", "tests.acceptance.readme", "check", "table17")),
    Line(4, 4, "five run folders, five shell lines, every exit code of the gate; junitparser reads its JUnit",
         ("python", "-m", "tests.acceptance.gate_lines")),
    Line(4, 4, "LaTeX compiled by texlive, the page in Chromium without a network: the pictures in docs/img",
         ("python", "-m", "tests.acceptance.pictures")),
    Line(4, 5, "hostile text in every renderer: inert",
         pytest("tests/reports/test_hostile.py")),
    Line(4, 6, "README's table of the quickstart is the one that the quickstart prints, intervals and all",
         ("python", "-m", "tests.acceptance.readme", "check", "quickstart")),
    Line(4, 7, "W&B: golden report model; an unreachable, a hanging and a refusing server cost a bounded wait and nothing else",
         pytest("tests/reports/test_wandb_report.py", "tests/harness/test_tracker.py")),
)  # fmt: skip
