"""The command line of the reports: `python -m reports {scores,table} RUN...`.

Everything but argparse is imported when a command needs it, so that `--help` answers at once.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from reports.tables import Table

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
    table.add_argument("--format", choices=("term", "md", "csv", "tex", "html"), default="term")
    table.add_argument("--reference", metavar="TABLE", default="", help="rows of a published table beside ours, e.g. paper:T5")
    table.add_argument("--layout", default="", help="columns: task_types, tasks, languages, bitext, or T1 T2 T4 T5 T6 T7 T17")
    page = commands.add_parser("html", help="a self-contained page: no network, no CDN")
    _runs(page)
    page.add_argument("-o", "--out", type=Path, default=Path("reports-html"), metavar="DIR", help="default: %(default)s")
    published = commands.add_parser("import", help="MTEB result files of others as rows")
    published.add_argument("folder", type=Path, metavar="DIR", help="<model>/<revision>/<Task>.json, or one level of it")
    published.add_argument("--name", required=True, help="what the import is called as a RUN")
    published.add_argument(
        "--benchmark", default="MTEB(eng, v1)", help="whose tasks, splits and subsets count (default: %(default)s)"
    )
    published.add_argument("--cosine-ap", action="store_true", help="pair classification by cosine AP, as in papers of 2023")
    _store(published)
    reference = commands.add_parser("reference", help="list, show or check the tables of papers that are kept as data")
    reference.add_argument("table", nargs="?", metavar="TABLE", help="paper:T5, or `check`: does Table 1 follow from Table 17?")
    _store(reference)
    return top


def _runs(command: argparse.ArgumentParser) -> None:
    command.add_argument("runs", nargs="+", metavar="RUN", help=RUN_HELP)
    _store(command)


def _store(command: argparse.ArgumentParser) -> None:
    default = Path(os.environ.get("HARNESS_STORE", "store"))
    command.add_argument("--store", type=Path, default=default, help="default: HARNESS_STORE or ./store")


def main(argv: list[str] | None = None) -> int:
    """Run one command; returns its exit code."""
    top = parser()
    try:
        arguments = top.parse_args(argv)
    except SystemExit as stop:  # argparse exits with 2, which is a verdict here
        return USAGE if stop.code else 0
    commands = {"scores": _scores, "table": _table, "html": _html, "import": _import, "reference": _reference}
    try:
        return commands[arguments.command](arguments)
    except BrokenPipeError:  # `| head` closed the pipe; point stdout elsewhere so that the exit stays quiet
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as error:
        if not _foreseen(error):
            raise
        print(f"reports: {error}", file=sys.stderr)
        return USAGE


def _foreseen(error: Exception) -> bool:
    """Whether an error already says what was wrong and what to do: no traceback helps then."""
    from harness.config import ConfigError
    from harness.record import RecordError
    from harness.scores import ScoreError
    from harness.sweep_record import SweepRecordError
    from reports.load import RunError
    from reports.published import PublishedError
    from reports.reference import UnknownReferenceError

    known = (ConfigError, RecordError, ScoreError, SweepRecordError, RunError, PublishedError, UnknownReferenceError)
    return isinstance(error, known)


def _scores(arguments: argparse.Namespace) -> int:
    from reports.listing import write_scores_csv
    from reports.load import load

    frames = load(arguments.store, arguments.runs, with_baseline=False)
    for line in write_scores_csv(frames, sys.stdout, every_metric=arguments.every_metric):
        print(f"reports: {line}", file=sys.stderr)
    return 0


def _table(arguments: argparse.Namespace) -> int:
    from reports.effects import Evidence
    from reports.load import load
    from reports.tables import sweep_tables

    tables = []
    for frame in load(arguments.store, arguments.runs, with_baseline=True):
        tables += sweep_tables(frame, Evidence(frame), layout=arguments.layout, reference=arguments.reference)
    sys.stdout.write(formatted(tables, arguments.format))
    return 0


def formatted(tables: list[Table], form: str) -> str:
    """Tables in one of the formats."""
    from reports import html, latex, render

    if form == "term":
        return render.terminal_text(tables)
    if form == "md":
        return "\n".join(render.markdown(table) for table in tables)
    return {"csv": render.as_csv, "tex": latex.document, "html": html.fragment}[form](tables)


def _html(arguments: argparse.Namespace) -> int:
    from reports.effects import Evidence, find
    from reports.html import page
    from reports.layouts import columns_of
    from reports.load import load
    from reports.tables import sweep_tables
    from reports.verdict import verdict

    arguments.out.mkdir(parents=True, exist_ok=True)
    for frame in load(arguments.store, arguments.runs, with_baseline=True):
        evidence = Evidence(frame)
        findings = find(evidence, columns_of(frame, frame.sweep.table))
        tables = sweep_tables(frame, evidence)
        path = arguments.out / f"{frame.sweep.name}.html"
        path.write_text(page(frame, tables, findings, verdict(frame, findings)), encoding="utf-8")
        print(f"wrote {path}")
    return 0


def _import(arguments: argparse.Namespace) -> int:
    from reports.published import read_published, write_published

    found = read_published(arguments.folder, arguments.name, arguments.benchmark, cosine_ap=arguments.cosine_ap)
    path = write_published(arguments.store, found)
    for model in found.models:
        filled = (
            f", {len(model.filled)} of them filled from {', '.join(sorted(set(model.filled.values())))}" if model.filled else ""
        )
        print(f"{model.label}: {len(model.tasks)} tasks{filled}, {len(model.missing)} missing")
    print(f"wrote {path}; show it with: python -m reports table {arguments.name}")
    return 0


def _reference(arguments: argparse.Namespace) -> int:
    from reports.reference import disagreements, names, read_reference

    if arguments.table is None:
        for name in names():
            print(f"{name.replace('.', ':', 1):32} {read_reference(name).title}")
    elif arguments.table == "check":
        found = disagreements(arguments.store)
        print(f"Table 1 from Table 17: printed digits that differ: {len(found)}")
        for digit in found:
            print(f"  {digit}")
    else:
        table = read_reference(arguments.table)
        print(f"{table.title}\n{table.source}; {table.confidence}\n{table.notes}".strip())
        print("\n".join("\t".join("" if cell is None else str(cell) for cell in row) for row in (table.columns, *table.rows)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
