"""Group commit: ledger rows that come while a transaction is being written share the next one."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from generators.ledger import Ended, Ledger, Sent


@dataclass
class Journal:
    """The ledger as many workers of one event loop write it."""

    ledger: Ledger
    _rows: list[Sent | Ended] = field(default_factory=list)
    _waiting: asyncio.Future[None] | None = None
    _lock: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def write(self, row: Sent | Ended) -> None:
        """Return when the row is on disk."""
        self._rows.append(row)
        if self._waiting is None:
            self._waiting = asyncio.get_running_loop().create_future()
            self._task = asyncio.create_task(self._flush())
        await asyncio.shield(self._waiting)

    async def _flush(self) -> None:
        async with self._lock:
            rows, waiting = self._rows, self._waiting
            self._rows, self._waiting = [], None
            assert waiting is not None  # noqa: S101  set by write, and only this method clears it
            try:
                await asyncio.to_thread(self.ledger.apply, rows)
            except Exception as error:  # noqa: BLE001  every writer that waits gets it
                waiting.set_exception(error)
            else:
                waiting.set_result(None)
