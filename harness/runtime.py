"""How things are run, as opposed to what is computed: paths, devices, workers, tracker. Never part of an identity.

A value belongs here only if changing it cannot change a result. There is no list of fields that an identity leaves out:
the two types are apart.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from annotated_types import Ge, Gt, Le

EMBEDDINGS = "embeddings"  # folder of vectors in a store


@dataclass(frozen=True)
class Price:
    """What a model's tokens cost, by the list of the day."""

    model: str
    prompt: Annotated[float, Ge(0)]
    """Money per million tokens, in the unit of `Server.max_cost`."""
    completion: Annotated[float, Ge(0)]
    as_of: str
    """The date of the list, ISO."""


@dataclass(frozen=True)
class Batching:
    """Requests handed over in files and answered within a day, as OpenAI's Batch API does."""

    requests: Annotated[int, Gt(0)]
    """At most so many in a file."""
    tokens: Annotated[int, Gt(0)]
    """At most so many, prompts and completions at their maximum, wait at the server at a time."""
    price: Annotated[float, Ge(0), Le(1)]
    """What a token costs, as a share of its list price."""
    poll: Annotated[float, Gt(0)]
    """Seconds between two looks."""


@dataclass(frozen=True)
class Server:
    """A language-model server that speaks OpenAI's chat completions, and how hard it may be used."""

    base_url: str
    key_variable: str
    """Environment variable that holds the key; empty: the server wants none. Keys stand nowhere else."""
    concurrency: Annotated[int, Gt(0)]
    requests_per_minute: Annotated[float, Gt(0)] | None
    tokens_per_minute: Annotated[float, Gt(0)] | None
    timeout: Annotated[float, Gt(0)]
    """Seconds for one whole reply."""
    attempts: Annotated[int, Gt(0)]
    """How often one request is tried in one run."""
    max_cost: Annotated[float, Ge(0)] | None
    """The ledger's total may never exceed this; None: no limit."""
    max_tokens: Annotated[int, Ge(0)] | None
    """The same for prompt and completion tokens together."""
    prices: tuple[Price, ...]
    batch: Batching | None = None
    """None: every request is a conversation of its own, answered at once."""


@dataclass(frozen=True)
class Endpoint:
    """Where a served embedding model answers."""

    model: str
    """The model's name, as the server knows it."""
    url: str
    """Base of the OpenAI-compatible interface, such as `http://localhost:8000/v1`."""
    key_variable: str | None
    """The environment variable that holds the key; None: the server wants none. Keys stand nowhere else."""


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
    patience: Annotated[float, Gt(0)]
    """Seconds a step may neither report nor use the processor before it is ended as hung."""
    memory: Annotated[float, Gt(0)] | None
    """GiB of address space of one worker; None: whatever the machine gives."""
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
    embeddings: Annotated[float, Gt(0)] | None = None
    """GB of vectors kept in `store` for evaluations to come, the least recently used deleted first; None: none are kept."""
    checkpoint_every: Annotated[float, Ge(0)] | None = None
    """Seconds between two states of a training step, from which a killed one goes on; None: it starts again."""
    endpoints: tuple[Endpoint, ...] = ()
    """Servers of embedding models (`model=server`)."""
    server: Server | None = None
    """Who answers a live generator; None: nobody, only recordings are asked."""

    @property
    def store_path(self) -> Path:
        """The store as an absolute path."""
        return Path(self.store).expanduser().resolve()

    def endpoint(self, model: str) -> Endpoint | None:
        """Where a served model answers; None if no server is named for it."""
        return next((endpoint for endpoint in self.endpoints if endpoint.model == model), None)
