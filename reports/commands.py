"""What each command of `python -m reports` does; every one returns its exit code and says what it wrote where."""

from __future__ import annotations

import argparse
import os
import sys
from dataclasses import replace

from harness.config import ConfigError
from harness.record import RecordError
from harness.scores import ScoreError
from harness.sweep_record import SweepRecordError
from reports.baselines import BaselineError
from reports.frame import Frame
from reports.load import RunError, load
from reports.published import PublishedError
from reports.reference import UnknownReferenceError
from reports.tables import Table

FORESEEN = (
    ConfigError, RecordError, ScoreError, SweepRecordError, RunError, PublishedError, UnknownReferenceError, BaselineError,
)  # fmt: skip


def foreseen(error: Exception) -> bool:
    """Whether an error already says what was wrong and what to do: no traceback helps then."""
    return isinstance(error, FORESEEN)


def run(arguments: argparse.Namespace) -> int:
    """Run the command that was parsed."""
    commands = {
        "scores": scores, "table": table, "compare": compare, "types": types, "power": power, "html": html, "gate": gate,
        "baseline": baseline, "import": import_results, "reference": reference,
        "wandb": wandb,
    }  # fmt: skip
    return commands[arguments.command](arguments)


def scores(arguments: argparse.Namespace) -> int:
    """Every score as CSV on stdout; what is missing on stderr."""
    from reports.listing import write_scores_csv

    frames = load(arguments.store, arguments.runs, with_baseline=False)
    for line in write_scores_csv(frames, sys.stdout, every_metric=arguments.every_metric):
        print(f"reports: {line}", file=sys.stderr)
    return 0


def table(arguments: argparse.Namespace) -> int:
    """The tables of every sweep named."""
    from reports.effects import Evidence
    from reports.parts_cache import cache_of
    from reports.tables import sweep_tables

    tables = []
    for frame in load(arguments.store, arguments.runs, with_baseline=True):
        evidence = Evidence(frame, cache=cache_of(frame))
        tables += sweep_tables(frame, evidence, layout=arguments.layout, reference=arguments.reference)
        evidence.cache.save()
    sys.stdout.write(formatted(tables, arguments.format))
    return 0


def formatted(tables: list[Table], form: str) -> str:
    """Tables in one of the formats."""
    from reports import html as pages
    from reports import latex, render

    if form == "term":
        return render.terminal_text(tables)
    if form == "md":
        return "\n".join(render.markdown(one) for one in tables)
    return {"csv": render.as_csv, "tex": latex.document, "html": pages.fragment}[form](tables)


def html(arguments: argparse.Namespace) -> int:
    """One page per sweep."""
    from reports.effects import Evidence, find
    from reports.html import page
    from reports.layouts import columns_of
    from reports.notes import verdict
    from reports.parts_cache import cache_of
    from reports.tables import sweep_tables

    arguments.out.mkdir(parents=True, exist_ok=True)
    for frame in load(arguments.store, arguments.runs, with_baseline=True):
        evidence = Evidence(frame, cache=cache_of(frame))
        findings = find(evidence, columns_of(frame, frame.sweep.table))
        path = arguments.out / f"{frame.sweep.name}.html"
        text = page(frame, sweep_tables(frame, evidence), findings, verdict(frame, findings))
        path.write_text(text, encoding="utf-8")
        evidence.cache.save()
        print(f"wrote {path}")
    return 0


def gate(arguments: argparse.Namespace) -> int:
    """Judge a candidate; the verdict is the exit code."""
    from reports import gate_output
    from reports.baselines import baseline_frame, find_baseline
    from reports.gate import INCONCLUSIVE, NOT_COMPARABLE, PASS, Verdict, read_policy
    from reports.gate import gate as judge

    policy = read_policy(arguments.policy)
    folder = find_baseline(arguments.baseline, arguments.baselines)
    names = (folder.name, arguments.candidate)
    try:
        verdict = judge(baseline_frame(folder), one_arm(arguments, arguments.candidate), policy)
    except (RecordError, ScoreError, BaselineError) as error:  # a measurement that cannot be believed must not pass
        verdict = Verdict(NOT_COMPARABLE, "a measurement cannot be read", (str(error),), (), (), None)
    sys.stdout.write(gate_output.text(verdict))
    outputs = {"junit": gate_output.junit(verdict), "json": gate_output.as_json(verdict, *names)}
    for form, text in (outputs | {"summary": gate_output.summary(verdict, *names)}).items():
        if path := getattr(arguments, form):
            path.write_text(text, encoding="utf-8")
            print(f"wrote {path}")
    if os.environ.get("GITHUB_ACTIONS") == "true":
        sys.stdout.write(gate_output.github(verdict))
    if verdict.code == INCONCLUSIVE and policy.inconclusive == "warn":
        print("warning: inconclusive; the policy lets that pass", file=sys.stderr)
        return PASS
    return verdict.code


def one_arm(arguments: argparse.Namespace, text: str) -> Frame:
    """The runs of one arm; a sweep without an arm means its baseline."""
    (frame,) = load(arguments.store, [text], with_baseline=False)
    arm = frame.arm_names[0] if len(frame.arm_names) == 1 else frame.sweep.baseline
    return replace(frame, runs=frame.of_arm(arm))


def baseline(arguments: argparse.Namespace) -> int:
    """Set, list or show baselines."""
    from reports.baselines import baselines, find_baseline, read_baseline, set_baseline

    if arguments.action == "list":
        for name in baselines(arguments.baselines):
            found = read_baseline(arguments.baselines / name)
            print(f"{name:24} {found.source}, seeds {list(found.seeds)}, {len(found.tasks)} tasks, {found.digest[:12]}")
        return 0
    if not arguments.name or (arguments.action == "set" and not arguments.run):
        raise RunError("usage: baseline set NAME RUN, or baseline show NAME")
    if arguments.action == "set":
        found = set_baseline(arguments.store, arguments.run, arguments.name, arguments.baselines)
        print(f"wrote {arguments.baselines / arguments.name}: {len(found.files)} files, digest {found.digest[:12]}; commit it")
        return 0
    found = read_baseline(find_baseline(arguments.name, arguments.baselines))
    print(f"{found.name}: arm {found.arm} of {found.source}, seeds {list(found.seeds)}, digest {found.digest}")
    print("\n".join(f"  {task}" for task in found.tasks))
    return 0


def import_results(arguments: argparse.Namespace) -> int:
    """Read result files that others published and keep them in the store."""
    from reports.published import read_published, write_published

    found = read_published(arguments.folder, arguments.name, arguments.benchmark, cosine_ap=arguments.cosine_ap)
    path = write_published(arguments.store, found)
    for model in found.models:
        sources = ", ".join(sorted(set(model.filled.values())))
        filled = f" ({len(model.filled)} of them from {sources})" if model.filled else ""
        print(f"{model.label}: {len(model.tasks)} tasks{filled}, {len(model.missing)} missing")
    print(f"wrote {path}; show it with: python -m reports table {arguments.name}")
    return 0


def reference(arguments: argparse.Namespace) -> int:
    """List, show or check the tables of papers."""
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
        one = read_reference(arguments.table)
        print(f"{one.title}\n{one.source}; {one.confidence}\n{one.notes}".strip())
        print("\n".join("\t".join("" if cell is None else str(cell) for cell in row) for row in (one.columns, *one.rows)))
    return 0


def compare(arguments: argparse.Namespace) -> int:
    """Two runs side by side."""
    from reports.compare import compare_runs

    left, right = (one_arm(arguments, text) for text in arguments.runs)
    whole = None
    if left.sweep.runs and left.sweep == right.sweep:  # seed noise is pooled over all arms of the sweep, as in its table
        (whole,) = load(arguments.store, [arguments.runs[0].partition(":")[0]], with_baseline=True)
    sections = compare_runs(left, right, whole, arguments.data)
    sys.stdout.write(sections.text(arguments.format))
    return 0


def types(arguments: argparse.Namespace) -> int:
    """Which task types differ beyond chance between two rows of one frame."""
    from reports.compare import side_by_side
    from reports.differences import types_table

    left, right = (one_arm(arguments, text) for text in arguments.runs)
    sys.stdout.write(formatted([types_table(side_by_side(left, right))], arguments.format))
    return 0


def power(arguments: argparse.Namespace) -> int:
    """Seeds and items that a wanted effect needs."""
    from reports.power import power_text

    (frame,) = load(arguments.store, arguments.runs, with_baseline=True)
    sys.stdout.write(power_text(frame, arguments.effect))
    return 0


def wandb(arguments: argparse.Namespace) -> int:
    """Write the W&B report of every sweep named as a file; with --push, save it on the server too."""
    from reports.effects import Evidence, find
    from reports.layouts import columns_of
    from reports.notes import verdict
    from reports.tables import sweep_tables
    from reports.wandb_report import model_of, push, write_model

    failed = False
    for frame in load(arguments.store, arguments.runs, with_baseline=True):
        evidence = Evidence(frame)
        answer = verdict(frame, find(evidence, columns_of(frame, frame.sweep.table)))
        path = arguments.out / f"{frame.sweep.name}.wandb-report.json"
        write_model(path, model_of(frame, sweep_tables(frame, evidence), answer))
        print(f"wrote {path}")
        if arguments.push:
            entity, _, project = arguments.push.partition("/")
            why = push(path.resolve(), entity, project, arguments.timeout)
            failed = failed or bool(why)
            if why:
                print(f"reports: not saved on W&B: {why}; {path} is kept, run the same command again", file=sys.stderr)
    return 1 if failed else 0
