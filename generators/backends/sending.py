"""Sends what the ledger lacks: bounded, paced, booked before it is sent, retried where that may help, stopped by the budget.

One event loop, one worker a permitted request. Not here: a single exchange (`exchange.py`), and money (`generators/budget.py`).
"""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from generators.backends.batching import send_batches
from generators.backends.booking import bill, ended, reserve_of, unanswered
from generators.backends.exchange import Line, Outcome, ServerError, key_of
from generators.backends.journal import Journal
from generators.backends.openai import Call
from generators.backends.reply import Access
from generators.batchbook import BatchBook
from generators.budget import Budget, BudgetError, Tariff, tariffs
from generators.ledger import NANO, Ledger, Sent, Spent
from generators.pace import Pace
from harness.runtime import Server

FIRST_BACKOFF, LONGEST_BACKOFF = 0.5, 30.0
"""Seconds before the second try, doubled for each further one up to the longest, all jittered."""


def send_missing(calls: Sequence[Call], ledger: Ledger, access: Access) -> None:
    """Ask what the ledger has no answer for; returns when it has all, raises BudgetError or ServerError otherwise."""
    missing = unanswered(calls, ledger)
    if not missing:
        return
    server = access.server
    if server is None:
        raise ServerError(
            f"{len(missing)} requests have no answer in {access.ledger} and no server is set; choose one with "
            "runtime/server=openai or runtime/server=local"
        )
    if server.batch is not None:
        send_batches(calls, ledger, access, server, server.batch)
        return
    if opened := BatchBook(ledger).open():
        raise ServerError(
            f"{access.ledger} has {len(opened)} batches that a server still works on; fetch them with the batch of "
            "runtime.server they were sent with (runtime/server=openai_batch) before asking one by one"
        )
    prices = tariffs(server, sorted({call.model for call in missing}))
    pace = Pace.of(server.requests_per_minute, server.tokens_per_minute)
    line, budget = Line(server, key_of(server), pace), Budget.of(server, ledger.spent())
    sender = Sender(server, line, pace, Journal(ledger), budget, prices, access, len(missing), ledger.attempts())
    asyncio.run(sender.run(missing))


@dataclass
class Sender:
    """The state of one sending."""

    server: Server
    line: Line
    pace: Pace
    journal: Journal
    budget: Budget
    prices: Mapping[str, Tariff]
    access: Access
    total: int
    tried: dict[str, int]
    done: int = 0
    failed: list[str] = field(default_factory=list)
    failures_in_a_row: int = 0
    flying: int = 0
    landed: asyncio.Event = field(default_factory=asyncio.Event)
    jitter: random.Random = field(default_factory=random.Random)

    async def run(self, calls: list[Call]) -> None:
        """Everything; the first request goes alone, so that a wrong set-up costs one."""
        async with self.line:
            await self.line.check(sorted({call.model for call in calls}))
            queue = iter(calls)
            await self._worker(iter([next(queue)]))
            try:
                async with asyncio.TaskGroup() as group:
                    for _ in range(min(self.server.concurrency, len(calls) - 1)):
                        group.create_task(self._worker(queue))
            except ExceptionGroup as problems:
                raise problems.exceptions[0] from None
        if self.failed:
            raise ServerError(
                f"{len(self.failed)} of {self.total} requests got no answer after {self.server.attempts} attempts each "
                f"(the last: {self.failed[-1]}); run the command again, it goes on from the ledger"
            )

    async def _worker(self, queue: Iterator[Call]) -> None:
        for call in queue:
            await self._answer(call)
            self.access.report(self.done, self.total, f"{self.budget.spent.cost / NANO:.4f} spent, {self.flying} in flight")

    async def _answer(self, call: Call) -> None:
        """Try one request until it is answered or its attempts are used up."""
        tariff = self.prices[call.model]
        reserve = reserve_of(call, tariff)
        outcome = Outcome(None, "was not tried")
        for attempt in range(self.server.attempts):
            await self._afford(reserve)
            await self.pace.turn(reserve.tokens)
            outcome = await self._try(call, reserve, tariff)
            if outcome.completion is not None:
                self.done += 1
                self.failures_in_a_row = 0
                return
            self._give_up_if_hopeless(outcome)
            if attempt + 1 < self.server.attempts:
                await asyncio.sleep(self._backoff(attempt, outcome))
        self.failed.append(outcome.error)

    def _give_up_if_hopeless(self, outcome: Outcome) -> None:
        self.failures_in_a_row += 1
        if outcome.fatal:
            raise ServerError(f"{self.server.base_url}: {outcome.error}; see generator.backend and runtime.server")
        most = self.server.attempts * (self.server.concurrency + 1)
        if self.failures_in_a_row > most:
            raise ServerError(
                f"{self.server.base_url} failed {most} times in a row (the last: {outcome.error}); run again later"
            )

    def _backoff(self, attempt: int, outcome: Outcome) -> float:
        if outcome.wait is not None:
            self.pace.close(outcome.wait)
            return outcome.wait
        return float(min(LONGEST_BACKOFF, FIRST_BACKOFF * 2**attempt) * self.jitter.uniform(0.5, 1.0))

    async def _afford(self, reserve: Spent) -> None:
        """Reserve, waiting for what is in flight to settle; raises BudgetError when nothing in flight could make room."""
        while not self.budget.reserve(reserve):
            if not self.flying:
                raise BudgetError(self.budget.explain(self.total - self.done))
            self.landed.clear()
            await self.landed.wait()
        self.flying += 1

    async def _try(self, call: Call, reserve: Spent, tariff: Tariff) -> Outcome:
        """Book, send, book the end; the reserve is settled whatever happens."""
        attempt = self.tried[call.key] = self.tried.get(call.key, 0) + 1
        actual = reserve
        try:
            body = json.dumps(call.body, sort_keys=True)
            await self.journal.write(Sent(call.key, attempt, call.model, body, *reserve, time.time()))
            start = time.monotonic()
            outcome = self._doubt(await self.line.ask(call))
            actual = bill(outcome, reserve, tariff)
            await self.journal.write(ended(call.key, attempt, outcome, actual, time.monotonic() - start))
        finally:
            self.budget.settle(reserve, actual)
            self.flying -= 1
            self.landed.set()
        return outcome

    def _doubt(self, outcome: Outcome) -> Outcome:
        """A refusal before the first answer is taken for a wrong set-up, not for a wrong request."""
        if self.done == 0 and outcome.completion is not None and outcome.completion.finish == "failed":
            return replace(outcome, completion=None, fatal=True)
        return outcome
