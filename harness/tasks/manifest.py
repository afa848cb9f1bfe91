"""What a fetched data set consists of: its revision and every file with its size and hash, beside the data, not in it.

A folder that somebody else filled has no manifest and is identified by its digest alone; one that `fetch.py` filled is also
held to the revision mteb pins, before anything is evaluated.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

FOLDER = ".fetched"


@dataclass(frozen=True)
class FetchedFile:
    """A file of a repository as the hub describes it."""

    path: str
    size: int
    sha256: str
    """Of large files; empty for those that git holds itself."""
    git: str
    """SHA-1 of git's blob; empty for large files, where it is the hash of a pointer."""


@dataclass(frozen=True)
class Manifest:
    """A data set, complete."""

    repository: str
    revision: str
    files: tuple[FetchedFile, ...]


def manifest_path(root: Path, repository: str) -> Path:
    """Where the manifest of a data set lies below the data folder."""
    return root / FOLDER / f"{repository}.json"


def write_manifest(root: Path, manifest: Manifest) -> None:
    """Write the manifest last: a data set without one is not complete."""
    path = manifest_path(root, manifest.repository)
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_suffix(".tmp")
    aside.write_text(json.dumps(asdict(manifest), indent=1) + "\n", encoding="utf-8")
    aside.rename(path)


def read_manifest(root: Path, repository: str) -> Manifest | None:
    """The manifest of a data set; None if it was not fetched by us."""
    path = manifest_path(root, repository)
    if not path.is_file():
        return None
    data = json.loads(path.read_text(encoding="utf-8"))
    return Manifest(data["repository"], data["revision"], tuple(FetchedFile(**row) for row in data["files"]))


def problems(root: Path, repository: str, revision: str) -> Iterator[str]:
    """What contradicts the manifest: another revision, a file that is gone or of another size. Cheap: hashes are not read."""
    manifest = read_manifest(root, repository)
    if manifest is None:
        return
    if manifest.revision != revision:
        yield f"{root / repository} is at revision {manifest.revision}, mteb asks for {revision}; fetch it again"
        return
    for file in manifest.files:
        path = root / repository / file.path
        if not path.is_file():
            yield f"{path} is missing; fetch {repository} again"
        elif path.stat().st_size != file.size:
            yield f"{path} has {path.stat().st_size} bytes, the hub's has {file.size}; fetch {repository} again"
