"""What of a backbone is trained: a low-rank adapter (peft's LoRA), or all of it.

Adapters are saved in peft's own format, so that any peft reads them; the base they belong to is named as people name it,
never by a path of this machine.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from annotated_types import Ge, Gt, Lt

from harness.kinds import BY_KIND
from models.seeds import seeded

if TYPE_CHECKING:
    from torch import Tensor, nn

ADAPTER_WEIGHTS = "adapter_model.safetensors"
ADAPTER_CONFIG = "adapter_config.json"
FULL_WEIGHTS = "model.safetensors"
FULL_CONFIG = "weights.json"


class CheckpointError(ValueError):
    """A checkpoint that is incomplete or does not fit its backbone; names the folder and the remedy."""


@dataclass(frozen=True)
class Lora:
    """Low-rank updates of linear layers: W + alpha/rank * B A, B starting at zero (arXiv 2106.09685)."""

    kind: Literal["lora"]
    rank: Annotated[int, Gt(0)]
    alpha: Annotated[float, Gt(0)]
    dropout: Annotated[float, Ge(0), Lt(1)]
    targets: Literal["all-linear"]
    """Which layers carry an update; the paper's are all linear layers."""


@dataclass(frozen=True)
class Full:
    """No adapter: every parameter of the backbone is trained."""

    kind: Literal["none"]


Adapter = Annotated[Lora | Full, BY_KIND]


def attach(spec: Adapter, model: nn.Module, seed: int) -> nn.Module:
    """Make `model` trainable as the spec says; a LoRA is initialised from `seed` alone and wraps the model in place.

    LoRA parameters are float32 whatever the base is, and their dropout is the only one: the frozen base stays in eval mode.
    Full is in train mode, with the dropout that the backbone's own configuration says.
    """
    if isinstance(spec, Full):
        return model.requires_grad_(requires_grad=True).train()
    from peft import LoraConfig, TaskType, get_peft_model

    config = LoraConfig(r=spec.rank, lora_alpha=spec.alpha, lora_dropout=spec.dropout, target_modules=spec.targets,
                        bias="none", task_type=TaskType.FEATURE_EXTRACTION)  # fmt: skip
    with seeded(seed):
        wrapped: nn.Module = get_peft_model(model, config).eval()
    for name, module in wrapped.named_modules():
        if name.rpartition(".")[2] == "lora_dropout":
            module.train()
    return wrapped


def trainable(model: nn.Module) -> dict[str, Tensor]:
    """The parameters that an optimizer changes, by name, sorted."""
    return {name: value for name, value in sorted(model.named_parameters()) if value.requires_grad}


def norm(model: nn.Module) -> float:
    """The Euclidean norm of all trainable parameters together, summed in float64."""
    return float(sum(value.detach().double().square().sum().item() for value in trainable(model).values()) ** 0.5)


def save(spec: Adapter, model: nn.Module, base: str, out: Path) -> None:
    """Write what was trained: an adapter in peft's format, or all weights in float32. The same tensors give the same bytes."""
    if isinstance(spec, Full):
        tensors = {name: value.detach().cpu().float() for name, value in trainable(model).items()}
        write_checkpoint(tensors, {"base": base, "dtype": "float32", "tensors": sorted(tensors)}, out)
        return
    from peft import get_peft_model_state_dict

    config = model.peft_config["default"].to_dict()  # type: ignore[index, union-attr]
    config |= {"base_model_name_or_path": base, "inference_mode": True}
    config = {key: sorted(value) if isinstance(value, set) else value for key, value in config.items()}
    write_checkpoint(get_peft_model_state_dict(model), config, out)


def write_checkpoint(tensors: Mapping[str, Tensor], config: Mapping[str, Any], out: Path) -> None:
    """Write an adapter, whose configuration names its `peft_type`, or all weights; the same tensors give the same bytes."""
    from safetensors.torch import save_file

    weights, settings = (ADAPTER_WEIGHTS, ADAPTER_CONFIG) if "peft_type" in config else (FULL_WEIGHTS, FULL_CONFIG)
    plain = {name: value.detach().cpu().contiguous() for name, value in sorted(tensors.items())}
    save_file(plain, out / weights, metadata={"format": "pt"})
    text = json.dumps(config, indent=1, sort_keys=True, allow_nan=False)
    (out / settings).write_text(text + "\n", encoding="utf-8")


def weights_file(checkpoint: Path) -> Path:
    """The tensors of a checkpoint; raises CheckpointError if it is not complete."""
    return checkpoint / (ADAPTER_WEIGHTS if is_adapter(checkpoint) else FULL_WEIGHTS)


def is_adapter(checkpoint: Path) -> bool:
    """Whether a payload folder holds an adapter; False: all weights. Raises CheckpointError if neither is complete."""
    if (checkpoint / ADAPTER_WEIGHTS).is_file() and (checkpoint / ADAPTER_CONFIG).is_file():
        return True
    if (checkpoint / FULL_WEIGHTS).is_file() and (checkpoint / FULL_CONFIG).is_file():
        return False
    raise CheckpointError(
        f"{checkpoint}: neither {ADAPTER_WEIGHTS} with {ADAPTER_CONFIG} nor {FULL_WEIGHTS} with {FULL_CONFIG}; "
        "move the step's folder away and run again"
    )


def restore_full(model: nn.Module, checkpoint: Path) -> None:
    """Put the weights of a full checkpoint into `model`; raises CheckpointError unless names and shapes agree."""
    import torch

    tensors = read_tensors(checkpoint / FULL_WEIGHTS)
    own = dict(model.named_parameters())
    wrong = sorted(set(own) ^ set(tensors)) or [n for n in sorted(own) if own[n].shape != tensors[n].shape]
    if wrong:
        raise CheckpointError(f"{checkpoint / FULL_WEIGHTS}: {len(wrong)} tensors do not fit the backbone, such as {wrong[0]}")
    with torch.no_grad():
        for name, value in own.items():
            value.copy_(tensors[name])


def restore_adapter(model: nn.Module, checkpoint: Path) -> nn.Module:
    """`model` wrapped with the adapter of a checkpoint, frozen and in eval mode (trap 48).

    Raises CheckpointError if a tensor of either side finds no partner (trap 25: an adapter that silently does not load).
    """
    from peft import LoraConfig, PeftModel, set_peft_model_state_dict

    data = json.loads((checkpoint / ADAPTER_CONFIG).read_text(encoding="utf-8"))
    tensors = _without_head(read_tensors(checkpoint / ADAPTER_WEIGHTS), model)
    with seeded(0):  # peft draws an initialisation that the tensors replace
        wrapped: nn.Module = PeftModel(model, LoraConfig.from_peft_type(**data), adapter_name="default")
    result = set_peft_model_state_dict(wrapped, tensors)
    missing = [name for name in result.missing_keys if "lora_" in name or "modules_to_save" in name]
    if missing or result.unexpected_keys:
        raise CheckpointError(
            f"{checkpoint}: {len(missing)} adapter tensors missing and {len(result.unexpected_keys)} unexpected for this "
            f"backbone, such as {[*missing, *result.unexpected_keys][0]}"
        )
    return wrapped.requires_grad_(requires_grad=False).eval()


def _without_head(tensors: dict[str, Tensor], model: nn.Module) -> dict[str, Tensor]:
    """Names as the bare backbone has them: published adapters are often trained on it inside a model with a head."""
    inside = f"base_model.model.{getattr(model, 'base_model_prefix', '')}."
    if not all(name.startswith(inside) for name in tensors):
        return tensors
    return {name.replace(inside, "base_model.model.", 1): value for name, value in tensors.items()}


def read_tensors(path: Path) -> dict[str, Tensor]:
    """The tensors of a file on the CPU; raises CheckpointError if it is corrupt."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        tensors: dict[str, Tensor] = load_file(path)
    except SafetensorError as error:
        raise CheckpointError(f"{path}: corrupt ({error}); move the step's folder away and run again") from error
    return tensors
