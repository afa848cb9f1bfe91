"""A published adapter (peft's format) on the base model its own file names: judged as it is, never trained further.

Adapter and base are two backbones, each pinned by its own digest or revision, so that an identity covers both. In memory the
adapter is the first checkpoint on the base: it is loaded, checked and laid on as those that were trained here.

Tokens are the base's. An adapter that brings other ones is refused, as is one that is no LoRA, or whose base was changed by
how it was initialised: its vectors would be somebody else's.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal

from harness.identity import combine_digests
from harness.kinds import BY_KIND
from models import backbone
from models.adapter import ADAPTER_CONFIG, ADAPTER_WEIGHTS
from models.backbone import AUTO, Backbone, BackboneError, Folder, Hub, Package, Shipped

REBASED = ("pissa", "olora", "corda", "loftq")  # ways to initialise a LoRA that also change the weights beneath it


@dataclass(frozen=True)
class Adapted:
    """A base with a published adapter on it."""

    kind: Literal["peft"]
    adapter: Annotated[Hub | Folder, BY_KIND]
    """`adapter_config.json` and `adapter_model.safetensors`, in the hub or in `runtime.models`."""
    base: Annotated[Shipped | Package | Hub | Folder, BY_KIND] | None
    """None: the one that `adapter_config.json` names; a pinned specification has none of that."""


Judged = Annotated[Shipped | Package | Hub | Folder | Adapted, BY_KIND]
"""What can be evaluated; of these `Backbone` can be trained."""


def pin(judged: Judged, models_root: str | None) -> Judged:
    """The same with digests in place of `auto` and the base written out; raises BackboneError for what cannot be judged."""
    if not isinstance(judged, Adapted):
        return backbone.pin(judged, models_root)
    folder = _adapter_folder(judged.adapter, models_root)
    config = _read_config(folder)
    base = backbone.pin(judged.base or _named_base(config, folder, models_root), models_root)
    _refuse_other_tokens(folder, backbone.locate(base, models_root))
    adapter = judged.adapter
    if isinstance(adapter, Folder):
        sha256 = backbone.weights_digest(folder) if adapter.sha256 == AUTO else adapter.sha256
        adapter = replace(adapter, sha256=sha256, settings=_settings(folder) if adapter.settings == AUTO else adapter.settings)
    return Adapted("peft", adapter, base)


def locate(judged: Judged, models_root: str | None) -> tuple[Path, tuple[Path, ...]]:
    """The verified folder of the weights, and those of the adapters that lie on them; raises BackboneError."""
    if not isinstance(judged, Adapted):
        return backbone.locate(judged, models_root), ()
    if judged.base is None:
        raise BackboneError("backbone.base: is written out when a run is planned; call models.adapted.pin first")
    folder, adapter = _adapter_folder(judged.adapter, models_root), judged.adapter
    if isinstance(adapter, Folder):
        backbone.refuse_other("adapter.sha256", [folder / ADAPTER_WEIGHTS], backbone.weights_digest(folder), adapter.sha256)
        backbone.refuse_other("adapter.settings", [folder / ADAPTER_CONFIG], _settings(folder), adapter.settings)
    return backbone.locate(judged.base, models_root), (folder,)


def own_folder(judged: Judged, models_root: str | None) -> Path:
    """The folder that people published: the adapter's where there is one."""
    base, adapters = locate(judged, models_root)
    return adapters[0] if adapters else base


def _adapter_folder(adapter: Hub | Folder, models_root: str | None) -> Path:
    folder = backbone.folder_of(adapter, models_root, ADAPTER_CONFIG)
    names = [path.name for path in backbone.weight_files(folder)]
    if names != [ADAPTER_WEIGHTS]:
        raise BackboneError(f"backbone.adapter: {folder} holds {', '.join(names)}; {ADAPTER_WEIGHTS} and no other is needed")
    return folder


def _settings(folder: Path) -> str:
    return combine_digests({ADAPTER_CONFIG: backbone.digest_once(folder / ADAPTER_CONFIG)})


def _read_config(folder: Path) -> dict[str, Any]:
    """The adapter's own account of itself; raises BackboneError unless it is a LoRA on an unchanged base."""
    path = folder / ADAPTER_CONFIG
    try:
        config: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        kind, start = config["peft_type"], config.get("init_lora_weights")
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise BackboneError(f"backbone.adapter: {path} is not a peft configuration ({error!r})") from error
    if kind != "LORA":
        raise BackboneError(f"backbone.adapter: {path} is of peft_type {kind!r}; LORA is read, merge others into their base")
    if isinstance(start, str) and start.startswith(REBASED):
        raise BackboneError(
            f"backbone.adapter: {path} was initialised by {start!r}, which changed its base; publish it merged, or converted "
            "to a plain LoRA (peft: path_initial_model_for_weight_conversion)"
        )
    return config


def _named_base(config: dict[str, Any], folder: Path, models_root: str | None) -> Backbone:
    """The base that an adapter names: at the commit it names, else the copy in `runtime.models` by its bytes."""
    name, revision = config.get("base_model_name_or_path"), config.get("revision")
    if not isinstance(name, str) or not name:
        raise BackboneError(f"backbone.base: {folder / ADAPTER_CONFIG} names no base_model_name_or_path; name the base here")
    if isinstance(revision, str) and len(revision) == 40:
        return Hub("hub", name, revision)
    if models_root is not None and (Path(models_root).expanduser() / name / "config.json").is_file():
        return Folder("folder", name, AUTO)
    raise BackboneError(
        f"backbone.base: the adapter names {name!r} and no commit of it; put a copy into runtime.models/{name}, or write "
        f"backbone.base={{kind: hub, id: {name}, revision: COMMIT}}"
    )


def _refuse_other_tokens(folder: Path, base: Path) -> None:
    """Post-processors may differ: which specials a text gets is `tokenizer.py`'s to say."""
    paths = [place / "tokenizer.json" for place in (folder, base)]
    if all(path.is_file() for path in paths):
        own, beneath = (json.loads(path.read_text(encoding="utf-8")) for path in paths)
        if differing := [key for key in ("model", "normalizer", "pre_tokenizer", "added_tokens") if own[key] != beneath[key]]:
            raise BackboneError(
                f"backbone.adapter: {paths[0]} and {paths[1]} differ in {', '.join(differing)}; an adapter with tokens of its "
                "own is judged merged: save it with peft's merge_and_unload and this tokenizer, as a folder"
            )
