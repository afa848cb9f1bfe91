"""Generators that start at once: everything is imported here, then every line of stdin is forked into a run.

    python nursery.py CONFTEST        a line: {"folder", "name", "url", "size", "server", "die_at"}

Prints the process id of the run, and, when it is over, its exit status (negative: the signal). A run that is killed never
tells anybody anything: what is left of it is its ledger.
"""

import importlib.util
import json
import os
import signal
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import openai  # noqa: F401 - imported before the fork, so that runs are at work at once
import pyarrow.parquet  # noqa: F401

from generators.backends import sending
from generators.batchbook import BatchBook
from generators.synthesize import synthesize
from harness.runtime import Batching
from harness.step import silent


def builders(path: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location("builders", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def die_at(point: int) -> None:
    """Kill this process before or after the `point`-th time that a batch is planned, uploaded, created or collected."""
    passed = 0

    def wrapped(method: Any) -> Any:
        def mortal(*arguments: Any) -> None:
            nonlocal passed
            passed += 1
            if passed == point:
                os.kill(os.getpid(), signal.SIGKILL)
            method(*arguments)
            passed += 1
            if passed == point:
                os.kill(os.getpid(), signal.SIGKILL)

        return mortal

    for name in ("plan", "uploaded", "created", "collect"):
        setattr(BatchBook, name, wrapped(getattr(BatchBook, name)))


def run(built: ModuleType, order: dict[str, Any]) -> None:
    folder = Path(order["folder"])
    (folder / order["name"]).mkdir(parents=True)
    changes = order.get("server", {})
    if "batch" in changes:
        changes["batch"] = Batching(**changes["batch"])
    server = built.server_for(order["url"], **changes)
    if "die_at" in order:
        die_at(order["die_at"])
    synthesize(built.live_spec(order["size"]), folder / order["name"], silent, {}, folder / "ledger.sqlite", server)


def main() -> None:
    sending.FIRST_BACKOFF = 0.005
    built = builders(sys.argv[1])
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            run(built, json.loads(line))
            os._exit(0)
        print(child, flush=True)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)


if __name__ == "__main__":
    main()
