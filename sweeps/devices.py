"""On what a sweep may run: slots for workers, and the lock that keeps two sweeps off one GPU.

Found without torch, so that planning stays light: the parent never imports it. A GPU belongs to one sweep while that sweep
has a worker on it, because the worker keeps the last encoder in the GPU's memory between steps; a second sweep waits its turn.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from harness.runtime import Runtime

COMPUTED = frozenset({"pretrain", "finetune", "evaluate"})
"""Kinds of step that use an accelerator where there is one; the rest is text."""
SOLE = frozenset({"synthesize"})
"""Kinds of step of which one runs at a time: the ledger has one writer."""


@dataclass(frozen=True)
class Slot:
    """A place for one worker."""

    device: str
    """`cpu` or `cuda:N`, N as the machine counts."""
    kinds: frozenset[str] | None
    """Kinds of step it takes; None: all."""

    def takes(self, kind: str) -> bool:
        """Whether a step of this kind may run here."""
        return self.kinds is None or kind in self.kinds


def visible_gpus() -> tuple[str, ...]:
    """The GPUs this process may use, `cuda:N` as CUDA will number them; empty without a driver."""
    asked = os.environ.get("CUDA_VISIBLE_DEVICES")
    if asked is not None:
        return tuple(f"cuda:{index}" for index, name in enumerate(asked.split(",")) if name.strip() not in ("", "-1"))
    if shutil.which("nvidia-smi") is None:
        return ()
    listed = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, check=False, timeout=20)
    lines = [line for line in listed.stdout.splitlines() if line.startswith("GPU ")]
    return tuple(f"cuda:{index}" for index in range(len(lines)))


def slots(runtime: Runtime, gpus: tuple[str, ...]) -> tuple[Slot, ...]:
    """Workers of a sweep: one per GPU for what is computed and the rest for text, or all alike on the CPU."""
    chosen = gpus if runtime.device == "auto" else () if runtime.device == "cpu" else (runtime.device,)
    if not chosen:
        return tuple(Slot("cpu", None) for _ in range(runtime.workers))
    text = Slot("cpu", frozenset({"synthesize", "mined", "labelled", "mix"}))
    return (*(Slot(device, COMPUTED) for device in chosen), text)


def gpu_lock(device: str) -> FileLock:
    """The lock of one GPU of this machine, shared by all sweeps whatever their stores; the kernel frees it when we die."""
    folder = Path(tempfile.gettempdir()) / "embedding-ablations"
    folder.mkdir(exist_ok=True)
    return FileLock(folder / f"{device.replace(':', '-')}.lock")


def claimed(device: str) -> FileLock | None:
    """The lock of a GPU if it is free, held; None while another sweep has it."""
    lock = gpu_lock(device)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        return None
    return lock
