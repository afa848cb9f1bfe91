"""`make acceptance`: every line of "It shows" of every issue, as a command that is run and watched.

    python -m tests.acceptance                 all lines
    python -m tests.acceptance 2               the lines of issue 2
    python -m tests.acceptance 2.3 2.5         these lines

A line is shown when its command exits with 0 and skipped nothing. What was skipped is printed with its reason; a skip is not
a pass. Exit code 0 only if every line asked for is shown.
"""

from __future__ import annotations

import re
import subprocess
import sys
import time
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from tests.acceptance.line import Line
from tests.acceptance.lines import LINES

REPOSITORY = Path(__file__).resolve().parents[2]
SKIP = 77  # what a script exits with when it cannot be run here


def run(line: Line, console: Console) -> tuple[str, str]:
    """Run a line's command with its output shown; returns (shown | skipped | failed, detail)."""
    console.rule(f"{line.name} {escape(line.claim)}", align="left")
    console.print(f"$ {escape(' '.join(line.command))}", style="dim", soft_wrap=True)
    process = subprocess.Popen(
        [sys.executable, *line.command[1:]] if line.command[0] == "python" else line.command,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=REPOSITORY,
    )  # fmt: skip
    printed = []
    assert process.stdout is not None
    for text in process.stdout:
        sys.stdout.write(text)
        printed.append(text)
    code = process.wait()
    skipped = [text.strip() for text in printed if re.match(r"SKIPPED|XFAIL", text)]
    skipped += [text.strip() for text in printed if re.search(r"\b[1-9]\d* (skipped|deselected, 0)", text)][:1]
    if code == SKIP or (code == 0 and skipped):
        return "skipped", "; ".join(skipped) or (printed[-1].strip() if printed else "")
    return ("shown", "") if code == 0 else ("failed", f"exit code {code}")


def main() -> None:
    """Run the lines asked for and print the verdicts."""
    asked = sys.argv[1:]
    chosen = [line for line in LINES if not asked or line.name in asked or str(line.issue) in asked]
    if unknown := [name for name in asked if not any(name in (line.name, str(line.issue)) for line in LINES)]:
        sys.exit(f"no such line: {', '.join(unknown)}; there are {', '.join(line.name for line in LINES)}")
    console = Console(highlight=False)
    table = Table("line", "claim", "verdict", "seconds", "detail", title="It shows")
    verdicts = []
    for line in chosen:
        started = time.monotonic()
        verdict, detail = run(line, console)
        verdicts.append(verdict)
        colour = {"shown": "green", "skipped": "yellow", "failed": "red"}[verdict]
        table.add_row(
            line.name, escape(line.claim), f"[{colour}]{verdict}[/]", f"{time.monotonic() - started:.0f}", escape(detail)
        )
    console.print(table)
    console.print(f"{verdicts.count('shown')} of {len(verdicts)} lines shown")
    sys.exit(0 if set(verdicts) == {"shown"} else 1)


if __name__ == "__main__":
    main()
