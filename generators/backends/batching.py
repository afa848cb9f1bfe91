"""OpenAI's Batch API: requests handed over in files and answered within a day, at a lower price.

Every batch goes through the states of `generators/batchbook.py`, and a process may die between any two lines here. Whoever
resumes looks first whether the server already did what is about to be asked: a file is known by its name, a batch by our name
in its metadata. So nothing is lost and nothing is paid twice. Answers are joined by `custom_id`, never by order; what an
expired or cancelled batch left out is asked again in another one. Not here: a single conversation (`sending.py`).
"""

from __future__ import annotations

import json
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, TypeVar

from generators.backends.booking import bill, ended, reserve_of, unanswered
from generators.backends.exchange import Outcome, ServerError, key_of, refusal, require_models, scrub, wrong_setups
from generators.backends.openai import Call, read_completion
from generators.backends.reply import Access
from generators.batchbook import Batch, BatchBook, Waiting
from generators.budget import Budget, BudgetError, Tariff, tariffs
from generators.ledger import NANO, Ended, Ledger, Sent
from harness.runtime import Batching, Server

if TYPE_CHECKING:
    import openai

ENDPOINT: Final = "/v1/chat/completions"
OVER = frozenset({"completed", "expired", "cancelled", "failed"})
"""States of the server from which a batch does not move on."""
FILE_BYTES = 150_000_000
"""OpenAI takes 200 MB."""
ENVELOPE = 200
"""Bytes of a line around its request, at most."""
CLOCKS = 3600.0
"""Seconds by which the server's clock may be behind ours."""
FIRST_PAUSE = 1.0
"""Seconds before a failed request to the server is repeated, doubled each time."""

T = TypeVar("T")


def send_batches(calls: Sequence[Call], ledger: Ledger, access: Access, server: Server, limits: Batching) -> None:
    """Ask what the ledger has no answer for, in batches; raises BudgetError or ServerError if not all are answered."""
    import openai

    key = key_of(server)
    models = sorted({call.model for call in unanswered(calls, ledger)})
    with openai.OpenAI(base_url=server.base_url, api_key=key, max_retries=0, timeout=server.timeout) as client:
        desk = Desk(client, server, limits, key, BatchBook(ledger), tariffs(server, models), access)
        desk.check(models)
        desk.finish()
        while missing := [call for call in unanswered(calls, ledger) if desk.tried[call.key] < server.attempts]:
            desk.plan(missing)
            desk.finish()
    if left := unanswered(calls, ledger):
        raise ServerError(
            f"{len(left)} of {len(calls)} requests got no answer after {server.attempts} attempts each (the last: "
            f"{desk.last_error}); run the command again, it goes on from the ledger"
        )


@dataclass
class Desk:
    """One sitting: plans batches, brings every open one to its end."""

    client: openai.OpenAI
    server: Server
    limits: Batching
    key: str
    book: BatchBook
    prices: Mapping[str, Tariff]
    access: Access
    tried: Counter[str] = field(default_factory=Counter)
    last_error: str = ""

    def check(self, models: Sequence[str]) -> None:
        """Reaches the server, tries the key, knows the names; costs nothing."""
        with wrong_setups(self.server):
            require_models(self.server, models, [model.id for model in self.client.models.list()])

    def plan(self, missing: Sequence[Call]) -> None:
        """Book batches for as many calls as the budget and the server's queue hold; raises BudgetError for none."""
        budget = Budget.of(self.server, self.book.ledger.spent())
        attempts, queued = self.book.ledger.attempts(), 0
        rows: list[Sent] = []
        for call in missing:
            reserve = reserve_of(call, self.prices[call.model])
            if (rows and queued + reserve.tokens > self.limits.tokens) or not budget.reserve(reserve):
                break
            queued += reserve.tokens
            attempt, body = attempts.get(call.key, 0) + 1, json.dumps(call.body, sort_keys=True)
            rows.append(Sent(call.key, attempt, call.model, body, *reserve, time.time()))
            self.tried[call.key] += 1
        if not rows:
            raise BudgetError(budget.explain(len(missing)))
        for file in files(rows, self.limits.requests, FILE_BYTES):
            self.book.plan(f"ablations-{uuid.uuid4().hex}", file)

    def finish(self) -> None:
        """Bring every open batch to its end, whoever planned it."""
        while opened := self.book.open():
            for batch in opened:
                self._advance(batch)
            left = self.book.open()
            spent = self.book.ledger.spent()
            self.access.report(
                len(opened) - len(left), len(opened), f"{len(left)} batches open, {spent.cost / NANO:.4f} booked"
            )
            if left and all(batch.state == "created" for batch in left):
                time.sleep(self.limits.poll)

    def _advance(self, batch: Batch) -> None:
        """One step towards the end; each is found done if it was done before a crash."""
        if batch.state == "planned":
            self.book.uploaded(batch.name, self._patiently(lambda: self._file(batch)))
        elif batch.state == "uploaded":
            self.book.created(batch.name, self._patiently(lambda: self._created(batch)))
        else:
            found = self._patiently(lambda: self.client.batches.retrieve(str(batch.batch)))
            if found.status in OVER:
                self._collect(batch, found)

    def _file(self, batch: Batch) -> str:
        name = f"{batch.name}.jsonl"
        for file in self.client.files.list(purpose="batch"):
            if file.filename == name:
                return file.id
        rows = self.book.waiting(batch.name)
        lines = (
            json.dumps({"custom_id": row.key, "method": "POST", "url": ENDPOINT, "body": json.loads(row.request)})
            for row in rows
        )
        return self.client.files.create(file=(name, "\n".join(lines).encode()), purpose="batch").id

    def _created(self, batch: Batch) -> str:
        for known in self.client.batches.list(limit=100):
            if (known.metadata or {}).get("name") == batch.name:
                return known.id
            if known.created_at < batch.planned_at - CLOCKS:
                break
        made = self.client.batches.create(
            input_file_id=str(batch.file), endpoint=ENDPOINT, completion_window="24h", metadata={"name": batch.name}
        )
        return made.id

    def _collect(self, batch: Batch, found: Any) -> None:
        """Book every answer, and what has none."""
        outcomes = dict(reversed(list(self._outcomes(found))))
        waiting = {row.key: row for row in self.book.waiting(batch.name)}
        self.book.collect(batch.name, [self._ended(row, outcomes.get(row.key), found.status) for row in waiting.values()])
        if found.status == "failed":
            reasons = "; ".join(str(error.message) for error in (found.errors and found.errors.data) or ())
            raise ServerError(
                f"{self.server.base_url} refused batch {found.id} ({self._scrub(reasons) or 'no reason given'}); nothing was "
                "paid. See generator.backend, and runtime.server.batch for its size"
            )
        if fatal := next((outcome for outcome in outcomes.values() if outcome.fatal), None):
            raise ServerError(f"{self.server.base_url}: {fatal.error}; see generator.backend and runtime.server")
        if strangers := set(outcomes) - set(waiting):
            raise ServerError(
                f"{self.server.base_url}: batch {found.id} answers {len(strangers)} requests that were never in it"
            )

    def _outcomes(self, found: Any) -> Iterator[tuple[str, Outcome]]:
        """By custom_id, whatever the order; lines that cannot be read answer nothing."""
        for file in filter(None, (found.output_file_id, found.error_file_id)):
            content = self._patiently(lambda file=file: self.client.files.content(file).read())  # type: ignore[misc]
            for line in content.splitlines():
                try:
                    row = json.loads(line)
                    yield str(row["custom_id"]), self._outcome(row)
                except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
                    self.last_error = f"a line of batch {found.id} cannot be read ({type(error).__name__})"

    def _outcome(self, row: Mapping[str, Any]) -> Outcome:
        response = row.get("response")
        if response is None:
            problem = row["error"]
            return Outcome(None, self._scrub(f"{problem['code']}: {problem.get('message')}")[:500], billed=False)
        body = response["body"]
        if int(response["status_code"]) != 200:
            problem = body.get("error") or {}
            return refusal(int(response["status_code"]), problem.get("code"), self._scrub(str(problem.get("message"))))
        text = json.dumps(body)
        completion = read_completion(text.encode())
        return Outcome(None, completion) if isinstance(completion, str) else Outcome(completion, "", body=self._scrub(text))

    def _ended(self, row: Waiting, outcome: Outcome | None, status: str) -> Ended:
        if outcome is None:  # a completed batch without a line for it: it may have been paid
            outcome = Outcome(None, f"no line in the {status} batch", billed=status == "completed")
        if outcome.completion is None:
            self.last_error = outcome.error
        tariff = self.prices.get(row.model)  # of a batch of an earlier configuration it may be unknown
        actual = row.reserve if tariff is None else bill(outcome, row.reserve, tariff)
        return ended(row.key, row.attempt, outcome, actual, time.time() - row.sent_at)

    def _patiently(self, step: Callable[[], T]) -> T:
        """A step again while the server is in trouble; each looks first whether it was done."""
        import openai

        for attempt in range(self.server.attempts):
            try:
                return step()
            except openai.APIStatusError as error:
                outcome = refusal(error.status_code, error.code, self._scrub(error.message))
                if outcome.fatal or outcome.completion is not None:
                    raise ServerError(f"{self.server.base_url}: {outcome.error}; see runtime.server") from None
                self.last_error = outcome.error
            except openai.APIError as error:
                self.last_error = self._scrub(f"{type(error).__name__}: {error.message}")
            time.sleep(min(self.limits.poll, FIRST_PAUSE * 2**attempt))
        raise ServerError(f"{self.server.base_url} does not answer (the last: {self.last_error}); run the command again")

    def _scrub(self, text: str) -> str:
        return scrub(self.server, self.key, text)


def files(rows: Sequence[Sent], most: int, most_bytes: int) -> Iterator[list[Sent]]:
    """The rows of one model each, in order, no more and no larger than a file may be."""
    for model in dict.fromkeys(row.model for row in rows):
        file: list[Sent] = []
        size = 0
        for row in (row for row in rows if row.model == model):
            length = len(row.request.encode()) + ENVELOPE
            if file and (len(file) == most or size + length > most_bytes):
                yield file
                file, size = [], 0
            file.append(row)
            size += length
        yield file
