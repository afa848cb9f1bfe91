"""Generation alone: `python -m generators [overrides]`, with the same specs, the same pool and the same ledger as a sweep.

    python -m generators -o DIR [overrides]           generate; DIR gets pairs, answers, counts, card and figure
    python -m generators preview [overrides]          what would be asked anew, and what it would cost
    python -m generators card PAYLOAD -o DIR          the card of a finished corpus
    python -m generators export PAYLOAD -o DIR        a folder that `datasets` reads
    python -m generators ledger stats|export|import|merge [FILE] [overrides]

Overrides are those of `python -m harness` (`generator=...`, `runtime.ledger=...`). Exit code 4: bad input, 1: it failed.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from harness.config import ConfigError, decode
from harness.runtime import Runtime

if TYPE_CHECKING:
    from generators.synthesize import SynthesizeSpec

CONF = Path(__file__).parent.parent / "conf"
USAGE, FAILED = 4, 1


def main(arguments: Sequence[str]) -> int:
    """The command line; returns the exit code."""
    words = list(arguments)
    command = words[0] if words and words[0] in COMMANDS else "generate"
    try:
        COMMANDS[command](_parse(command, words[1:] if words[:1] == [command] else words))
    except (ConfigError, ValueError) as error:
        print(f"nothing was run:\n{error}", file=sys.stderr)
        return USAGE
    except (RuntimeError, OSError) as error:
        print(f"stopped: {error}", file=sys.stderr)
        return FAILED
    except KeyboardInterrupt:
        print("stopped; what was answered is in the ledger", file=sys.stderr)
        return 130
    return 0


def _parse(command: str, words: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m generators", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    if command == "ledger":
        parser.add_argument("action", choices=("stats", "export", "import", "merge"))
        parser.add_argument("file", type=Path, nargs="?", help="of export and import: JSON lines; of merge: another ledger")
    if command in ("card", "export"):
        parser.add_argument("payload", type=Path)
    if command in ("card", "export", "generate"):
        parser.add_argument("-o", "--out", type=Path, default=Path("generated"))
    if command not in ("card", "export"):
        parser.add_argument("overrides", nargs="*")
    options = parser.parse_intermixed_args(words)
    if command == "ledger" and options.file is not None and "=" in str(options.file):
        options.overrides, options.file = [str(options.file), *options.overrides], None
    return options


def configured(overrides: Sequence[str]) -> tuple[SynthesizeSpec, Runtime]:
    """The generator and the runtime of the composed baseline; raises ConfigError with every problem."""
    from hydra import compose, initialize_config_dir
    from hydra.errors import HydraException
    from omegaconf import OmegaConf

    from generators.synthesize import SynthesizeSpec

    try:
        with initialize_config_dir(str(CONF), version_base="1.3"):
            composed: Any = OmegaConf.to_container(compose("run", overrides=list(overrides)), resolve=True)
    except HydraException as error:
        raise ValueError(str(error).splitlines()[0]) from None
    return decode(SynthesizeSpec, composed["generator"], "generator"), decode(Runtime, composed["runtime"], "runtime")


def generate(options: argparse.Namespace) -> None:
    """Ask, judge, write, describe."""
    from generators.card import write_card
    from generators.synthesize import synthesize

    spec, runtime = configured(options.overrides)
    options.out.mkdir(parents=True, exist_ok=True)
    if (options.out / "pairs.parquet").exists():
        raise ValueError(f"{options.out} already holds pairs; name another folder with -o, or move it away")
    measured: dict[str, Any] = {}
    sources = Path(runtime.sources).expanduser() if runtime.sources else None
    with LiveView() as view:
        synthesize(spec, options.out, view, measured, _ledger(runtime), runtime.server, sources)
    cost = measured.get("ledger_cost")
    write_card(options.out, options.out / "card", cost)
    print(json.dumps(measured, indent=1))
    print(f"pairs, answers and counts are in {options.out}, the card is {options.out / 'card' / 'README.md'}")


def preview(options: argparse.Namespace) -> None:
    """Say what would be asked; send nothing."""
    from generators.backends.openai import OpenAI
    from generators.draws import Grounded, Replay
    from generators.forecast import forecast

    spec, runtime = configured(options.overrides)
    if isinstance(spec.draws, Replay) or not isinstance(spec.backend, OpenAI):
        print("the generator is a recording: nothing is bought")
        return
    if runtime.server is None:
        raise ValueError("no server is set; choose one with runtime/server=openai or runtime/server=local")
    sources = Path(runtime.sources).expanduser() if runtime.sources else None
    grounded = isinstance(spec.draws, Grounded)
    draws = spec.draws.draws(spec.templates, sources) if grounded else spec.draws.draws(spec.templates)  # type: ignore[call-arg]
    for line in forecast(spec.backend, list(draws), _ledger(runtime), runtime.server).lines():
        print(line)


def card(options: argparse.Namespace) -> None:
    """Describe a finished corpus."""
    from generators.card import write_card

    write_card(_payload(options.payload), options.out)
    print(f"the card is {options.out / 'README.md'}")


def export(options: argparse.Namespace) -> None:
    """A datasets folder."""
    from generators.card import export as export_folder

    export_folder(_payload(options.payload), options.out)
    print(f"{options.out} can be read by datasets.load_dataset")


def ledger(options: argparse.Namespace) -> None:
    """Look into the ledger, copy it out, take another one in."""
    from generators.forecast import export_rows, summary
    from generators.ledger import open_ledger, read_ledger

    _, runtime = configured(options.overrides)
    path = _ledger(runtime)
    if options.action != "stats" and options.file is None:
        raise ValueError(f"ledger {options.action} needs a FILE")
    if options.action == "stats":
        with read_ledger(path) as held:
            print(json.dumps(summary(held), indent=1))
    elif options.action == "export":
        with read_ledger(path) as held:
            print(f"{export_rows(held, options.file)} rows are in {options.file}")
    elif options.action == "import":
        with open_ledger(path) as held, options.file.open(encoding="utf-8") as lines:
            new, known = held.insert(json.loads(line) for line in lines)
            print(f"{new} rows are new, {known} were here")
    else:
        with open_ledger(path) as held, read_ledger(options.file) as other:
            new, known = held.insert(other.rows())
            print(f"{new} rows are new, {known} were here")


COMMANDS = {"generate": generate, "preview": preview, "card": card, "export": export, "ledger": ledger}


class LiveView:
    """One line that moves: done of all, what is accepted and why the rest is not, rate, time left; money in the note."""

    def __enter__(self) -> Self:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        console = Console(stderr=True)
        columns = (
            BarColumn(24),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]}"),
            TimeRemainingColumn(),
            TextColumn("{task.fields[note]}"),
        )
        self._progress = Progress(*columns, console=console, refresh_per_second=4)
        self._task = self._progress.add_task("", total=None, rate="", note="")
        self._progress.start()
        self._began, self._first = time.monotonic(), 0
        return self

    def __call__(self, done: int, total: int, note: str = "") -> None:
        """A `harness.step.Report`; notes hold our own words and numbers only."""
        if done < self._first:  # the next stage begins
            self._began, self._first = time.monotonic(), done
        rate = (done - self._first) / max(1e-3, time.monotonic() - self._began)
        self._progress.update(self._task, completed=done, total=total or None, rate=f"{rate:,.1f}/s", note=note)

    def __exit__(self, *_: object) -> None:
        self._progress.stop()


def _ledger(runtime: Runtime) -> Path:
    return Path(runtime.ledger).expanduser()


def _payload(path: Path) -> Path:
    """A payload of `synthesize`, or the step's folder around it."""
    for folder in (path, path / "payload"):
        if (folder / "pairs.parquet").is_file() and (folder / "answers.jsonl").is_file():
            return folder
    raise ValueError(f"{path} holds no generated corpus (pairs.parquet and answers.jsonl)")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
