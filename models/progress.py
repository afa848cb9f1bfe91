"""How far a training run is, on disk: killed and resumed, it ends with the same bits.

A state holds the trained parameters, the optimizer's moments, the generators and the lines of the curve; the sampler needs
none, its stream is drawn again. It is one safetensors file, replaced by rename, and it names the run it belongs to. How often
it is written is a matter of running, not of the result; what a state lacks is computed again.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch
    from torch import Tensor

STATE_FILE = "state.safetensors"


class StateError(RuntimeError):
    """A state that cannot be read; names the file and the remedy."""


@dataclass(frozen=True)
class Resume:
    """Where a run keeps its state, and how often it writes it."""

    folder: Path
    seconds: float
    """At least so much time lies between two states; 0: one after every step."""


@dataclass
class Progress:
    """What a run has behind it."""

    norm_start: float
    """Of the trainable parameters before the first step."""
    lines: list[dict[str, float]] = field(default_factory=list)
    """One per finished step, as in `metrics.jsonl`."""
    preview: list[dict[str, Any]] = field(default_factory=list)

    @property
    def step(self) -> int:
        """Finished steps."""
        return len(self.lines)

    def total(self, name: str) -> float:
        """A column of the curve, summed."""
        return sum(line[name] for line in self.lines)


def save_state(
    folder: Path, run: str, progress: Progress, parameters: Mapping[str, Tensor], optimizer: torch.optim.Optimizer
) -> None:
    """Write the state of a run, durably, in place of the one before."""
    from safetensors.torch import save_file

    tensors = {f"parameter/{name}": value for name, value in parameters.items()}
    for name, value in parameters.items():
        tensors |= {f"{key}/{name}": moment for key, moment in optimizer.state[value].items()}
    tensors |= {f"generator/{name}": state for name, state in _generators().items()}
    about = {"run": run, "lines": json.dumps(progress.lines), "preview": json.dumps(progress.preview),
             "norm_start": repr(progress.norm_start)}  # fmt: skip
    folder.mkdir(parents=True, exist_ok=True)
    temporary = folder / f"{STATE_FILE}.tmp"
    save_file({name: value.detach().cpu().contiguous() for name, value in tensors.items()}, temporary, metadata=about)
    with temporary.open("rb+") as handle:
        os.fsync(handle.fileno())
    temporary.rename(folder / STATE_FILE)


def load_state(folder: Path, run: str, parameters: Mapping[str, Tensor], optimizer: torch.optim.Optimizer) -> Progress | None:
    """Put the state of a run back and say how far it was; None if there is none, or it is another run's."""
    import torch
    from safetensors import SafetensorError, safe_open

    path = folder / STATE_FILE
    if not path.is_file():
        return None
    try:
        opened = safe_open(path, "pt")
    except SafetensorError as error:
        raise StateError(f"{path}: corrupt ({error}); delete it, and training starts from the beginning") from error
    with opened as file:
        about = file.metadata()
        if about["run"] != run:
            return None
        state: dict[str, dict[str, Tensor]] = {}
        for key in file.keys():  # noqa: SIM118 - a safetensors file is no mapping
            kind, _, name = key.partition("/")
            state.setdefault(kind, {})[name] = file.get_tensor(key)
    with torch.no_grad():
        for name, value in parameters.items():
            value.copy_(state["parameter"][name])
    for name, value in parameters.items():
        moments = {kind: part[name] for kind, part in state.items() if kind not in ("parameter", "generator")}
        optimizer.state[value] = {
            kind: moment if kind == "step" else moment.to(value.device) for kind, moment in moments.items()
        }
    for name, generator in state["generator"].items():
        if name == "cpu":
            torch.set_rng_state(generator)
        elif torch.cuda.is_available():
            torch.cuda.set_rng_state(generator, int(name))
    return Progress(float(about["norm_start"]), json.loads(about["lines"]), json.loads(about["preview"]))


def speeds(lines: Sequence[dict[str, float]], seconds: float, useful: float, executed: float) -> dict[str, float]:
    """Rates for measured.json, of real tokens; `useful` operations a token, `executed` times that a padded one."""
    tokens = sum(line["tokens"] for line in lines)
    padded = sum(line["tokens"] / (1 - line["padding"]) for line in lines)
    return {
        "train_seconds": seconds, "tokens_per_second": tokens / seconds,
        "examples_per_second": sum(line["examples"] for line in lines) / seconds,
        "useful_flops_per_second": useful * tokens / seconds,
        "executed_flops_per_second": useful * executed * padded / seconds,
    }  # fmt: skip


def _generators() -> dict[str, Tensor]:
    import torch

    devices = range(torch.cuda.device_count())
    return {"cpu": torch.get_rng_state(), **{str(number): torch.cuda.get_rng_state(number) for number in devices}}
