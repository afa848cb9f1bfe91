"""Whether a live generator could ask what it lacks, found out before anything else is built: price, key, server, model names.

Costs nothing: the server is asked for its list of models. Who has every answer in its ledger needs no server at all.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

from generators.backends.exchange import Line, ServerError, key_of
from generators.backends.openai import OpenAI
from generators.budget import tariffs
from generators.draws import Draw
from generators.forecast import outstanding
from generators.ledger import read_ledger
from generators.pace import Pace
from harness.runtime import Server


def preflight(backend: OpenAI, draws: Sequence[Draw], ledger: Path, server: Server | None) -> None:
    """Return if sending can begin, or nothing has to be sent; raises ServerError or ValueError naming what to set."""
    try:
        _reach(backend, server)
    except (ServerError, ValueError):
        if not _answered(backend, draws, ledger):
            raise


def _reach(backend: OpenAI, server: Server | None) -> None:
    if server is None:
        raise ServerError(
            "a live model is asked and no server is set; choose one with runtime/server=openai or runtime/server=local"
        )
    models = sorted(model.name for model in backend.models)
    tariffs(server, models)
    asyncio.run(_check(Line(server, key_of(server), Pace(None, None)), models))


async def _check(line: Line, models: Sequence[str]) -> None:
    async with line:
        await line.check(models)


def _answered(backend: OpenAI, draws: Sequence[Draw], ledger: Path) -> bool:
    if not ledger.is_file():
        return False
    with read_ledger(ledger) as held:
        return not outstanding(backend, draws, held).asked
