"""What a step's bad end is called, and what to do about it: from the error it raised, or from how its process ended.

Shared by both sides of a worker: `worker.py` sees errors, `executor.py` sees exit statuses and silence. It names; what
follows from a failure is decided by the executor.
"""

from __future__ import annotations

import errno
import signal
from typing import Literal

from harness.record import RecordError
from harness.runtime import Runtime
from harness.store import StaleError

Kind = Literal["error", "killed", "exit", "hang", "memory", "digest", "stale"]

# How libraries without an error of its own for it say that memory ran out: torch, C++, mmap in Rust or C, Python's threads.
EXHAUSTED = (
    "can't allocate memory", "std::bad_alloc", "Cannot allocate memory", "CUDA out of memory", "can't start new thread",
)  # fmt: skip


def of_error(error: BaseException, runtime: Runtime) -> tuple[Kind, str]:
    """The kind of an error that a body raised, and a message with the remedy where we know one."""
    message = f"{type(error).__name__}: {error}"
    if isinstance(error, SystemExit):
        return "exit", f"{left(error.code)} (its body raised SystemExit)"
    if out_of_memory(error):
        return "memory", f"{message}; {_room(error, runtime)}"
    if isinstance(error, StaleError):
        return "stale", message
    if isinstance(error, RecordError):
        return "digest", message
    return "error", message


def of_status(status: int, held: int) -> tuple[Kind, str]:
    """The kind and message for a worker that ended inside a step; `held` is the memory it was last seen with, in bytes."""
    if status >= 0:
        return "exit", f"its worker process {left(status)}"
    if status != -signal.SIGKILL:
        return "killed", f"its worker process was killed by {signal.Signals(-status).name}"
    remedy = "with a bound in runtime.memory it would fail with a traceback; fewer runtime.workers leave each more"
    return "killed", f"its worker process was killed by SIGKILL (out of memory? it held {held / 2**30:.1f} GiB; {remedy})"


def of_silence(runtime: Runtime) -> tuple[Kind, str]:
    """The kind and message for a step that gave no sign of life."""
    return "hang", f"no sign of life for {runtime.patience:g} s (runtime.patience): neither a report nor processor time"


def left(code: object) -> str:
    """How a process left that should not have."""
    told = 0 if code is None else code
    return (
        f"left with exit code {told} without finishing" if isinstance(told, int) else f"left without finishing, saying {told}"
    )


def out_of_memory(error: BaseException) -> bool:
    """Whether memory ran out, in whatever words the library at hand says so."""
    if isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno == errno.ENOMEM):
        return True
    text = str(error)
    return any(words in text for words in EXHAUSTED)


def _room(error: BaseException, runtime: Runtime) -> str:
    if "CUDA" in str(error):
        return "the GPU has no more: a smaller chunk_tokens of the training needs less"
    if runtime.memory is not None:
        return f"a worker may use {runtime.memory:g} GiB: raise runtime.memory, or null for no bound"
    return "the machine has no more: fewer runtime.workers leave each more"
