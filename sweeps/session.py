"""One sitting of a sweep: preview or build, then say what happened, show the table, and project onto the tracker.

The table and the projection are other programs (`reports`, `harness.tracker`), started as such: this floor does not import
them, and neither can take the sweep down with it.
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

from rich.console import Console
from rich.markup import escape

from harness.inert import visible_lines
from harness.sweep_record import Failure, read_failures, write_failures, write_sweep
from sweeps.equality import suspicious_equalities
from sweeps.executor import Outcome, execute
from sweeps.graph import Graph
from sweeps.preflight import check_generators
from sweeps.run import Planned, reported, stale_steps
from sweeps.view import View, safe

TRACKER_TIMEOUT = 120  # seconds the projection may take; a dead server costs this much once, never a result
WIDE = 160  # columns of a table that no terminal shows
INCOMPLETE = 1
INTERRUPTED = 130


def preview(planned: Planned) -> None:
    """Print what would be built and what it would cost; runs nothing."""
    from sweeps.preview import preview as show

    watched = sys.stdout.isatty() or "COLUMNS" in os.environ
    console = Console(soft_wrap=True, width=None if watched else WIDE)
    _headline(console, planned)
    show(planned, console)


def build(planned: Planned, *, retry: str | None, started: float) -> int:
    """Build what is missing and report; returns the exit code."""
    console = Console(soft_wrap=True)
    _headline(console, planned)
    if stale := stale_steps(planned):
        console.print(f"[red]{len(stale)} finished steps cannot be used:[/]")
        for message in stale:
            console.print(f"  {safe(message)}", highlight=False, soft_wrap=True)
        return INCOMPLETE
    graph = Graph.of(planned.runs)
    with reported():
        check_generators([node.step for node in graph.missing(planned.store).values()], planned.runtime)
    folder = write_sweep(planned.store.root, planned.record)
    if retry == "failed":
        graph = _only_failed(graph, read_failures(folder))
    try:
        outcome = _execute(planned, graph, folder, console)
    except KeyboardInterrupt:
        console.print("stopped; what was finished stays finished, the same command continues", highlight=False)
        return INTERRUPTED
    for message in suspicious_equalities(planned.record, planned.store):
        outcome.failures[message] = Failure(message, "equal results", "duplicate", message, "", "")
    write_failures(folder, outcome.failures)
    _summary(console, planned, graph, outcome, time.monotonic() - started)
    _table(planned)
    _project(planned, folder, console)
    console.print(f"[dim]sweep: {folder}[/]", highlight=False, soft_wrap=True)
    if outcome.interrupted:
        console.print("interrupted; the same command continues", highlight=False)
        return INTERRUPTED
    return INCOMPLETE if outcome.failures or graph.missing(planned.store) else 0


def _headline(console: Console, planned: Planned) -> None:
    record = planned.record
    console.print(f"[bold]{escape(record.name)}@{record.id}[/] {safe(record.question)}", highlight=False)
    console.print(
        f"{len(record.arms)} arms x {len(record.seeds)} seeds, store {escape(str(planned.store.root))}",
        highlight=False,
        soft_wrap=True,
    )


def _execute(planned: Planned, graph: Graph, folder: Path, console: Console) -> Outcome:
    missing = graph.missing(planned.store)
    if not missing:
        return Outcome()
    view = View(console, graph, planned.store, len(missing), planned.runtime.workers)
    view.expect(list(missing.values()))
    with view:
        keep = partial(write_failures, folder)
        return execute(graph, planned.store, planned.runtime, folder / "logs", view, keep)


def _only_failed(graph: Graph, failures: dict[str, Failure]) -> Graph:
    wanted = set(failures) | set(graph.blocked_by(set(failures) & set(graph.nodes)))
    return Graph({key: node for key, node in graph.nodes.items() if key in wanted})


def _summary(console: Console, planned: Planned, graph: Graph, outcome: Outcome, wall: float) -> None:
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    cpu = sum(usage.ru_utime + usage.ru_stime for usage in used)
    reused = len(graph.nodes) - len(graph.missing(planned.store)) - len(outcome.built)
    console.print(f"[bold]{len(outcome.built)} built, {reused} reused[/], {wall:.1f} s wall, {cpu:.1f} s CPU", highlight=False)
    blocked = graph.blocked_by(set(outcome.failures) & set(graph.nodes))
    for failure in outcome.failures.values():
        waits = sum(cause == failure.key for cause in blocked.values())
        more = f"; {waits} steps wait for it" if waits else ""
        console.print(f"[red]{failure.kind}[/] {safe(failure.label)}: {safe(failure.message)}{more}", highlight=False)
        if failure.traceback or failure.log_tail:
            console.print(f"[dim]{escape(visible_lines((failure.traceback or failure.log_tail).rstrip()))}[/]", highlight=False)


def _table(planned: Planned) -> None:
    sys.stdout.flush()
    reference = f"{planned.record.name}@{planned.record.id}"
    command = [sys.executable, "-m", "reports", "table", reference, "--store", str(planned.store.root)]
    subprocess.run(command, check=False, cwd=Path(__file__).parent.parent, env=_wide(os.environ))


def _wide(environment: os._Environ[str]) -> dict[str, str]:
    """A table of many columns is not folded to 80 when nobody looks at a terminal."""
    return dict(environment) if sys.stdout.isatty() else {**environment, "COLUMNS": environment.get("COLUMNS", str(WIDE))}


def _project(planned: Planned, folder: Path, console: Console) -> None:
    """Make the tracker's runs out of the records; whatever goes wrong there is a warning."""
    runtime = planned.runtime
    if runtime.tracker == "disabled":
        return
    command = [
        sys.executable, "-m", "harness.tracker", "project", str(folder),
        "--store", str(planned.store.root), "--mode", runtime.tracker, "--project", runtime.project,
    ]  # fmt: skip
    try:
        done = subprocess.run(
            command, check=True, capture_output=True, text=True, timeout=TRACKER_TIMEOUT, cwd=Path(__file__).parent.parent
        )
    except subprocess.TimeoutExpired:
        problem = f"did not answer within {TRACKER_TIMEOUT} s"
    except subprocess.CalledProcessError as error:
        problem = error.stderr.strip()[-500:]
    else:
        if done.stdout.strip():
            console.print(f"[dim]{escape(done.stdout.strip())}[/]", highlight=False, soft_wrap=True)
        return
    console.print(f"[yellow]tracker:[/] {safe(problem)}; the records are complete, project them later", highlight=False)
