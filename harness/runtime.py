"""How things are run, as opposed to what is computed: paths, devices, workers, tracker. Never part of an identity.

A value belongs here only if changing it cannot change a result. There is no list of fields that an identity leaves out:
the two types are apart.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from annotated_types import Gt


@dataclass(frozen=True)
class Runtime:
    """Where to read, where to write, and on what to run."""

    store: str
    """Folder of all steps, sweeps and embeddings; a POSIX file system that all workers mount."""
    ledger: str
    """SQLite file of paid requests; local to its one writer."""
    device: str
    """`cpu`, `cuda:0`, or `auto`: the first visible GPU, else the CPU."""
    workers: Annotated[int, Gt(0)]
    """Worker processes of a sweep."""
    threads: Annotated[int, Gt(0)]
    """Intra-op threads of one worker."""
    data: str | None
    """Folder with evaluation data in the hub's layout, `<org>/<name>/...`; None: the hub and its cache."""
    models: str | None
    """Folder with models in the hub's layout, `<org>/<name>/...`; None: the hub and its cache."""
    sources: str | None
    """Folder with labelled training files; None: only what ships with us."""
    tracker: Literal["disabled", "offline", "online"]
    """Where the projection of finished runs onto W&B goes."""
    project: str
    """W&B project of that projection."""

    @property
    def store_path(self) -> Path:
        """The store as an absolute path."""
        return Path(self.store).expanduser().resolve()
