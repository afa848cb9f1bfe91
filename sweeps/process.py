"""One worker process as its parent sees it: started, handed steps, listened to, watched, ended.

A sign of life is an event or processor time used; a step that gives neither for `runtime.patience` seconds has hung. Not
here: which step goes to which worker (`executor.py`) and what the worker does with it (`worker.py`).
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import psutil
from filelock import FileLock

from harness.runtime import Runtime
from sweeps.devices import Slot
from sweeps.graph import Node

WORKER = (sys.executable, "-m", "sweeps.worker")
LOG_TAIL = 4000  # bytes of a worker's output kept with a failure
LOOK = 1.0  # seconds between looks at the processor time
BUSY = 0.05  # seconds of processor time between looks that count as work


class WorkerProcess:
    """A worker on its slot."""

    def __init__(
        self, index: int, slot: Slot, runtime: Runtime, logs: Path, program: Sequence[str], lock: FileLock | None
    ) -> None:
        self.index, self.slot, self._lock = index, slot, lock
        self.node: Node | None = None
        self.context: set[str] = set()
        """Keys of the last step and its inputs: what this worker probably still holds in memory."""
        self._runtime = replace(runtime, device="cuda:0" if slot.device != "cpu" else "cpu")
        self._log = logs / f"worker-{index}.log"
        self._log_start = 0
        self._buffer = b""
        reader, writer = os.pipe()
        with self._log.open("ab") as log:
            self.process = subprocess.Popen(
                [*program, str(writer)],
                stdin=subprocess.PIPE, stdout=log, stderr=log, pass_fds=(writer,),
                start_new_session=True, env=_environment(slot, runtime), cwd=Path(__file__).parent.parent,
            )  # fmt: skip
        os.close(writer)
        self.events = reader
        self._sign, self._looked, self._cpu = time.monotonic(), 0.0, 0.0

    def give(self, node: Node) -> None:
        """Hand over one step."""
        self.node = node
        self._sign = time.monotonic()
        self._log_start = self._log.stat().st_size
        self.context = {node.key, *(source.key for source in node.step.inputs.values())}
        job = {"key": node.key, "config": node.config, "runtime": asdict(self._runtime)}
        assert self.process.stdin is not None  # noqa: S101 - for the type checker: opened as a pipe above
        with suppress(BrokenPipeError):  # it died a moment ago; its end of the event pipe says so and the step fails there
            self.process.stdin.write(json.dumps(job).encode() + b"\n")
            self.process.stdin.flush()

    def read(self) -> list[dict[str, Any]] | None:
        """Events that arrived; None when the worker has closed its end, that is, died."""
        self._sign = time.monotonic()
        data = os.read(self.events, 1 << 16)
        if not data:
            return None
        *lines, self._buffer = (self._buffer + data).split(b"\n")
        return [json.loads(line) for line in lines]

    def hung(self) -> bool:
        """Whether a step has given no sign of life for longer than the runtime's patience."""
        now = time.monotonic()
        if self.node is None or now - self._looked < LOOK:
            return False
        self._looked = now
        with suppress(psutil.Error):
            times = psutil.Process(self.process.pid).cpu_times()
            if times.user + times.system - self._cpu > BUSY:
                self._cpu, self._sign = times.user + times.system, now
        return now - self._sign > self._runtime.patience

    def tail(self) -> str:
        """The end of what it printed since it took its step."""
        with self._log.open("rb") as log:
            size = log.seek(0, os.SEEK_END)
            log.seek(max(self._log_start, size - LOG_TAIL))
            return log.read().decode("utf-8", errors="replace")

    def end(self, grace: float) -> int:
        """End it with everything it started, after `grace` seconds to end by itself; its exit status (negative: a signal)."""
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(timeout=grace)
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        status = self.process.wait()
        if self.process.stdin is not None:
            self.process.stdin.close()
        os.close(self.events)
        if self._lock is not None:
            self._lock.release()
        return status


def _environment(slot: Slot, runtime: Runtime) -> dict[str, str]:
    """Threads, and the one GPU of the slot: a worker sees no other."""
    environment = os.environ | {"OMP_NUM_THREADS": str(runtime.threads), "MKL_NUM_THREADS": str(runtime.threads)}
    if slot.device != "cpu":
        index = int(slot.device.split(":")[1])
        visible = os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")
        environment["CUDA_VISIBLE_DEVICES"] = visible[index] if index < len(visible) and visible[index] else str(index)
    return environment
