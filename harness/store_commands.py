"""`python -m harness.store ls | verify | gc | pin | merge`: upkeep of a store from the command line.

Exit codes: 0 all is well, 1 something is wrong and named with its remedy, 4 a command that cannot be carried out. `ls` and
`verify` speak JSON for scripts. Nothing is deleted without `gc --delete`, and the ledger never.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from harness.garbage import collect, garbage
from harness.inert import visible
from harness.inventory import being_built, folder_size, inventory, users, users_of
from harness.merge import merge
from harness.record import read_measured
from harness.sweep_record import SweepRecordError
from harness.terminal import duration, printing, show, size
from harness.upkeep import Finding, NoSuchError, UpkeepError, pin, resolve, unpin, verify

WRONG = 1
USAGE = 4
SHOWN = 20  # rows of garbage that are listed one by one


@dataclass(frozen=True)
class Listed:
    """One finished step, as `ls` tells it."""

    key: str
    bytes: int
    seconds: float | None
    """How long it took to build; None: its measurements cannot be read."""
    users: list[str]


def _list(root: Path, baselines: Path) -> list[Listed]:
    asked = users_of(users(root, baselines))
    return [
        Listed(key, folder_size(folder), _seconds(folder), sorted(asked.get(key, [])))
        for key, folder in inventory(root).done.items()
    ]


def _seconds(folder: Path) -> float | None:
    try:
        return float(read_measured(folder)["seconds"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _by_kind(steps: Sequence[Listed]) -> dict[str, dict[str, Any]]:
    kinds: dict[str, dict[str, Any]] = {}
    for step in steps:
        kind = kinds.setdefault(step.key.split("/", 1)[0], {"steps": 0, "bytes": 0, "seconds": 0.0, "users": {}, "unused": 0})
        kind["steps"] += 1
        kind["bytes"] += step.bytes
        kind["seconds"] += step.seconds or 0.0
        kind["unused"] += not step.users
        for user in step.users:
            kind["users"][user] = kind["users"].get(user, 0) + 1
    return kinds


def ls(root: Path, arguments: argparse.Namespace) -> int:
    """Steps by kind, or one by one."""
    steps = _list(root, arguments.baselines)
    partial = {key: being_built(root, key) for key in inventory(root).partial}
    if arguments.json:
        detail = {"steps": [asdict(step) for step in steps]} if arguments.long else {}
        _json({"store": str(root), "kinds": _by_kind(steps), "unfinished": partial, **detail})
        return 0
    if arguments.long:
        rows = [[step.key, size(step.bytes), _took(step.seconds), _names(step.users)] for step in steps]
        show(["step", "size", "built in", "used by"], rows)
    else:
        show(["kind", "steps", "size", "built in", "used by"], [_row(kind, of) for kind, of in _by_kind(steps).items()])
    for key, building in partial.items():
        print(visible(f"unfinished: {key} ({'being built' if building else 'left over; see verify'})"))
    print(visible(f"{len(steps)} steps, {size(sum(step.bytes for step in steps))} in {root}"))
    return 0


def _row(kind: str, of: Mapping[str, Any]) -> list[str]:
    who = [f"{name} ({count})" for name, count in sorted(of["users"].items())]
    who += [f"nobody ({of['unused']})"] if of["unused"] else []
    return [kind, str(of["steps"]), size(of["bytes"]), duration(of["seconds"]), ", ".join(who)]


def _took(seconds: float | None) -> str:
    return "unknown" if seconds is None else duration(seconds)


def _names(names: Sequence[str]) -> str:
    return ", ".join(names) or "nobody"


def check(root: Path, arguments: argparse.Namespace) -> int:
    """Every payload against its record."""
    count, findings = verify(root)
    if arguments.json:
        _json({"store": str(root), "steps": count, "findings": [asdict(finding) for finding in findings]})
    else:
        _tell(findings)
        print(visible(f"{count} steps checked in {root}: {f'{len(findings)} problems' if findings else 'all is well'}"))
    return WRONG if findings else 0


def _tell(findings: Sequence[Finding]) -> None:
    for finding in findings:
        print(visible(f"{finding.kind}: {finding.message}"))


def gc(root: Path, arguments: argparse.Namespace) -> int:
    """Show what nobody needs; delete it if told to."""
    if not arguments.baselines.is_dir():
        print(visible(f"no baselines in {arguments.baselines}; --baselines says where they are, if there are any"))
    found = garbage(root, arguments.baselines, arguments.sweep)
    freed = {key: folder_size(folder) for key, folder in {**found.scratch, **found.partial, **found.steps}.items()}
    rows = [[key, size(count), "nobody asks for it" if key in found.steps else "left over"] for key, count in freed.items()]
    if rows:
        show(["step", "size", "why"], rows[:SHOWN])
    if len(rows) > SHOWN:
        print(f"and {len(rows) - SHOWN} more")
    for folder in found.sweeps:
        print(visible(f"sweep: {folder}"))
    print(f"{len(found.composed)} cached compositions, {len(found.locks)} locks that nobody holds")
    what = f"{len(rows)} steps, {size(sum(freed.values()))}"
    if not arguments.delete:
        print(f"{what}: nothing was deleted; --delete does it")
        return 0
    left = collect(root, found)
    for key, reason in left.items():
        print(visible(f"{key}: {reason}; left"))
        freed.pop(key, None)
    print(f"{len(freed)} steps, {size(sum(freed.values()))}: deleted")
    return 0


def keep(root: Path, arguments: argparse.Namespace) -> int:
    """Pin or unpin a step or a sweep."""
    name = resolve(root, arguments.what)
    (unpin if arguments.unpin else pin)(root, name)
    print(visible(f"{name}: {'no longer pinned' if arguments.unpin else 'pinned'}"))
    return 0


def take_in(root: Path, arguments: argparse.Namespace) -> int:
    """Merge another store into this one."""
    other = arguments.other.expanduser().resolve()
    if not other.is_dir() or other == root:
        raise NoSuchError(f"{other}: {'is this very store' if other == root else 'there is no store'}; name another one")
    done = merge(root, other)
    _tell(done.left)
    for key in done.busy:
        print(visible(f"busy: {key} is being built here; merge again when it is done"))
    print(f"{len(done.copied)} steps copied, {done.present} there already, {len(done.sweeps)} sweeps copied")
    return WRONG if done.left or done.busy else 0


def _json(value: Any) -> None:
    print(json.dumps(value, indent=1, sort_keys=True))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m harness.store", description="Upkeep of a store of finished steps.")
    default = os.environ.get("HARNESS_STORE", "store")
    parser.add_argument("--store", type=Path, default=Path(default), help="default: HARNESS_STORE, else ./store")
    parser.add_argument("--baselines", type=Path, default=Path("baselines"), help="folder of committed baselines")
    commands = parser.add_subparsers(dest="command", required=True)

    def command(name: str, action: Callable[[Path, argparse.Namespace], int], text: str) -> argparse.ArgumentParser:
        added = commands.add_parser(name, help=text, description=text)
        added.set_defaults(action=action)
        for option in ("--store", "--baselines"):  # where people write them, before the command or after it
            added.add_argument(option, type=Path, default=argparse.SUPPRESS, help=argparse.SUPPRESS)
        return added

    listing = command("ls", ls, "steps by kind: how many, how large, how long they took, who uses them")
    listing.add_argument("--long", action="store_true", help="one line per step")
    listing.add_argument("--json", action="store_true")
    checking = command("verify", check, "every payload against its record; exit code 1 if anything is wrong")
    checking.add_argument("--json", action="store_true")
    collecting = command("gc", gc, "what no sweep, pin or baseline needs; a dry run unless --delete")
    collecting.add_argument("--delete", action="store_true", help="do it")
    collecting.add_argument("--sweep", action="append", default=[], metavar="NAME@ID", help="this sweep too; may be repeated")
    keeping = command("pin", keep, "keep a step or the steps of a sweep")
    keeping.add_argument("what", metavar="STEP/FINGERPRINT|SWEEP[@ID]")
    keeping.add_argument("--unpin", action="store_true", help="keep it no longer")
    merging = command("merge", take_in, "copy finished steps and sweeps of another store into this one")
    merging.add_argument("other", type=Path, metavar="OTHER_STORE")
    return parser


def main(arguments: Sequence[str] | None = None) -> None:
    """Carry out one command; leaves with its exit code."""
    parsed = _parser().parse_args(arguments)
    root = parsed.store.expanduser().resolve()
    try:
        if not root.is_dir():
            raise NoSuchError(f"{root}: there is no store; --store or HARNESS_STORE says where it is")
        with printing():
            code = parsed.action(root, parsed)
    except (UpkeepError, SweepRecordError) as error:
        for line in str(error).splitlines():
            print(visible(line), file=sys.stderr)
        raise SystemExit(USAGE if isinstance(error, NoSuchError) else WRONG) from None
    raise SystemExit(code)
