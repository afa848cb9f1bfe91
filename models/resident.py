"""One base in memory, many arms on it: borrowed, wrapped with an adapter, given back bit for bit as it was.

Loading a large backbone takes minutes, attaching an adapter a fraction of a second. A base is one backbone with everything
beneath the adapter merged into it (contrastive pre-training, for instance); arms that share it differ in adapter, pooling,
data or loss. peft wraps a model in place and `unload` restores it exactly; merging and unmerging does not, so a resident base
is never merged into.

Full training changes the base itself: it loads its own, and the resident one makes room for it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.identity import fingerprint
from models.adapter import is_adapter, restore_adapter
from models.backbone import files_digest, settings_digest, weights_digest
from models.network import AS_CONFIGURED, Attention, Dtype, Positions, load_model

if TYPE_CHECKING:
    from torch import nn


class ResidentError(RuntimeError):
    """The base is lent already: it serves one arm at a time."""


class Resident:
    """Room for one base; asking for another one loads it in place of the first."""

    def __init__(self) -> None:
        self._key = ""
        self._model: nn.Module | None = None
        self._lent = False
        self.loads = 0
        """How often a base was loaded."""

    def clear(self) -> None:
        """Give the memory back; raises ResidentError while the base is lent."""
        if self._lent:
            raise ResidentError("the resident base is lent; finish with the arm that has it first")
        self._model, self._key = None, ""

    @contextmanager
    def borrow(
        self, folder: Path, attention: Attention, dtype: Dtype, beneath: Sequence[Path], device: str,
        positions: Positions = AS_CONFIGURED,
    ) -> Iterator[nn.Module]:  # fmt: skip
        """The base with `beneath` merged, frozen, in eval mode; an adapter put on it is taken off at the end.

        Raises ResidentError if it is lent, and whatever loading raises.
        """
        if self._lent:
            raise ResidentError("the resident base is lent; finish with the arm that has it, or use a second Resident")
        files = [weights_digest(folder), settings_digest(folder), *(files_digest(path) for path in beneath)]
        key = fingerprint([files, attention, dtype, device, positions])
        if key != self._key:
            self.clear()  # before loading the next: two do not fit where one barely does
            self._model = load_model(folder, attention, dtype, beneath, device, merge_last=True, positions=positions)
            self._key, self.loads = key, self.loads + 1
        assert self._model is not None  # noqa: S101 - loaded above
        self._lent = True
        try:
            yield self._model
        finally:
            _take_off(self._model)
            self._lent = False

    @contextmanager
    def with_checkpoints(
        self,
        folder: Path,
        attention: Attention,
        dtype: Dtype,
        checkpoints: Sequence[Path],
        device: str,
        positions: Positions = AS_CONFIGURED,
    ) -> Iterator[nn.Module]:
        """The base with a chain of checkpoints as an encoder needs it: the last adapter on top, the rest beneath."""
        top = bool(checkpoints) and is_adapter(checkpoints[-1])
        beneath = checkpoints[:-1] if top else checkpoints
        with self.borrow(folder, attention, dtype, beneath, device, positions) as base:
            yield restore_adapter(base, checkpoints[-1]) if top else base


def _take_off(base: Any) -> None:
    """Put back the plain layers that peft wrapped, and freeze everything again."""
    from peft.tuners.tuners_utils import BaseTunerLayer

    wrapped = [(name, module) for name, module in base.named_modules() if isinstance(module, BaseTunerLayer)]
    for name, module in wrapped:
        parent, _, child = name.rpartition(".")
        setattr(base.get_submodule(parent), child, module.get_base_layer())
    if hasattr(base, "peft_config"):
        del base.peft_config
    base.requires_grad_(requires_grad=False)
    base.zero_grad(set_to_none=True)
    base.eval()
