"""`reports wandb`: the same comparison as a W&B report, out of our own report model.

The model (`model_of`) is plain data made from records alone: question, verdict, tables, which runs, which panels. It is
written to a file first and tested offline; turning it into wandb-workspaces' objects and saving it happens in a process of
its own with a bound on its time, so that an unreachable, hanging or refusing server costs a message, never the report.
wandb is imported here and in `harness/tracker.py` only.
"""

from __future__ import annotations

import json
import sys
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.config import ConfigError, Problem, decode
from harness.record import write_json
from harness.tracker_server import PROBE_SECONDS, ServerError, bounded, probe
from reports import inert, render
from reports.frame import Frame
from reports.tables import Table

if TYPE_CHECKING:
    import wandb_workspaces.reports.v2 as wr

QUOTES = "'\"\\"


@dataclass(frozen=True)
class Panel:
    """One chart over the runs: a curve over training steps, or a bar per arm of a final score."""

    kind: str
    """`curve` or `bar`."""
    title: str
    x: str
    y: str


@dataclass(frozen=True)
class RunSet:
    """The runs of a sweep, as `harness.tracker` names them: one group per sweep, tagged and configured by arm."""

    name: str
    group: str
    group_by: str


@dataclass(frozen=True)
class Section:
    """A heading and what stands below it: Markdown, then panels over runs."""

    heading: str
    markdown: str
    run_sets: tuple[RunSet, ...]
    panels: tuple[Panel, ...]


@dataclass(frozen=True)
class ReportModel:
    """A report, before anybody's API."""

    title: str
    description: str
    sections: tuple[Section, ...]


def model_of(frame: Frame, tables: list[Table], verdict: str) -> ReportModel:
    """The report of one sweep; raises ConfigError if its name cannot stand in a filter."""
    sweep = frame.sweep
    group = f"{sweep.name}@{sweep.id}"
    if any(character in group for character in QUOTES):
        raise ConfigError([Problem("sweep", f"{group!r} has a quote, which W&B's filters cannot hold")])
    runs = (RunSet("by arm", group, "arm"),)
    labels = [label for label in ("pretrain", "finetune") if any(label in run.steps for run in sweep.runs)]
    curves = tuple(Panel("curve", f"{label}: loss", f"{label}/step", f"{label}/loss") for label in labels)
    bars = tuple(Panel("bar", name, "", f"scores/{name}") for name in ("mean", *frame.suite))
    sections = (
        Section("Verdict", inert.markdown(verdict), (), ()),
        *(Section(table.title, render.markdown(replace(table, answer="")), (), ()) for table in tables),
        Section("Scores by arm", "", runs, bars),
        Section("Training", "", runs, curves),
    )
    return ReportModel(f"{sweep.name}: {sweep.question}", verdict, sections)


def write_model(path: Path, model: ReportModel) -> None:
    """Write the report model as strict JSON."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, asdict(model))


def report_of(model: ReportModel, entity: str, project: str, *, server: bool) -> wr.Report:
    """The model as a wandb-workspaces report. Without `server`, run sets name no project: resolving one asks the server."""
    import wandb_workspaces.reports.v2 as wr

    where = {"entity": entity, "project": project} if server else {}
    blocks: list[Any] = []
    for section in model.sections:
        blocks.append(wr.H2(section.heading))
        if section.markdown:
            blocks.append(wr.MarkdownBlock(section.markdown))
        if section.panels:
            sets = [
                wr.Runset(name=one.name, filters=f"Metric('Group') = '{one.group}'", groupby=[one.group_by], **where)
                for one in section.run_sets
            ]
            blocks.append(wr.PanelGrid(runsets=sets, panels=[_panel(panel) for panel in section.panels]))
    return wr.Report(entity=entity, project=project, title=model.title, description=model.description, blocks=blocks)


def _panel(panel: Panel) -> Any:
    import wandb_workspaces.reports.v2 as wr

    if panel.kind == "curve":
        return wr.LinePlot(title=panel.title, x=panel.x, y=[panel.y])
    return wr.BarPlot(title=panel.title, metrics=[wr.SummaryMetric(panel.y)])


def push(path: Path, entity: str, project: str, seconds: float) -> str:
    """Save a written model as a draft report, in at most `seconds`; returns an empty text, or why it is not saved."""
    command = [sys.executable, "-m", "reports.wandb_report", str(path), entity, project]
    ends = time.monotonic() + seconds
    try:
        probe(min(seconds, PROBE_SECONDS))
        print(bounded(command, ends - time.monotonic(), "saving the report").strip().splitlines()[-1])
    except ServerError as error:
        return str(error)
    return ""


def main() -> None:
    """`python -m reports.wandb_report MODEL ENTITY PROJECT`: save a report; what `push` starts and bounds."""
    path, entity, project = sys.argv[1:]
    model = decode(ReportModel, json.loads(Path(path).read_text(encoding="utf-8")))
    report = report_of(model, entity, project, server=True)
    report.save(draft=True)
    print(report.url)


if __name__ == "__main__":
    main()
