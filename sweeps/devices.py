"""On what a sweep may run: slots for workers, and the lock that keeps two sweeps off one GPU.

Found without torch, so that planning stays light: the parent never imports it. A GPU belongs to one sweep while that sweep
has a worker on it, because the worker keeps the last encoder in the GPU's memory between steps; a second sweep waits its turn.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from functools import lru_cache
from itertools import takewhile
from pathlib import Path

from filelock import FileLock, Timeout

from harness.runtime import Runtime
from sweeps.plan import VERSIONS

COMPUTED = frozenset({"pretrain", "finetune", "evaluate"})
"""Kinds of step that use an accelerator where there is one; the rest is text."""
SOLE = frozenset({"synthesize"})
"""Kinds of step of which one runs at a time: the ledger has one writer."""


@dataclass(frozen=True)
class Slot:
    """A place for one worker."""

    device: str
    """`cpu` or `cuda:N`, N as this process counts: within CUDA_VISIBLE_DEVICES."""
    kinds: frozenset[str] | None
    """Kinds of step it takes; None: all."""

    def takes(self, kind: str) -> bool:
        """Whether a step of this kind may run here."""
        return self.kinds is None or kind in self.kinds


def visible_gpus() -> tuple[str, ...]:
    """The GPUs this process may use, `cuda:N` as it counts them; empty without a driver."""
    asked = _asked()
    return tuple(f"cuda:{index}" for index in range(len(_identities()) if asked is None else len(asked)))


def _asked() -> list[str] | None:
    """What CUDA_VISIBLE_DEVICES names, in order, up to the first that CUDA would not take; None: it is not set."""
    names = os.environ.get("CUDA_VISIBLE_DEVICES")
    if names is None:
        return None
    return list(takewhile(lambda name: name not in ("", "-1"), (name.strip() for name in names.split(","))))


@lru_cache(maxsize=1)
def _identities() -> tuple[str, ...]:
    """Identities of the machine's GPUs in the driver's order: `GPU-` and a UUID."""
    if shutil.which("nvidia-smi") is None:
        return ()
    listed = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, check=False, timeout=20)
    return tuple(re.findall(r"^GPU \d+: .*\(UUID: (\S+)\)", listed.stdout, flags=re.MULTILINE))


def identity(device: str) -> str:
    """Which piece of hardware `cuda:N` is, whoever counts: its UUID, or the machine's number for it where none is told."""
    index = int(device.split(":")[1])
    asked = _asked()
    name = asked[index] if asked is not None and index < len(asked) else str(index)
    if name.isdigit():
        return _identities()[int(name)] if int(name) < len(_identities()) else name
    return next((whole for whole in _identities() if whole.startswith(name)), name)  # CUDA takes a UUID's beginning for it


def slots(runtime: Runtime, gpus: tuple[str, ...]) -> tuple[Slot, ...]:
    """Workers of a sweep: one per GPU for what is computed and the rest for text, or all alike on the CPU."""
    chosen = gpus if runtime.device == "auto" else () if runtime.device == "cpu" else (runtime.device,)
    if not chosen:
        return tuple(Slot("cpu", None) for _ in range(runtime.workers))
    return (*(Slot(device, COMPUTED) for device in chosen), Slot("cpu", frozenset(VERSIONS) - COMPUTED))


def gpu_lock(device: str) -> FileLock:
    """The lock of one GPU, shared by all sweeps of the machine, its stores and its people; the kernel frees it when we die."""
    folder = Path(tempfile.gettempdir()) / "embedding-ablations"
    if not folder.exists():
        folder.mkdir(exist_ok=True)
        folder.chmod(0o777)  # another account must be able to wait here too
    return FileLock(folder / f"gpu-{identity(device)}.lock", mode=0o666)


def claimed(device: str) -> FileLock | None:
    """The lock of a GPU if it is free, held; None while another sweep has it."""
    lock = gpu_lock(device)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        return None
    return lock
