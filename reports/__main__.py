"""The command line of the reports: `python -m reports COMMAND ...`.

Only argparse is imported here; what a command does stands in `commands.py`, so that `--help` answers at once.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import Any

USAGE = 4  # what a wrong command line or an unreadable record exits with, everywhere in reports
RUN_HELP = "SWEEP[@id][:arm[:seed]] (the latest id when left out), a sweep's folder, an import, or reference:TABLE"
FORMATS = ("term", "md", "csv", "tex", "html")


def parser() -> argparse.ArgumentParser:
    """The whole command line."""
    top = argparse.ArgumentParser(prog="python -m reports", description="Tables, comparisons and verdicts from records.")
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")
    scores = _command(commands, "scores", "every score as a CSV row, 0 to 100", runs="+")
    scores.add_argument("--every-metric", action="store_true", help="all metrics mteb reports, not only each task's main one")
    table = _command(commands, "table", "baseline first, arms with their differences and intervals", runs="+")
    table.add_argument("--format", choices=FORMATS, default="term")
    table.add_argument("--reference", metavar="TABLE", default="", help="rows of a published table beside ours, e.g. paper:T5")
    table.add_argument("--layout", default="", help="task_types, tasks, languages, bitext, or T1 T2 T4 T5 T6 T7 T17")
    compare = _command(commands, "compare", "two runs: what differs in configuration, scores, items and cost", runs=2)
    compare.add_argument("--format", choices=("term", "md"), default="term")
    compare.add_argument("--data", type=Path, metavar="DIR", help="the folder that was runtime.data: the words of its items")
    types = _command(commands, "types", "which task types differ beyond chance between two rows", runs=2)
    types.add_argument("--format", choices=FORMATS, default="term")
    power = _command(commands, "power", "seeds and items needed to find a wanted effect, from a sweep's own noise", runs=1)
    power.add_argument("--effect", type=float, required=True, metavar="POINTS")
    page = _command(commands, "html", "a self-contained page: no network, no CDN", runs="+")
    page.add_argument("-o", "--out", type=Path, default=Path("reports-html"), metavar="DIR", help="default: %(default)s")
    board = _command(
        commands, "wandb", "the same tables as a W&B report: a file, and with --push a draft on the server", runs="+"
    )
    board.add_argument("-o", "--out", type=Path, default=Path("reports-wandb"), metavar="DIR", help="default: %(default)s")
    board.add_argument("--push", metavar="ENTITY/PROJECT", help="save a draft there")
    board.add_argument("--timeout", type=float, default=60, metavar="SECONDS", help="for the server (default: %(default)s)")
    _gate(commands)
    _published(commands)
    return top


def _gate(commands: Any) -> None:
    judge = _command(commands, "gate", "exit 0 pass, 1 regression, 2 inconclusive, 3 not comparable or incomplete, 4 usage")
    judge.add_argument("--baseline", required=True, metavar="NAME_OR_FILE", help="a baseline's name or folder")
    judge.add_argument("--candidate", required=True, metavar="RUN", help=RUN_HELP)
    judge.add_argument("--policy", default="default", help="conf/gate/NAME.yaml or a path (default: %(default)s)")
    for form in ("junit", "summary", "json"):
        judge.add_argument(f"--{form}", type=Path, metavar="FILE", help=f"write the verdict as {form}")
    baseline = _command(commands, "baseline", "set NAME RUN, list, or show NAME: what gates compare with")
    baseline.add_argument("action", choices=("set", "list", "show"))
    baseline.add_argument("name", nargs="?", metavar="NAME")
    baseline.add_argument("run", nargs="?", metavar="RUN", help=RUN_HELP)
    for command in (judge, baseline):
        command.add_argument("--baselines", type=Path, default=Path("baselines"), metavar="DIR", help="default: ./baselines")


def _published(commands: Any) -> None:
    published = _command(commands, "import", "MTEB result files of others as rows")
    published.add_argument("folder", type=Path, metavar="DIR", help="<model>/<revision>/<Task>.json, or one level of it")
    published.add_argument("--name", required=True, help="what the import is called as a RUN")
    published.add_argument("--benchmark", default="MTEB(eng, v1)", help="whose tasks and subsets count (default: %(default)s)")
    published.add_argument("--cosine-ap", action="store_true", help="pair classification by cosine AP, as in papers of 2023")
    reference = _command(commands, "reference", "list, show or check the tables of papers that are kept as data")
    reference.add_argument("table", nargs="?", metavar="TABLE", help="paper:T5, or `check`: does Table 1 follow from Table 17?")


def _command(commands: Any, name: str, text: str, runs: str | int | None = None) -> argparse.ArgumentParser:
    command: argparse.ArgumentParser = commands.add_parser(name, help=text, description=text)
    if runs is not None:
        command.add_argument("runs", nargs=runs, metavar="RUN", help=RUN_HELP)
    default = Path(os.environ.get("HARNESS_STORE", "store"))
    command.add_argument("--store", type=Path, default=default, metavar="DIR", help="default: HARNESS_STORE or ./store")
    return command


def main(argv: list[str] | None = None) -> int:
    """Run one command; returns its exit code."""
    try:
        arguments = parser().parse_args(argv)
    except SystemExit as stop:  # argparse exits with 2, which is a verdict here
        return USAGE if stop.code else 0
    from reports import commands

    try:
        return commands.run(arguments)
    except BrokenPipeError:  # `| head` closed the pipe; point stdout elsewhere so that the exit stays quiet
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as error:
        if not commands.foreseen(error):
            raise
        print(f"reports: {error}", file=sys.stderr)
        return USAGE


if __name__ == "__main__":
    sys.exit(main())
