"""A worker whose steps do what their spec says: sleep, write, raise, exit, allocate, flood, die."""

import os
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from harness.runtime import Runtime
from harness.step import Body, Step, Work
from sweeps.worker import serve


@dataclass(frozen=True)
class Act:
    """What a fake step does."""

    name: str
    act: str


def make(steps: Mapping[str, tuple[str, list[str]]]) -> dict[str, Step]:
    """Steps by name from {name: (act, inputs)}, inputs first."""
    made: dict[str, Step] = {}
    for name, (act, inputs) in steps.items():
        made[name] = Step("fake", 1, Act(name, act), {role: made[role] for role in inputs}, name)
    return made


def _sleep(amount: str) -> None:
    for _ in range(10):
        time.sleep(float(amount) / 10)


def _raise(amount: str) -> None:
    raise ValueError(amount)


def _memory(amount: str) -> None:
    raise MemoryError(amount)


def _flood(amount: str) -> None:
    for _ in range(int(amount)):
        sys.stdout.write("x" * 1000 + "\n")


def _spin(amount: str) -> None:
    end = time.monotonic() + float(amount)
    while time.monotonic() < end:
        pass


ACTS = {
    "write": lambda _: None,
    "sleep": _sleep,
    "raise": _raise,
    "exit": lambda amount: sys.exit(int(amount)),
    "os_exit": lambda amount: os._exit(int(amount)),
    "kill": lambda _: os.kill(os.getpid(), 9),
    "flood": _flood,
    "memory": _memory,
    "allocate": lambda amount: bytearray(int(amount) * 2**20),
    "spin": _spin,
    "hang": lambda _: time.sleep(600),
}


def act(spec: Act, work: Work) -> None:
    """Do it, and write who did."""
    with (Path(work.runtime.store) / "log").open("a") as log:
        log.write(f"{spec.name}\n")
    print(f"said by {spec.name}", flush=True)
    verb, _, amount = spec.act.partition(" ")
    ACTS[verb](amount)
    text = "".join((path / "out").read_text() for path in work.inputs.values())
    (work.out / "out").write_text(text + spec.name)


def resolve(job: Mapping[str, Any], runtime: Runtime) -> tuple[Step, Body]:
    """The step of a job, out of the description in its configuration."""
    steps = make({name: (act, inputs) for name, act, inputs in job["config"]["steps"]})
    return next(step for step in steps.values() if step.key == job["key"]), act


if __name__ == "__main__":
    serve(resolve)
