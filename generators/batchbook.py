"""Where every batch stands, in the ledger: written in the same transactions as the requests it holds.

    planned    its requests are booked at their maximum; nothing has left this machine
    uploaded   the server holds the file
    created    the server works on it
    collected  how each of its requests ended is in the ledger

Not here: what is done in which state (`backends/batching.py`).
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

from generators.ledger import Ended, Ledger, Sent, Spent, write

State = Literal["planned", "uploaded", "created", "collected"]


class Batch(NamedTuple):
    """One row."""

    name: str
    """Ours, in the file's name and in the batch's metadata: how a server's batch is recognised."""
    state: State
    planned_at: float
    """Seconds since the epoch."""
    file: str | None
    """The server's names, once known."""
    batch: str | None


class Waiting(NamedTuple):
    """A request of a batch that is not collected."""

    key: str
    attempt: int
    model: str
    request: str
    """The body, as JSON."""
    sent_at: float
    reserve: Spent


@dataclass(frozen=True)
class BatchBook:
    """The batches of a ledger."""

    ledger: Ledger

    def plan(self, name: str, rows: Sequence[Sent]) -> None:
        """Book the requests of a new batch."""
        with self.ledger.transaction() as db:
            db.execute("INSERT INTO batches VALUES (?, 'planned', ?, NULL, NULL)", (name, time.time()))
            write(db, rows)
            db.executemany("INSERT INTO batched VALUES (?, ?, ?)", [(row.key, row.attempt, name) for row in rows])

    def uploaded(self, name: str, file: str) -> None:
        """The server holds the file."""
        with self.ledger.transaction() as db:
            db.execute("UPDATE batches SET state = 'uploaded', file = ? WHERE name = ? AND state = 'planned'", (file, name))

    def created(self, name: str, batch: str) -> None:
        """The server works on it."""
        with self.ledger.transaction() as db:
            db.execute("UPDATE batches SET state = 'created', batch = ? WHERE name = ? AND state = 'uploaded'", (batch, name))

    def collect(self, name: str, rows: Iterable[Ended]) -> None:
        """Book how every request of the batch ended."""
        with self.ledger.transaction() as db:
            write(db, rows)
            db.execute("UPDATE batches SET state = 'collected' WHERE name = ? AND state <> 'collected'", (name,))

    def open(self) -> list[Batch]:
        """Batches that are not collected, oldest first."""
        query = "SELECT name, state, planned_at, file, batch FROM batches WHERE state <> 'collected' ORDER BY planned_at, name"
        with self.ledger.transaction() as db:
            return [Batch(*row) for row in db.execute(query)]

    def waiting(self, name: str) -> list[Waiting]:
        """The requests of an open batch, in the order of their keys."""
        query = """SELECT a.key, a.attempt, a.model, a.request, a.sent_at, a.reserved_tokens, a.reserved_cost
            FROM batched b JOIN attempts a ON a.key = b.key AND a.attempt = b.attempt
            WHERE b.name = ? AND a.state = 'sent' ORDER BY a.key"""
        with self.ledger.transaction() as db:
            rows = db.execute(query, (name,))
            return [Waiting(key, n, model, text, at, Spent(*most)) for key, n, model, text, at, *most in rows]
