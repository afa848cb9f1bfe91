"""The command line of the reports: `python -m reports {scores,table} RUN...`.

Everything but argparse is imported when a command needs it, so that `--help` answers at once.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

USAGE = 4  # what a wrong command line or an unreadable record exits with, everywhere in reports
RUN_HELP = "SWEEP[@id][:arm[:seed]], the latest id when left out, or a path to a sweep's folder"


def parser() -> argparse.ArgumentParser:
    """The whole command line."""
    top = argparse.ArgumentParser(prog="python -m reports", description="Tables, comparisons and verdicts from records.")
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")
    scores = commands.add_parser("scores", help="every score as a CSV row, 0 to 100")
    _runs(scores)
    scores.add_argument("--every-metric", action="store_true", help="all metrics mteb reports, not only each task's main one")
    table = commands.add_parser("table", help="baseline first, arms with their differences")
    _runs(table)
    table.add_argument("--format", choices=("term", "md", "csv"), default="term")
    return top


def _runs(command: argparse.ArgumentParser) -> None:
    command.add_argument("runs", nargs="+", metavar="RUN", help=RUN_HELP)
    default = Path(os.environ.get("HARNESS_STORE", "store"))
    command.add_argument("--store", type=Path, default=default, help="default: HARNESS_STORE or ./store")


def main(argv: list[str] | None = None) -> int:
    """Run one command; returns its exit code."""
    top = parser()
    try:
        arguments = top.parse_args(argv)
    except SystemExit as stop:  # argparse exits with 2, which is a verdict here
        return USAGE if stop.code else 0
    from harness.record import RecordError
    from harness.scores import ScoreError
    from harness.sweep_record import SweepRecordError
    from reports.load import RunError

    try:
        return {"scores": _scores, "table": _table}[arguments.command](arguments)
    except (RunError, SweepRecordError, RecordError, ScoreError) as error:
        print(f"reports: {error}", file=sys.stderr)
        return USAGE
    except BrokenPipeError:  # `| head` closed the pipe; point stdout elsewhere so that the exit stays quiet
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


def _scores(arguments: argparse.Namespace) -> int:
    from reports.listing import write_scores_csv
    from reports.load import load

    frames = load(arguments.store, arguments.runs, with_baseline=False)
    for line in write_scores_csv(frames, sys.stdout, every_metric=arguments.every_metric):
        print(f"reports: {line}", file=sys.stderr)
    return 0


def _table(arguments: argparse.Namespace) -> int:
    from reports import render
    from reports.effects import Evidence
    from reports.load import load
    from reports.tables import arms_by_language, arms_by_task_type

    tables = []
    for frame in load(arguments.store, arguments.runs, with_baseline=True):
        evidence = Evidence(frame)
        both = (arms_by_task_type(frame, evidence), arms_by_language(frame, evidence))
        tables += [table for table in both if table is not None]
    if arguments.format == "csv":
        sys.stdout.write(render.as_csv(tables))
    elif arguments.format == "md":
        sys.stdout.write("\n".join(render.markdown(table) for table in tables))
    else:
        sys.stdout.write(render.terminal_text(tables))
    return 0


if __name__ == "__main__":
    sys.exit(main())
