"""Sends what the ledger lacks: bounded, paced, booked before it is sent, retried where that may help, stopped by the budget.

The official client does the transport, with its own retries off: they would neither be booked nor paced. One event loop,
one worker a permitted request; ledger rows of many workers share a transaction. Not here: what a body means (`openai.py`).
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from generators.backends.openai import Call, Completion, read_completion
from generators.backends.reply import Access
from generators.budget import Budget, BudgetError, Tariff, tariffs
from generators.ledger import NANO, Ended, Ledger, Sent, Spent
from generators.pace import Pace, retry_after
from harness.config import nearest
from harness.runtime import Server

if TYPE_CHECKING:
    from openai import AsyncOpenAI

MAX_BODY = 4_000_000
"""Bytes of a reply that are read; no completion of ours comes near."""
RETRIED = frozenset({408, 409, 429, 500, 502, 503, 504, 520, 522, 524, 529})
FATAL = frozenset({401, 403, 404})
FIRST_BACKOFF, LONGEST_BACKOFF = 0.5, 30.0
"""Seconds before the second try, doubled for each further one up to the longest, all jittered."""


class ServerError(RuntimeError):
    """The server cannot be used, or did not answer every request; names what to set or to do."""


@dataclass(frozen=True)
class Outcome:
    """One try of one request."""

    completion: Completion | None
    error: str
    wait: float | None = None
    """Seconds the server asked to wait."""
    billed: bool = True
    """Whether a failed try may have cost its reserve."""
    fatal: bool = False
    body: str = ""


def send_missing(calls: Sequence[Call], ledger: Ledger, access: Access) -> None:
    """Ask what the ledger has no answer for; returns when it has all, raises BudgetError or ServerError otherwise."""
    held = ledger.answered()
    missing = list({call.key: call for call in calls if call.key not in held}.values())
    if not missing:
        return
    server = access.server
    if server is None:
        raise ServerError(
            f"{len(missing)} requests have no answer in {access.ledger} and no server is set; choose one with "
            "runtime/server=openai or runtime/server=local"
        )
    prices = tariffs(server, sorted({call.model for call in missing}))
    key = _key(server)
    limit = round(server.max_cost * NANO) if server.max_cost is not None else None
    budget = Budget(limit, server.max_tokens, ledger.spent())
    sender = Sender(server, key, ledger, budget, prices, access, len(missing), ledger.attempts())
    asyncio.run(sender.run(missing))


def _key(server: Server) -> str:
    """The key out of the environment; raises ServerError naming the variable."""
    if not server.key_variable:
        return "none"
    key = os.environ.get(server.key_variable, "")
    if not key:
        raise ServerError(f"no key for {server.base_url}: set the environment variable {server.key_variable}")
    return key


@dataclass
class Sender:
    """The state of one sending."""

    server: Server
    key: str
    ledger: Ledger
    budget: Budget
    prices: Mapping[str, Tariff]
    access: Access
    total: int
    tried: dict[str, int]
    done: int = 0
    failed: list[str] = field(default_factory=list)
    failures_in_a_row: int = 0
    flying: int = 0

    async def run(self, calls: list[Call]) -> None:
        """Everything; the first request goes alone, so that a wrong set-up costs one."""
        from openai import AsyncOpenAI

        self.pace = Pace.of(self.server.requests_per_minute, self.server.tokens_per_minute)
        self.journal = Journal(self.ledger)
        self.landed = asyncio.Event()
        self.random = random.Random()  # noqa: S311  jitter
        async with AsyncOpenAI(
            base_url=self.server.base_url, api_key=self.key, max_retries=0, timeout=self.server.timeout
        ) as client:
            await self._check(client, sorted({call.model for call in calls}))
            queue = iter(calls)
            await self._worker(client, iter([next(queue)]))
            try:
                async with asyncio.TaskGroup() as group:
                    for _ in range(min(self.server.concurrency, len(calls) - 1)):
                        group.create_task(self._worker(client, queue))
            except ExceptionGroup as problems:
                raise problems.exceptions[0] from None
        if self.failed:
            raise ServerError(
                f"{len(self.failed)} of {self.total} requests got no answer after {self.server.attempts} attempts each "
                f"(the last: {self.failed[-1]}); run the command again, it goes on from the ledger"
            )

    async def _check(self, client: AsyncOpenAI, models: Sequence[str]) -> None:
        """Ask for the list of models: reaches the server, tries the key, knows the names. Costs nothing."""
        import openai

        try:
            known = [model.id async for model in await client.models.list()]
        except (openai.AuthenticationError, openai.PermissionDeniedError):
            raise ServerError(
                f"{self.server.base_url} refuses the key; set {self.server.key_variable or 'key_variable'}"
            ) from None
        except openai.APIConnectionError as error:
            raise ServerError(f"no server answers at {self.server.base_url} ({error}); set runtime.server.base_url") from None
        except (openai.APIError, TypeError, AttributeError):
            return  # many servers have no such list; the first request will tell
        for name in models if known else ():
            if name not in known:
                raise ServerError(
                    f"generator.backend.models: {self.server.base_url} has no model {name!r}{nearest(name, known)}"
                )

    async def _worker(self, client: AsyncOpenAI, queue: Iterator[Call]) -> None:
        for call in queue:
            await self._answer(client, call)
            self.access.report(self.done, self.total, f"{self.budget.spent.cost / NANO:.4f} spent, {self.flying} in flight")

    async def _answer(self, client: AsyncOpenAI, call: Call) -> None:
        """Try one request until it is answered or its attempts are used up."""
        tariff = self.prices[call.model]
        reserve = Spent(call.max_prompt + call.max_completion, tariff.cost(call.max_prompt, call.max_completion))
        outcome = Outcome(None, "was not tried")
        for attempt in range(self.server.attempts):
            await self._afford(reserve)
            await self.pace.turn(reserve.tokens)
            outcome = await self._try(client, call, reserve, tariff)
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
        return float(min(LONGEST_BACKOFF, FIRST_BACKOFF * 2**attempt) * self.random.uniform(0.5, 1.0))

    async def _afford(self, reserve: Spent) -> None:
        """Reserve, waiting for what is in flight to settle; raises BudgetError when nothing in flight could make room."""
        while not self.budget.reserve(reserve):
            if not self.flying:
                raise BudgetError(self.budget.explain(self.total - self.done))
            self.landed.clear()
            await self.landed.wait()
        self.flying += 1

    async def _try(self, client: AsyncOpenAI, call: Call, reserve: Spent, tariff: Tariff) -> Outcome:
        """Book, send, book the end; the reserve is settled whatever happens."""
        attempt = self.tried[call.key] = self.tried.get(call.key, 0) + 1
        actual = reserve
        try:
            body = json.dumps(call.body, sort_keys=True)
            await self.journal.write(Sent(call.key, attempt, call.model, body, *reserve, time.time()))
            start = time.monotonic()
            outcome = await self._post(client, call)
            actual = _bill(outcome, reserve, tariff)
            await self.journal.write(_ended(call, attempt, outcome, actual, time.monotonic() - start))
        finally:
            self.budget.settle(reserve, actual)
            self.flying -= 1
            self.landed.set()
        return outcome

    async def _post(self, client: AsyncOpenAI, call: Call) -> Outcome:
        """One exchange. Whatever a server does comes back as an outcome."""
        import openai

        try:
            async with asyncio.timeout(self.server.timeout):
                content = await self._read(client, call)
        except openai.APIStatusError as error:
            return self._refused(error)
        except (TimeoutError, openai.APITimeoutError):
            return Outcome(None, f"no reply within {self.server.timeout:g} s")
        except openai.APIConnectionError as error:
            return Outcome(None, self._scrub(f"connection failed: {error.__cause__ or error}"))
        except Exception as error:  # noqa: BLE001  a body cut off mid-way surfaces as an error of whichever transport is in use
            return Outcome(None, self._scrub(f"connection lost: {type(error).__name__}: {error}"))
        completion = f"a body of more than {MAX_BODY} bytes" if content is None else read_completion(content)
        if content is None or isinstance(completion, str):
            return Outcome(None, str(completion))
        return Outcome(completion, "", body=self._scrub(content.decode("utf-8", "replace")))

    async def _read(self, client: AsyncOpenAI, call: Call) -> bytes | None:
        """The body of a good status; None if it is far too long."""
        content = b""
        async with client.chat.completions.with_streaming_response.create(**call.body) as response:
            self.pace.learn(response.headers)
            async for chunk in response.iter_bytes():
                content += chunk
                if len(content) > MAX_BODY:
                    return None
        return content

    def _refused(self, error: Any) -> Outcome:
        """A reply with an error status."""
        status, code = error.status_code, getattr(error, "code", None)
        message = self._scrub(f"status {status}: {error.message}")[:500]
        if status == 400 and code in {"content_filter", "content_policy_violation"}:
            return Outcome(Completion("", "content_filter", "", 0, 0), "", billed=False, body=message)
        if status == 429 and code == "insufficient_quota":
            return Outcome(None, f"{message} (no money left on the account)", billed=False, fatal=True)
        if status in RETRIED or status >= 500:
            self.pace.learn(error.response.headers)
            return Outcome(None, message, retry_after(error.response.headers, time.time()), billed=False)
        if status in FATAL or self.done == 0:
            return Outcome(None, message, billed=False, fatal=True)
        return Outcome(Completion("", "failed", "", 0, 0), message, billed=False, body=message)

    def _scrub(self, text: str) -> str:
        """No key leaves this process, even if a server echoes it."""
        return text.replace(self.key, "***") if self.server.key_variable else text


def _bill(outcome: Outcome, reserve: Spent, tariff: Tariff) -> Spent:
    """What a try cost: as the server says if that is possible, its whole reserve if unknown, nothing if refused."""
    if not outcome.billed:
        return Spent(0, 0)
    done = outcome.completion
    if done is None or done.prompt_tokens is None or done.completion_tokens is None:
        return reserve
    bill = Spent(done.prompt_tokens + done.completion_tokens, tariff.cost(done.prompt_tokens, done.completion_tokens))
    return bill if bill.tokens <= reserve.tokens and bill.cost <= reserve.cost else reserve


def _ended(call: Call, attempt: int, outcome: Outcome, actual: Spent, seconds: float) -> Ended:
    done = outcome.completion
    if done is None:
        return Ended(call.key, attempt, "failed", *actual, None, None, None, None, None, None, outcome.error, seconds)
    return Ended(
        call.key, attempt, "answered", *actual, done.prompt_tokens, done.completion_tokens, done.finish, done.text,
        outcome.body, done.model, outcome.error or None, seconds,
    )  # fmt: skip


@dataclass
class Journal:
    """Group commit: rows that come while a transaction is being written share the next one."""

    ledger: Ledger
    _rows: list[Sent | Ended] = field(default_factory=list)
    _waiting: asyncio.Future[None] | None = None

    async def write(self, row: Sent | Ended) -> None:
        """Return when the row is on disk."""
        self._rows.append(row)
        if self._waiting is None:
            self._waiting = asyncio.get_running_loop().create_future()
            self._task = asyncio.create_task(self._flush())
        await asyncio.shield(self._waiting)

    _lock: asyncio.Lock = field(default_factory=asyncio.Lock)

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
