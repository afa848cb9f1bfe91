"""What a request may cost before it is sent, what it did cost, and the ledger's row of how it ended."""

from __future__ import annotations

from collections.abc import Sequence

from generators.backends.exchange import Outcome
from generators.backends.openai import Call
from generators.budget import Tariff
from generators.ledger import Ended, Ledger, Spent


def unanswered(calls: Sequence[Call], ledger: Ledger) -> list[Call]:
    """The distinct calls without an answer, in order."""
    held = ledger.answered()
    return list({call.key: call for call in calls if call.key not in held}.values())


def reserve_of(call: Call, tariff: Tariff) -> Spent:
    """The most that a request can cost."""
    return Spent(call.max_prompt + call.max_completion, tariff.cost(call.max_prompt, call.max_completion))


def bill(outcome: Outcome, reserve: Spent, tariff: Tariff) -> Spent:
    """What a try cost: as the server says if that is possible, its whole reserve if unknown, nothing if refused."""
    if not outcome.billed:
        return Spent(0, 0)
    done = outcome.completion
    if done is None or done.prompt_tokens is None or done.completion_tokens is None:
        return reserve
    told = Spent(done.prompt_tokens + done.completion_tokens, tariff.cost(done.prompt_tokens, done.completion_tokens))
    return told if told.tokens <= reserve.tokens and told.cost <= reserve.cost else reserve


def ended(key: str, attempt: int, outcome: Outcome, actual: Spent, seconds: float) -> Ended:
    """The ledger's row of a try that came to an end."""
    done = outcome.completion
    if done is None:
        return Ended(key, attempt, "failed", *actual, None, None, None, None, None, None, outcome.error, seconds)
    return Ended(
        key, attempt, "answered", *actual, done.prompt_tokens, done.completion_tokens, done.finish, done.text,
        outcome.body, done.model, outcome.error or None, seconds,
    )  # fmt: skip
