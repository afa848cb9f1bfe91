"""A worker whose steps do what their spec says: sleep, write, raise, exit, allocate, flood, meddle, die."""

import ctypes
import mmap
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from harness.runtime import Runtime
from harness.step import Body, Step, Work
from sweeps.worker import serve

Steps = Mapping[str, tuple[str, list[str]]]
"""Steps by name: what it does, and the names of its inputs, which come first. A name like `finetune/a` says its kind."""


@dataclass(frozen=True)
class Act:
    """What a fake step does."""

    name: str
    act: str


def make(steps: Steps) -> dict[str, Step]:
    """Steps by name."""
    made: dict[str, Step] = {}
    for name, (act, inputs) in steps.items():
        kind = name.split("/")[0] if "/" in name else "fake"
        made[name] = Step(kind, 1, Act(name, act), {role: made[role] for role in inputs}, name)
    return made


def _sleep(amount: str, _: Work) -> None:
    for _part in range(10):
        time.sleep(float(amount) / 10)


def _raise(amount: str, _: Work) -> None:
    raise ValueError(amount)


def _memory(amount: str, _: Work) -> None:
    raise MemoryError(amount)


def _flood(amount: str, _: Work) -> None:
    """So many MB, in lines of 1,000 bytes."""
    for _line in range(1000 * int(amount)):
        sys.stdout.write("x" * 999 + "\n")
    print("the end of the flood")


def _flood_and_raise(amount: str, work: Work) -> None:
    _flood(amount, work)
    raise ValueError("after the flood")


def _spin(amount: str, _: Work) -> None:
    end = time.monotonic() + float(amount)
    while time.monotonic() < end:
        pass


def _grow(amount: str, _: Work) -> None:
    """Take and use memory, 32 MB at a time, up to so many MB, and stay there."""
    held = []
    for _piece in range(int(amount) // 32):
        held.append(bytearray(b"x") * (32 << 20))
        time.sleep(0.02)
    time.sleep(600)


def _hoard(amount: str, _: Work) -> None:
    """So many MB in pieces that are kept, none of them used."""
    print(len([bytes(64 << 20) for _ in range(int(amount) // 64)]))


def _torch(amount: str, _: Work) -> None:
    import torch

    print(torch.ones(int(amount) << 20, dtype=torch.uint8).sum())


def _numpy(amount: str, _: Work) -> None:
    import numpy as np

    print(np.ones(int(amount) << 20, dtype=np.uint8).sum())


def _hang_in_c(_: str, __: Work) -> None:
    """Sleep in a C function that keeps the interpreter's lock: no thread of Python runs any more."""
    ctypes.PyDLL(None).sleep(600)


def _leave_a_child(_: str, __: Work) -> None:
    """End while a child, which holds all our descriptors, lives on."""
    if os.fork() == 0:
        time.sleep(600)
    os._exit(5)


def _meddle(_: str, work: Work) -> None:
    """Go on writing to the payload after the body has returned; the filler makes its digest take a while."""
    (work.out / "filler").write_bytes(bytes(96 << 20))

    def write() -> None:
        for number in range(600):
            with suppress(FileNotFoundError):  # the step has failed and its payload is gone
                (work.out / "late").write_text(f"{number:04}")
            time.sleep(0.001)

    threading.Thread(target=write).start()


def _damage_later(_: str, work: Work) -> None:
    """Change the payload when it lies in its place, finished."""
    place = work.out.parent.with_name(work.out.parent.name.removesuffix(".partial"))

    def write() -> None:
        while not (place / "record.json").exists():
            time.sleep(0.001)
        (place / "payload" / "out").write_text("other bytes")

    threading.Thread(target=write).start()


ACTS: Mapping[str, Callable[[str, Work], object]] = {
    "write": lambda _, __: None,
    "sleep": _sleep,
    "raise": _raise,
    "exit": lambda amount, _: sys.exit(int(amount)),
    "os_exit": lambda amount, _: os._exit(int(amount)),
    "kill": lambda _, __: os.kill(os.getpid(), 9),
    "segfault": lambda _, __: ctypes.string_at(0),
    "flood": _flood,
    "flood_and_raise": _flood_and_raise,
    "memory": _memory,
    "allocate": lambda amount, _: bytearray(int(amount) * 2**20),
    "grow": _grow,
    "hoard": _hoard,
    "mmap": lambda amount, _: mmap.mmap(-1, int(amount) << 20),
    "torch": _torch,
    "numpy": _numpy,
    "spin": _spin,
    "hang": lambda _, __: time.sleep(600),
    "hang_in_c": _hang_in_c,
    "leave_a_child": _leave_a_child,
    "wait_for_child": lambda amount, _: subprocess.run([sys.executable, "-c", SPIN, amount], check=True),
    "meddle": _meddle,
    "damage_later": _damage_later,
}
SPIN = "import sys, time\nend = time.monotonic() + float(sys.argv[1])\nwhile time.monotonic() < end: pass"


def act(spec: Act, work: Work) -> None:
    """Do it, and write who did."""
    with (Path(work.runtime.store) / "log").open("a") as log:
        log.write(f"{spec.name} {os.getppid()} {os.environ.get('CUDA_VISIBLE_DEVICES')}\n")
    print(f"said by {spec.name}", flush=True)
    verb, _, amount = spec.act.partition(" ")
    ACTS[verb](amount, work)
    text = "".join((path / "out").read_text() for path in work.inputs.values())
    (work.out / "out").write_text(text + spec.name)


def resolve(job: Mapping[str, Any], runtime: Runtime) -> tuple[Step, Body]:
    """The step of a job, out of the description in its configuration."""
    steps = make({name: (act, inputs) for name, act, inputs in job["config"]["steps"]})
    return next(step for step in steps.values() if step.key == job["key"]), act


if __name__ == "__main__":
    serve(resolve)
