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


def act(spec: Act, work: Work) -> None:
    """Do it."""
    with (Path(work.runtime.store) / "log").open("a") as log:
        log.write(f"{spec.name}\n")
    print(f"said by {spec.name}", flush=True)
    verb, _, amount = spec.act.partition(" ")
    if verb == "sleep":
        for _ in range(10):
            time.sleep(float(amount) / 10)
    elif verb == "raise":
        raise ValueError(amount)
    elif verb == "exit":
        sys.exit(int(amount))
    elif verb == "os_exit":
        os._exit(int(amount))
    elif verb == "kill":
        os.kill(os.getpid(), 9)
    elif verb == "flood":
        for _ in range(int(amount)):
            sys.stdout.write("x" * 1000 + "\n")
    elif verb == "memory":
        raise MemoryError(amount)
    elif verb == "allocate":
        bytearray(int(amount) * 2**20)
    elif verb == "spin":
        end = time.monotonic() + float(amount)
        while time.monotonic() < end:
            pass
    elif verb == "hang":
        time.sleep(600)
    text = "".join((path / "out").read_text() for path in work.inputs.values())
    (work.out / "out").write_text(text + spec.name)


def resolve(job: Mapping[str, Any], runtime: Runtime) -> tuple[Step, Body]:
    """The step of a job, out of the description in its configuration."""
    steps = make({name: (act, inputs) for name, act, inputs in job["config"]["steps"]})
    return next(step for step in steps.values() if step.key == job["key"]), act


if __name__ == "__main__":
    serve(resolve)
