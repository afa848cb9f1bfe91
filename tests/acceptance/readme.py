"""Rewrites the quickstart's table in README.md and its picture from a finished store.

    python -m tests.acceptance.readme STORE

The rows with the range over seeds stay in `docs/quickstart.md`; README shows means and differences.
"""

from __future__ import annotations

import io
import subprocess
import sys
from pathlib import Path

from rich.console import Console
from rich.text import Text

from tests.acceptance.quickstart import REPOSITORY

BEGIN, END = "<!-- quickstart:begin -->", "<!-- quickstart:end -->"


def printed(store: Path, form: str) -> str:
    """The table as `reports` prints it."""
    command = [sys.executable, "-m", "reports", "table", "quickstart", "--store", str(store), "--format", form]
    return subprocess.run(command, cwd=REPOSITORY, check=True, capture_output=True, text=True, env={"COLUMNS": "170"}).stdout


def main() -> None:
    """Table into README, all of it into docs/quickstart.md, the terminal into a picture."""
    store = Path(sys.argv[1]).resolve()
    markdown = printed(store, "md")
    (REPOSITORY / "docs" / "quickstart.md").write_text(f"# The quickstart, as it printed it\n\n{markdown}")
    first = markdown.split("**quickstart: arms by language**")[0]
    short = "\n".join(line for line in first.splitlines() if not line.startswith("| range over seeds"))
    readme = (REPOSITORY / "README.md").read_text()
    head, rest = readme.split(BEGIN)
    tail = rest.split(END)[1]
    (REPOSITORY / "README.md").write_text(f"{head}{BEGIN}\n{short.strip()}\n{END}{tail}")
    console = Console(record=True, width=150, file=io.StringIO())
    console.print(Text.from_ansi(printed(store, "term").split("quickstart: arms by language")[0].rsplit("\n", 2)[0]))
    console.save_svg(str(REPOSITORY / "docs" / "img" / "quickstart.svg"), title="python -m harness -m sweep=quickstart")


if __name__ == "__main__":
    main()
