"""`python -m sweeps status | doctor`: how far sweeps are, and whether this machine can run them.

Both answer from another terminal while a sweep runs. `status` reads the store only; `doctor` plans the shipped ablations as
well. Exit codes: 0, 1 if the doctor finds something essential broken, 4 for a sweep or store that is not there.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from harness.inert import visible
from harness.inventory import inventory, sweep_keys
from harness.sweep_record import SweepRecordError, find_sweep, read_sweep
from harness.terminal import duration, markdown, printing, show
from sweeps.estimate import took
from sweeps.status import STATES, Status, every_status, status

USAGE = 4
MESSAGE = 300  # characters of a failure's message that are shown; failures.json has all of it


def _status(arguments: argparse.Namespace) -> int:
    root = arguments.store.expanduser().resolve()
    if not root.is_dir():
        raise SweepRecordError(f"{root}: there is no store; --store or HARNESS_STORE says where it is")
    folder = None if arguments.sweep is None else find_sweep(root, arguments.sweep)
    if arguments.steps:
        _steps(root, folder, arguments)
    elif folder is None:
        _all(root, as_json=arguments.json)
    elif arguments.json:
        _json(asdict(status(root, folder)))
    else:
        _one(status(root, folder))
    return 0


def _json(value: object) -> None:
    print(json.dumps(value, indent=1, sort_keys=True))


def _all(root: Path, *, as_json: bool) -> None:
    found = every_status(root)
    if as_json:
        _json([asdict(one) if isinstance(one, Status) else {"folder": str(folder), "error": one} for folder, one in found])
        return
    if not found:
        print(visible(f"no sweeps in {root} yet"))
        return
    rows = [_row(one) for _, one in found if isinstance(one, Status)]
    show(["sweep", "arms", "seeds", "steps", *(state.replace("_", " ") for state in STATES), "left", "question"], rows)
    for _, one in found:
        if not isinstance(one, Status):
            print(visible(one))


def _row(one: Status) -> list[str]:
    arms, seeds = {run.arm for run in one.runs}, {run.seed for run in one.runs}
    counts = [str(one.steps[state]) for state in STATES]
    return [
        f"{one.name}@{one.id}",
        str(len(arms)),
        str(len(seeds)),
        str(sum(one.steps.values())),
        *counts,
        _left(one),
        one.question,
    ]


def _one(one: Status) -> None:
    print(visible(f"{one.name}@{one.id} {one.question}"))
    rows = [[run.arm, str(run.seed), *(str(run.steps[state]) for state in STATES)] for run in one.runs]
    show(["arm", "seed", *(state.replace("_", " ") for state in STATES)], rows)
    for step in one.running:
        who = step.users[0] if len(step.users) == 1 else f"{step.users[0]} and {len(step.users) - 1} more"
        print(visible(f"running: {step.label} ({who}) for {duration(step.seconds)}"))
    for failure in one.failures:
        waits = f"; {failure.blocks} steps wait for it" if failure.blocks else ""
        message = failure.message if len(failure.message) <= MESSAGE else failure.message[:MESSAGE] + " ..."
        print(visible(f"failed: {failure.label} ({failure.kind}): {message}{waits}"))
    counts = ", ".join(f"{one.steps[state]} {state.replace('_', ' ')}" for state in STATES if one.steps[state])
    print(f"{sum(one.steps.values())} steps: {counts}; left: {_left(one)}")


def _left(one: Status) -> str:
    if one.unknown:
        return f"unknown, no {' or '.join(one.unknown)} has finished yet"
    if one.eta_seconds is not None:
        return f"about {duration(one.eta_seconds)}, {len(one.running)} at a time"
    if one.work_seconds:
        return f"{duration(one.work_seconds)} of work, nothing is running"
    return "only what failed and what waits for it (retry=failed)" if one.failures else "nothing"


def _steps(root: Path, folder: Path | None, arguments: argparse.Namespace) -> None:
    """What finished steps cost, of one sweep or of the whole store."""
    done = set(inventory(root).done)
    measured, unreadable = took(root, done if folder is None else done & sweep_keys(read_sweep(folder)))
    head = ["step", "count"]
    head += [f"{clock} {figure}, s" for clock in ("wall", "CPU") for figure in ("sum", "median", "max")]
    if arguments.json:
        _json([asdict(kind) for kind in measured])
        return
    rows = [[kind.kind, str(len(kind.wall)), *_figures(kind.wall), *_figures(kind.cpu)] for kind in measured]
    if arguments.format == "md":
        print(markdown(head, rows))
    else:
        show(head, rows)
    for key in unreadable:
        print(visible(f"{key}: its measurements cannot be read"), file=sys.stderr)


def _figures(seconds: Sequence[float]) -> list[str]:
    return [f"{value:.2f}" for value in (sum(seconds), statistics.median(seconds), max(seconds))]


def _doctor(arguments: argparse.Namespace) -> int:
    from sweeps.doctor import examine, report

    return report(examine(arguments.store, arguments.overrides, deep=arguments.deep), as_json=arguments.json)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m sweeps", description="Look at sweeps, and at what they need.")
    commands = parser.add_subparsers(dest="command", required=True)
    store = Path(os.environ.get("HARNESS_STORE", "store"))
    asking = commands.add_parser("status", help="how far sweeps are; reads the store only")
    asking.add_argument("sweep", nargs="?", metavar="SWEEP[@ID]", help="default: all sweeps")
    asking.add_argument("--store", type=Path, default=store, help="default: HARNESS_STORE, else ./store")
    asking.add_argument("--json", action="store_true")
    asking.add_argument("--steps", action="store_true", help="what finished steps cost, by kind")
    asking.add_argument("--format", choices=("term", "md"), default="term", help="of --steps")
    asking.set_defaults(action=_status)
    looking = commands.add_parser("doctor", help="what is installed, reachable and missing")
    looking.add_argument("overrides", nargs="*", metavar="runtime.KEY=VALUE", help="as on the command line of a sweep")
    looking.add_argument("--store", type=Path, default=store, help="default: HARNESS_STORE, else ./store")
    looking.add_argument("--json", action="store_true")
    looking.add_argument("--deep", action="store_true", help="import torch and ask it about the GPU")
    looking.set_defaults(action=_doctor)
    return parser


def main(arguments: Sequence[str] | None = None) -> None:
    """Carry out one command; leaves with its exit code."""
    parsed = _parser().parse_args(arguments)
    try:
        with printing():
            code = parsed.action(parsed)
    except SweepRecordError as error:
        print(visible(str(error)), file=sys.stderr)
        raise SystemExit(USAGE) from None
    raise SystemExit(code)


if __name__ == "__main__":
    main()
