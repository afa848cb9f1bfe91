"""Line 6.6: no key, wrong key, unknown model, server down: an error before any work that names what to set; no key in a file.

Both commands that can reach a server are tried, with a server of ours that logs every question it is asked.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.acceptance.quickstart import REPOSITORY, require

CANARY = "sk-canary-0123456789abcdef"
SERVER = REPOSITORY / "tests" / "generators" / "faulty_server.py"
LIVE = ("generator=openai", "runtime/server=openai")
UNPACED = ("runtime.server.tokens_per_minute=null", "runtime.server.requests_per_minute=null")
LENIENT = ("generator/filters=paper", "generator.draws.size=40", "runtime.server.attempts=12", *UNPACED)
SHORT = ("data=synthetic_only", "pretrain=none", "finetune.steps=2", "finetune.warmup_steps=1", "eval.tasks=[QuickSTS]")
COMMANDS = {
    "python -m generators": ("generators", "-o", "{folder}/out", *LIVE, "runtime.ledger={folder}/ledger.sqlite"),
    "python -m harness": (
        "harness", *LIVE, "runtime.store={folder}/store", "runtime.ledger={folder}/ledger.sqlite", "runtime.tracker=disabled",
    ),
}  # fmt: skip
CASES = {
    "no key": ({}, {"OPENAI_API_KEY": None}, (), "set the environment variable OPENAI_API_KEY"),
    "wrong key": ({"key": 1.0}, {}, (), "refuses the key; set OPENAI_API_KEY"),
    "unknown model": (
        {}, {}, ("generator.backend.models=[{name: gpt-4o-mimi, share: 1.0}]", "runtime.server.max_cost=null"),
        "generator.backend.models",
    ),
    "server down": ({}, {}, ("runtime.server.base_url=http://127.0.0.1:9/v1",), "set runtime.server.base_url"),
    "no price": ({}, {}, ("runtime.server.prices=[]",), "runtime.server.prices"),
}  # fmt: skip


@contextmanager
def server(log: Path, faults: dict[str, float]) -> Iterator[str]:
    """A loopback server; its address."""
    words = [sys.executable, str(SERVER), str(log), "0", "0", *(f"{name}={share}" for name, share in faults.items())]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield f"http://127.0.0.1:{process.stdout.readline().strip()}/v1"
        finally:
            process.kill()


def run(words: tuple[str, ...], folder: Path, environment: dict[str, str | None]) -> subprocess.CompletedProcess[str]:
    """A command with the canary as its key, unless the case says otherwise."""
    variables = {**os.environ, "OPENAI_API_KEY": CANARY, **environment}
    command = [sys.executable, "-m", *(word.format(folder=folder) if "{folder}" in word else word for word in words)]
    return subprocess.run(
        command, cwd=REPOSITORY, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False,
        env={name: value for name, value in variables.items() if value is not None},
    )  # fmt: skip


def refused(name: str, case: str, root: Path) -> None:
    """One wrong set-up of one command."""
    faults, environment, changes, message = CASES[case]
    folder = root / name.rsplit(" ", 1)[-1] / case.replace(" ", "_")
    folder.mkdir(parents=True)
    log = folder / "server.log"
    with server(log, faults) as url:
        here = () if any("base_url" in change for change in changes) else (f"runtime.server.base_url={url}",)
        done = run((*COMMANDS[name], *here, *changes), folder, environment)
    asked = len(log.read_text().splitlines()) if log.exists() else 0
    text = " ".join(done.stdout.split())
    require(done.returncode not in (0, None) and message in text, f"{name}, {case}: {message!r} in {text[-300:]!r}")
    require("Traceback" not in text and CANARY not in text, f"{name}, {case}: a message, no traceback, no key")
    built = [*folder.rglob("record.json"), *folder.rglob("pairs.parquet")]
    require(asked == 0 and not built, f"{name}, {case}: nothing was asked and nothing was built")


def canary(name: str, made: str, changes: tuple[str, ...], root: Path) -> None:
    """A run that works, against a server that echoes the key in its errors."""
    folder = root / "canary" / name.rsplit(" ", 1)[-1]
    folder.mkdir(parents=True)
    with server(folder / "server.log", {"echo500": 0.3}) as url:
        done = run((*COMMANDS[name], *LENIENT, *changes, f"runtime.server.base_url={url}"), folder, {})
    echoed = sum(json.loads(line)["fault"] == "echo500" for line in (folder / "server.log").read_text().splitlines())
    files = [path for path in folder.rglob("*") if path.is_file()]
    require(done.returncode == 0 and bool(list(folder.glob(made))), f"{name}: a run with the canary key made {made}")
    require(echoed > 3, f"{name}: the server echoed the key in {echoed} errors")
    require(CANARY not in done.stdout, f"{name}: the canary key is not in what the run printed")
    require(not [path for path in files if CANARY.encode() in path.read_bytes()], f"{name}: nor in any of {len(files)} files")


def main() -> None:
    """Every case of both commands, then the canary."""
    with tempfile.TemporaryDirectory(prefix="refused-") as folder:
        for name in COMMANDS:
            for case in CASES:
                refused(name, case, Path(folder))
        canary("python -m generators", "out/pairs.parquet", (), Path(folder))
        canary("python -m harness", "store/sweeps/*/*/sweep.json", SHORT, Path(folder))


if __name__ == "__main__":
    main()
