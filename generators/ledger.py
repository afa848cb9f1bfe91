"""The ledger: one durable row for every request sent to a paid server, written before it is sent.

SQLite in WAL mode, one writer, on its own machine's disk. A row is born `sent` with its reserve booked as spent; the
answer completes it before anybody uses it. A crash leaves `sent` rows: the next run marks them `lost`, keeps their reserve
booked, and may ask again. A key that has an `answered` row is never sent again. No header and no key ever enters.

Below the steps: a step's payload is what the accepted rows say. Not here: what a request is worth asking, or an answer.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

NANO = 1_000_000_000
"""Money is kept in integers, a billionth of a unit each: sums are exact in any order."""

_SCHEMA = """
CREATE TABLE IF NOT EXISTS attempts (
    key TEXT NOT NULL, attempt INTEGER NOT NULL, model TEXT NOT NULL, request TEXT NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('sent', 'answered', 'failed', 'lost')),
    reserved_tokens INTEGER NOT NULL, reserved_cost INTEGER NOT NULL,
    tokens INTEGER NOT NULL, cost INTEGER NOT NULL,
    prompt_tokens INTEGER, completion_tokens INTEGER,
    finish TEXT, text TEXT, response TEXT, served_model TEXT, error TEXT, verdict TEXT,
    sent_at REAL NOT NULL, seconds REAL,
    PRIMARY KEY (key, attempt)
);
CREATE UNIQUE INDEX IF NOT EXISTS answered ON attempts (key) WHERE state = 'answered';
CREATE INDEX IF NOT EXISTS unanswered ON attempts (key, attempt) WHERE state <> 'answered';
CREATE INDEX IF NOT EXISTS spent ON attempts (state, tokens, cost);
CREATE TABLE IF NOT EXISTS batches (
    name TEXT PRIMARY KEY, state TEXT NOT NULL CHECK (state IN ('planned', 'uploaded', 'created', 'collected')),
    planned_at REAL NOT NULL, file TEXT, batch TEXT
);
CREATE TABLE IF NOT EXISTS batched (
    key TEXT NOT NULL, attempt INTEGER NOT NULL, name TEXT NOT NULL REFERENCES batches, PRIMARY KEY (key, attempt)
);
CREATE INDEX IF NOT EXISTS batched_name ON batched (name);
"""
COLUMNS = (
    "key", "attempt", "model", "request", "state", "reserved_tokens", "reserved_cost", "tokens", "cost", "prompt_tokens",
    "completion_tokens", "finish", "text", "response", "served_model", "error", "verdict", "sent_at", "seconds",
)  # fmt: skip


class LedgerError(RuntimeError):
    """The ledger cannot be opened, or two ledgers contradict each other; names the file and the remedy."""


class Spent(NamedTuple):
    """What the ledger has booked: completed requests as billed, all others at their reserve."""

    tokens: int
    cost: int
    """In billionths of the money unit."""


@dataclass(frozen=True)
class Sent:
    """A request about to be sent."""

    key: str
    attempt: int
    model: str
    request: str
    """The body, as JSON."""
    reserved_tokens: int
    reserved_cost: int
    sent_at: float


@dataclass(frozen=True)
class Ended:
    """How a sent request ended."""

    key: str
    attempt: int
    state: str
    """`answered` or `failed`."""
    tokens: int
    cost: int
    prompt_tokens: int | None
    completion_tokens: int | None
    finish: str | None
    text: str | None
    response: str | None
    served_model: str | None
    error: str | None
    seconds: float


class Ledger:
    """An open ledger. All methods block; a live client calls them from one thread at a time."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._db = connection

    def recover(self) -> int:
        """Mark what a dead process left in flight as lost, its reserve booked; returns how many.

        What a server was handed in a batch is not lost: its answers wait there (`batchbook.py`).
        """
        with self._db:
            return self._db.execute(_LOSE).rowcount

    def answered(self) -> set[str]:
        """The keys that have an answer; half a million take about a second."""
        return {key for (key,) in self._db.execute("SELECT key FROM attempts INDEXED BY answered WHERE state = 'answered'")}

    def attempts(self) -> dict[str, int]:
        """The last attempt of every key that was tried without success."""
        query = "SELECT key, MAX(attempt) FROM attempts WHERE state <> 'answered' GROUP BY key"
        return dict(self._db.execute(query))

    def spent(self) -> Spent:
        """Everything booked so far."""
        return Spent(*self._db.execute("SELECT COALESCE(SUM(tokens), 0), COALESCE(SUM(cost), 0) FROM attempts").fetchone())

    def apply(self, rows: Iterable[Sent | Ended]) -> None:
        """Write rows in one durable transaction, in their order."""
        with self.transaction() as db:
            write(db, rows)

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """All or nothing, durable at its end."""
        with self._db:
            yield self._db

    def replies(self, keys: Sequence[str]) -> Iterator[tuple[str, str]]:
        """(text, finish) of each key, in order; raises KeyError for a key without an answer."""
        pending = iter(keys)
        while batch := list(islice(pending, 500)):
            marks = ",".join("?" * len(batch))
            query = f"SELECT key, text, finish FROM attempts WHERE state = 'answered' AND key IN ({marks})"  # noqa: S608
            found = {key: (text, finish) for key, text, finish in self._db.execute(query, batch)}
            yield from (found[key] for key in batch)

    def judge(self, verdicts: Iterable[tuple[str, str]]) -> None:
        """Note the verdict on answers; (verdict, key) each. The last reader's filters decide."""
        with self._db:
            self._db.executemany("UPDATE attempts SET verdict = ? WHERE key = ? AND state = 'answered'", verdicts)

    def rows(self) -> Iterator[dict[str, Any]]:
        """Every row as a mapping of `COLUMNS`, by key and attempt."""
        for row in self._db.execute(f"SELECT {', '.join(COLUMNS)} FROM attempts ORDER BY key, attempt"):  # noqa: S608
            yield dict(zip(COLUMNS, row, strict=True))

    def insert(self, rows: Iterable[dict[str, Any]]) -> tuple[int, int]:
        """Take over rows of another ledger; returns (new, already here).

        Raises LedgerError if both ledgers answered the same request differently: then two payloads of one fingerprint exist.
        """
        new = known = 0
        with self._db:
            for row in rows:
                here = self._db.execute(
                    "SELECT text FROM attempts WHERE key = ? AND state = 'answered'", (row["key"],)
                ).fetchone()
                if here is not None and row["state"] == "answered":
                    if here[0] != row["text"]:
                        raise LedgerError(
                            f"request {row['key']} was answered differently in the two ledgers; steps built from one cannot be "
                            "rebuilt from the other. Keep the ledgers apart, or delete that answer in one of them"
                        )
                    known += 1
                    continue
                taken = self._db.execute(_TAKE, row).rowcount
                new, known = new + taken, known + 1 - taken
        return new, known


def write(db: sqlite3.Connection, rows: Iterable[Sent | Ended]) -> None:
    """Write rows inside a transaction; raises LedgerError for an end without a beginning."""
    for row in rows:
        if isinstance(row, Sent):
            db.execute(_INSERT, {**vars(row)})
        elif db.execute(_COMPLETE, {**vars(row)}).rowcount != 1:
            raise LedgerError(f"request {row.key}, attempt {row.attempt}, ended without having been sent")


_LOSE = """UPDATE attempts SET state = 'lost' WHERE state = 'sent' AND NOT EXISTS
    (SELECT 1 FROM batched WHERE batched.key = attempts.key AND batched.attempt = attempts.attempt)"""
_INSERT = """INSERT INTO attempts
    (key, attempt, model, request, state, reserved_tokens, reserved_cost, tokens, cost, sent_at)
    VALUES (:key, :attempt, :model, :request, 'sent', :reserved_tokens, :reserved_cost,
            :reserved_tokens, :reserved_cost, :sent_at)"""
_COMPLETE = """UPDATE attempts SET state = :state, tokens = :tokens, cost = :cost, prompt_tokens = :prompt_tokens,
    completion_tokens = :completion_tokens, finish = :finish, text = :text, response = :response,
    served_model = :served_model, error = :error, seconds = :seconds
    WHERE key = :key AND attempt = :attempt AND state = 'sent'"""
_TAKE = "INSERT OR IGNORE INTO attempts ({}) VALUES (:{})".format(", ".join(COLUMNS), ", :".join(COLUMNS))  # noqa: S608  our own column names


@contextmanager
def open_ledger(path: Path) -> Iterator[Ledger]:
    """The ledger for its one writer; created if absent. Raises LedgerError if another process writes it."""
    from filelock import FileLock, Timeout

    path.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(f"{path}.lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise LedgerError(
            f"{path} is being written by another process; wait for it, or give this run a ledger of its own"
        ) from None
    try:
        connection = _connect(path)
        try:
            yield Ledger(connection)
        finally:
            connection.close()
    finally:
        lock.release()


@contextmanager
def read_ledger(path: Path) -> Iterator[Ledger]:
    """The ledger for reading, also while somebody writes; raises LedgerError if there is none."""
    if not path.is_file():
        raise LedgerError(f"there is no ledger {path}; set runtime.ledger")
    connection = _connect(path)
    try:
        yield Ledger(connection)
    finally:
        connection.close()


def _connect(path: Path) -> sqlite3.Connection:
    try:
        # One thread at a time uses it, but not always the same one.
        connection = sqlite3.connect(path, check_same_thread=False, timeout=30)
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        connection.executescript(_SCHEMA)
    except sqlite3.DatabaseError as error:
        raise LedgerError(f"{path}: not a ledger ({error}); move it away, or set runtime.ledger") from error
    return connection
