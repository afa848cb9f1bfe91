"""A worker process: takes one step at a time from its parent, builds it, tells how it went.

Started as `python -m sweeps.worker EVENTS_FD PARENT_PID`. Jobs come as JSON lines on standard input, events go as JSON lines
to the given descriptor, and whatever a body or library prints goes to the worker's log: a flood of output cannot be mistaken
for an event. A worker plans again from the pinned specification and refuses a job whose fingerprint it does not find: parent
and worker then run different code.

It is started in its own session, so Ctrl-C in the terminal reaches the parent only; it ends itself when the parent is gone.
"""

from __future__ import annotations

import ctypes
import faulthandler
import json
import os
import resource
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from typing import IO, Any

from harness.config import decode
from harness.runtime import Runtime
from harness.step import Body, Step
from harness.store import BusyError, Store
from sweeps.diagnosis import of_error

REPORT_INTERVAL = 0.2  # seconds between progress events; people read no faster
PR_SET_PDEATHSIG = 1  # prctl(2)
TOLD = 8000  # characters kept of each end of a message or traceback


class Events:
    """The line to the parent; safe to use from the body's thread and the heartbeat."""

    def __init__(self, stream: IO[str]) -> None:
        self._stream = stream
        self._lock = threading.Lock()
        self._last = 0.0

    def send(self, event: str, **fields: Any) -> None:
        """One event, as one JSON line."""
        with self._lock:
            self._stream.write(json.dumps({"event": event, **fields}) + "\n")
            self._stream.flush()

    def report(self, done: int, total: int, note: str = "") -> None:
        """Progress of the step at hand; at most a few times a second."""
        now = time.monotonic()
        if now - self._last >= REPORT_INTERVAL or done >= total:
            self._last = now
            self.send("progress", done=done, total=total, note=note)


Resolve = Callable[[Mapping[str, Any], Runtime], tuple[Step, Body]]
"""From a job to the step it names and the work of that step; tests bring their own."""


class Worker:
    """Builds the steps it is told to."""

    def __init__(self, events: Events, resolve: Resolve) -> None:
        self.events = events
        self.resolve = resolve
        self._stores: dict[str, Store] = {}

    def run(self, job: Mapping[str, Any]) -> None:
        """Build one step and send `done`, `busy` or `failed`."""
        runtime = decode(Runtime, job["runtime"])
        _limit_memory(runtime)
        try:
            built, seconds = self._build(job, runtime)
        except BusyError:
            self._send("busy", key=job["key"])
        except BaseException as error:  # noqa: BLE001 - every way a step can end is told to the parent, SystemExit too
            _limit_memory(replace(runtime, memory=None))  # telling takes some
            kind, message = of_error(error, runtime)
            trace = short(traceback.format_exc())
            self._send("failed", key=job["key"], kind=kind, message=short(message), traceback=trace)
        else:
            self._send("done", key=job["key"], built=built, seconds=seconds)

    def _send(self, event: str, **fields: Any) -> None:
        """How the step ended, after all that was printed until then."""
        for stream in (sys.stdout, sys.stderr):
            with suppress(ValueError):  # a body may have closed it
                stream.flush()
        self.events.send(event, **fields)

    def _build(self, job: Mapping[str, Any], runtime: Runtime) -> tuple[bool, float]:
        started = time.monotonic()
        step, body = self.resolve(job, runtime)
        store = self._stores.setdefault(runtime.store, Store(runtime.store_path))
        built = store.realize(step, body, runtime, self.events.report)
        return built, time.monotonic() - started


def _limit_memory(runtime: Runtime) -> None:
    """Hold this process to `runtime.memory`: what asks for more gets a MemoryError instead of the kernel's killer."""
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    limit = hard if runtime.memory is None else int(runtime.memory * 2**30)
    resource.setrlimit(resource.RLIMIT_AS, (limit, hard))  # the soft limit only: it is lifted to tell of a failure


_plans: dict[str, Mapping[str, Step]] = {}


def planned(job: Mapping[str, Any], runtime: Runtime) -> tuple[Step, Body]:
    """The step of a job, found by planning the job's run again; RuntimeError if this code plans otherwise."""
    from sweeps.merging import plan_again
    from sweeps.steps import body_of

    text = json.dumps(job["config"], sort_keys=True)
    if text not in _plans:
        _plans[text] = plan_again(job["config"], runtime)
    for step in _plans[text].values():
        if step.key == job["key"]:
            return step, body_of(step)
    raise RuntimeError(f"{job['key']} is not in the plan this worker makes: was the code changed during the sweep?")


def short(text: str) -> str:
    """Both ends of a text: an error may carry a whole document in its message."""
    return text if len(text) <= 2 * TOLD else f"{text[:TOLD]}\n[... {len(text) - 2 * TOLD} characters ...]\n{text[-TOLD:]}"


def _end_with_parent(parent: int) -> None:
    """End this process when its parent is gone: at once where the kernel can do it, whatever the body holds up."""
    with suppress(OSError, AttributeError):  # Linux only
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    threading.Thread(target=_watch, args=(parent,), daemon=True).start()


def _watch(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(0.5)
    os._exit(1)


def serve(resolve: Resolve) -> None:
    """Serve jobs until standard input ends."""
    _end_with_parent(int(sys.argv[2]))  # as told: who is asked may have gone already
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    faulthandler.enable()  # a segfault says where
    faulthandler.register(signal.SIGUSR1)  # so does a hang, when the parent asks
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]  # what a killed worker printed last is kept
    events = Events(os.fdopen(int(sys.argv[1]), "w", encoding="utf-8"))
    worker = Worker(events, resolve)
    events.send("ready")
    for line in sys.stdin:
        worker.run(json.loads(line))


if __name__ == "__main__":
    serve(planned)
