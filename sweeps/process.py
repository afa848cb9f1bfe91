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
from sweeps.devices import Slot, identity
from sweeps.graph import Node
from sweeps.output import Output

WORKER = (sys.executable, "-m", "sweeps.worker")
LOOK = 1.0  # seconds between looks at the processor time
BUSY = 0.05  # seconds of processor time between looks that count as work
ANSWER = 0.3  # seconds that a worker has to print where it hangs


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
        self._buffer = b""
        self.output = Output(logs / f"worker-{index}.log")
        self.events, writer = os.pipe()
        self.process = subprocess.Popen(
            [*program, str(writer), str(os.getpid())],
            stdin=subprocess.PIPE, stdout=self.output.writer, stderr=self.output.writer, pass_fds=(writer,),
            start_new_session=True, env=_environment(slot, runtime), cwd=Path(__file__).parent.parent,
        )  # fmt: skip
        os.close(writer)
        self.output.start()
        self.held = 0
        """Bytes of memory it was last seen with."""
        self._sign, self._looked, self._own, self._family = time.monotonic(), 0.0, 0.0, 0.0

    def give(self, node: Node) -> None:
        """Hand over one step."""
        self.node = node
        self._sign = time.monotonic()
        self.output.begin(node.key)
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

    def rested(self) -> float:
        """Seconds since it last said anything, if it has nothing to do."""
        return 0.0 if self.node else time.monotonic() - self._sign

    def hung(self) -> bool:
        """Whether a step has given no sign of life for longer than the runtime's patience."""
        now = time.monotonic()
        if self.node is None or now - self._looked < LOOK:
            return False
        self._looked = now
        with suppress(psutil.Error):
            process = psutil.Process(self.process.pid)
            self.held = process.memory_info().rss
            if self._works(process):
                self._sign = now
        return now - self._sign > self._runtime.patience

    def _works(self, process: psutil.Process) -> bool:
        """Whether it, or failing that what it started, has used the processor since the last look."""
        used, self._own = self._own, _cpu_seconds(process)
        if abs(self._own - used) > BUSY:
            return True
        used, self._family = self._family, sum(_cpu_seconds(child) for child in process.children(recursive=True))
        return abs(self._family - used) > BUSY

    def gone(self) -> bool:
        """Whether it has ended although something it started holds its end of the pipe open."""
        return self.process.poll() is not None and time.monotonic() - self._sign > LOOK

    def explain(self) -> None:
        """Have it print where each of its threads is: the handler is C's and answers whatever hangs."""
        with suppress(ProcessLookupError):
            os.kill(self.process.pid, signal.SIGUSR1)
        time.sleep(ANSWER)

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
        self.output.close()
        if self._lock is not None:
            self._lock.release()
        return status


def _cpu_seconds(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


def _environment(slot: Slot, runtime: Runtime) -> dict[str, str]:
    """Threads, and the one GPU of the slot: a worker sees no other."""
    environment = os.environ | {"OMP_NUM_THREADS": str(runtime.threads), "MKL_NUM_THREADS": str(runtime.threads)}
    if slot.device != "cpu":
        # Where no UUID is known it is a number, and numbers are the driver's.
        environment |= {"CUDA_VISIBLE_DEVICES": identity(slot.device), "CUDA_DEVICE_ORDER": "PCI_BUS_ID"}
    return environment
