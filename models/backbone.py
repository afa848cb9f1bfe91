"""Where a backbone's files come from, and that they are the ones asked for.

A spec names a backbone by something that cannot change behind its back: SHA-256 of its weights and of the small files that
say what they mean, or a hub revision. No folder of this machine enters an identity; `runtime.models` says where local copies
lie. Weights are safetensors only (a pickle runs code when it is opened), and no repository's own code is ever executed.

Not here: tensors. This module is imported by the parent of a sweep and needs no torch.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, replace
from functools import lru_cache
from importlib import metadata
from pathlib import Path
from typing import Annotated, Any, Literal

from harness.identity import combine_digests, file_digest
from harness.kinds import BY_KIND

AUTO = "auto"  # `sha256: auto` in a configuration: the digest of what lies there when the run is planned
TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "tokenizer.model", "vocab.txt",
                   "vocab.json", "merges.txt")  # fmt: skip
HUB_FILES = ("*.json", "*.safetensors", "*.txt", "*.model")  # what a download may bring: no code, no pickle


class BackboneError(ValueError):
    """A backbone that is missing, incomplete, or not the one the spec names; says the key, the path and the remedy."""


@dataclass(frozen=True)
class Shipped:
    """A backbone of ours, `models/<name>/weights`."""

    kind: Literal["shipped"]
    name: str
    sha256: str
    """Of `model.safetensors`; for weights in several files see `weights_digest`."""
    settings: str = AUTO
    """Of `config.json` and the tokenizer's files: equal weights under another rotary base are another backbone."""


@dataclass(frozen=True)
class Package:
    """Weights inside an installed Python distribution; its files are read, its code is never imported."""

    kind: Literal["package"]
    distribution: str
    sha256: str
    settings: str = AUTO


@dataclass(frozen=True)
class Hub:
    """A Hugging Face repository at a pinned commit; a copy in `runtime.models/<org>/<name>` goes first."""

    kind: Literal["hub"]
    id: str
    revision: str


@dataclass(frozen=True)
class Folder:
    """A local folder, `runtime.models/<name>`."""

    kind: Literal["folder"]
    name: str
    sha256: str
    settings: str = AUTO


Backbone = Annotated[Shipped | Package | Hub | Folder, BY_KIND]


def label(backbone: Backbone) -> str:
    """What people call it: for messages and model cards, never for an identity."""
    if isinstance(backbone, Hub):
        return backbone.id
    return backbone.distribution if isinstance(backbone, Package) else backbone.name


def locate(backbone: Backbone, models_root: str | None) -> Path:
    """The folder with `config.json`, tokenizer and safetensors of a backbone, verified against its digests.

    Raises BackboneError if it is not there, not safetensors, or holds other bytes than the spec names. `settings` that nobody
    pinned are taken as they lie there.
    """
    folder = folder_of(backbone, models_root)
    if isinstance(backbone, Hub):
        return folder
    if backbone.sha256 == AUTO:
        raise BackboneError(
            f"backbone.sha256: {AUTO!r} stands for a digest that is written when a run is planned; "
            "call models.backbone.pin first"
        )
    refuse_other("sha256", weight_files(folder), weights_digest(folder), backbone.sha256)
    if backbone.settings != AUTO:
        refuse_other("settings", settings_files(folder), settings_digest(folder), backbone.settings)
    return folder


def refuse_other(key: str, files: list[Path], found: str, asked: str) -> None:
    """Raises BackboneError unless a digest is the one the spec names under `backbone.<key>`."""
    if found != asked:
        raise BackboneError(
            f"backbone.{key}: {', '.join(map(str, files))} has SHA-256 {found}, the spec says {asked}; the file is corrupt or "
            "another one: restore it, or write its digest into conf/model/"
        )


def pin(backbone: Backbone, models_root: str | None) -> Backbone:
    """The same backbone with digests of what lies there now in place of `auto`; others come back unchanged."""
    if isinstance(backbone, Hub) or AUTO not in (backbone.sha256, backbone.settings):
        return backbone
    folder = folder_of(backbone, models_root)
    return replace(
        backbone,
        sha256=weights_digest(folder) if backbone.sha256 == AUTO else backbone.sha256,
        settings=settings_digest(folder) if backbone.settings == AUTO else backbone.settings,
    )


def weight_files(folder: Path) -> list[Path]:
    """The safetensors of a folder, sorted by name; raises BackboneError if there are none."""
    files = sorted(folder.glob("*.safetensors"))
    if not files:
        pickles = sorted(path.name for path in (*folder.glob("*.bin"), *folder.glob("*.pt")))
        if pickles:
            raise BackboneError(
                f"backbone: {folder} has only {', '.join(pickles)}, which is a pickle and is never opened; "
                "convert it to model.safetensors (safetensors.torch.save_model) or name a revision that has one"
            )
        raise BackboneError(f"backbone: {folder} has no *.safetensors; put the weights there or name another folder")
    return files


def weights_digest(folder: Path) -> str:
    """SHA-256 of the one weights file, or of the names and digests of several."""
    digests = {path.name: digest_once(path) for path in weight_files(folder)}
    return next(iter(digests.values())) if len(digests) == 1 else combine_digests(digests)


def settings_files(folder: Path) -> list[Path]:
    """`config.json` and those files of a tokenizer that there are."""
    return [folder / name for name in ("config.json", *TOKENIZER_FILES) if (folder / name).is_file()]


def settings_digest(folder: Path) -> str:
    """One SHA-256 for everything beside the weights that decides a vector: positions, norms, activation, tokens."""
    return combine_digests({path.name: digest_once(path) for path in settings_files(folder)})


def files_digest(folder: Path) -> str:
    """`folder_digest` of a folder that nobody writes to: large files are read once per process."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return combine_digests({path.relative_to(folder).as_posix(): digest_once(path) for path in files})


def digest_once(path: Path) -> str:
    """SHA-256 of a file that nobody writes to: an arm on a resident base does not wait for gigabytes to be read again."""
    stat = path.stat()
    return _digest(path, stat.st_size, stat.st_mtime_ns)


@lru_cache(maxsize=256)
def _digest(path: Path, _size: int, _modified: int) -> str:
    return file_digest(path)


def read_config(folder: Path) -> dict[str, Any]:
    """The backbone's `config.json`; raises BackboneError naming the file if it is not one."""
    path = folder / "config.json"
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        data["model_type"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BackboneError(f"backbone: {path} is not a transformers configuration ({error})") from error
    return dict(data)


def folder_of(backbone: Backbone, models_root: str | None, holds: str = "config.json") -> Path:
    """Where a backbone's files lie, downloaded if need be; raises BackboneError unless the file `holds` is there."""
    if isinstance(backbone, Shipped):
        folder = Path(__file__).parent / backbone.name / "weights"
        remedy = f"backbone.name: nothing of that name ships with us; known: {', '.join(_shipped()) or 'none'}"
    elif isinstance(backbone, Package):
        return _package_folder(backbone)
    elif isinstance(backbone, Hub):
        return _hub_folder(backbone, models_root, holds)
    elif models_root is None:
        raise BackboneError(f"backbone.name: {backbone.name!r} is a local folder; say where with runtime.models=DIR")
    else:
        folder = Path(models_root).expanduser() / backbone.name
        remedy = "backbone.name: put the model there, or change runtime.models"
    if not (folder / holds).is_file():
        raise BackboneError(f"{remedy} ({folder / holds} does not exist)")
    return folder


def _shipped() -> list[str]:
    return sorted(path.parent.parent.name for path in Path(__file__).parent.glob("*/weights/config.json"))


def _package_folder(backbone: Package) -> Path:
    try:
        files = metadata.distribution(backbone.distribution).files or []
    except metadata.PackageNotFoundError:
        raise BackboneError(
            f"backbone.distribution: {backbone.distribution!r} is not installed; pip install {backbone.distribution}"
        ) from None
    found = sorted({Path(str(file.locate())).parent for file in files if file.name.endswith(".safetensors")})
    if len(found) != 1:
        raise BackboneError(
            f"backbone.distribution: {backbone.distribution!r} has {len(found)} folders with safetensors, one is needed"
        )
    if not (found[0] / "config.json").is_file():
        raise BackboneError(f"backbone.distribution: {found[0]} has no config.json; reinstall {backbone.distribution}")
    return found[0]


def _hub_folder(backbone: Hub, models_root: str | None, holds: str) -> Path:
    if models_root is not None:
        local = Path(models_root).expanduser() / backbone.id
        if (local / holds).is_file():
            return local
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(backbone.id, revision=backbone.revision, allow_patterns=list(HUB_FILES)))
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        offline = " (HF_HUB_OFFLINE is set)" if os.environ.get("HF_HUB_OFFLINE") else ""
        where = "runtime.models is not set" if models_root is None else f"{models_root}/{backbone.id} does not exist"
        raise BackboneError(
            f"backbone.id: {backbone.id}@{backbone.revision}: {where} and the hub gave {type(error).__name__}{offline}; "
            "put a copy there, or run once with the hub reachable"
        ) from error
