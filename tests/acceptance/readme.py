"""The generated parts of README.md: written from what commands print, and compared with it.

    python -m tests.acceptance.readme write STORE                     the quickstart's table out of a store, and Table 17's
    python -m tests.acceptance.readme check quickstart|table17

A part stands between `<!-- NAME:begin -->` and `<!-- NAME:end -->`. README shows means and differences of the quickstart; the
rows with the range over seeds stay in `docs/quickstart.md`. `check quickstart` runs the ablation in the default store, where a
second run takes a second.
"""

from __future__ import annotations

import difflib
import io
import os
import re
import sys
from pathlib import Path

from rich.console import Console
from rich.text import Text

from tests.acceptance.quickstart import REPOSITORY, harness, require
from tests.acceptance.reading import printed

README = REPOSITORY / "README.md"
LANGUAGES = "quickstart: arms by language"
TABLE_17 = ("types", "reference:paper.T17:full data", "reference:paper.T17:synthetic only", "--format", "md")


def split(name: str) -> tuple[str, str, str]:
    """README before, within and after a part."""
    begin, end = f"<!-- {name}:begin -->\n", f"\n<!-- {name}:end -->"
    head, _, rest = README.read_text().partition(begin)
    part, _, tail = rest.partition(end)
    if not tail:
        sys.exit(f"README.md has no part {begin.strip()} ... {end.strip()}")
    return head + begin, part, end + tail


def short(markdown: str) -> str:
    """The quickstart's first table without the ranges over seeds."""
    first = markdown.partition(f"**{LANGUAGES}**")[0]
    return "\n".join(line for line in first.splitlines() if not line.startswith("| range over seeds")).strip()


def write(store: Path) -> None:
    """Tables into README, all of the quickstart's into docs/quickstart.md, the terminal into a picture."""
    os.environ["COLUMNS"] = "170"
    markdown = printed("table", "quickstart", "--format", "md", store=store)
    (REPOSITORY / "docs" / "quickstart.md").write_text(f"# The quickstart, as it printed it\n\n{markdown}")
    for name, text in (("quickstart", short(markdown)), ("table17", printed(*TABLE_17).strip())):
        head, _, tail = split(name)
        README.write_text(head + text + tail)
    console = Console(record=True, width=150, file=io.StringIO())
    terminal = printed("table", "quickstart", store=store)
    console.print(Text.from_ansi(terminal.partition(LANGUAGES)[0].rsplit("\n", 2)[0]))
    console.save_svg(str(REPOSITORY / "docs" / "img" / "quickstart.svg"), title="python -m harness -m sweep=quickstart")


def check(name: str) -> None:
    """Print what a command says now, and end with 1 where README says something else."""
    now = printed(*TABLE_17).strip() if name == "table17" else quickstart()
    print(now)
    _, there, _ = split(name)
    print("\n".join(difflib.unified_diff(there.splitlines(), now.splitlines(), "README.md", "printed now", lineterm="")))
    require(there == now, f"README's part {name} is what the command prints")


def quickstart() -> str:
    """Run the quickstart as `make sweep` does, without a tracker; its table must call some arms different or none, by name."""
    store = REPOSITORY / "store"
    said = harness("-m", "sweep=quickstart", store=store).stdout
    found = re.findall(r"quickstart@([0-9a-f]{8})", said)
    require(bool(found), "the quickstart printed which sweep it is")
    table = short(printed("table", f"quickstart@{found[-1]}", "--format", "md", store=store))
    differences = [line for line in table.splitlines() if line.startswith("| Δ ")]
    require(len(differences) == 10 and all("±" in line for line in differences), "ten arms, each with intervals")
    require("simulated level" in table and "design finds a true difference of" in table, "level and power are printed")
    return table


if __name__ == "__main__":
    {"write": lambda text: write(Path(text).resolve()), "check": check}[sys.argv[1]](sys.argv[2])
