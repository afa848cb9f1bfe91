"""Money and tokens as hard stops: nothing is sent that could take the total over its limit, whatever is still in flight.

Every request reserves the most it can cost before it is sent and settles at what it did cost. The reserve is an upper
bound by construction: a token has at least one byte of the prompt, and the server cuts completions at the asked maximum.
Amounts are integers, billionths of the money unit. Not here: what was booked before this process (`ledger.py`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from generators.ledger import NANO, Spent
from harness.config import nearest
from harness.runtime import Price, Server

MESSAGE_TOKENS = 16
"""More than any chat template adds around a message."""


class BudgetError(RuntimeError):
    """The limit is reached with requests left to ask; what was answered stays in the ledger."""


@dataclass
class Budget:
    """What is spent and reserved against the limits. None: no limit."""

    max_cost: int | None
    max_tokens: int | None
    spent: Spent
    """Booked and settled."""
    reserved: Spent = field(default=Spent(0, 0))
    """Held by requests in flight."""

    @staticmethod
    def of(server: Server, spent: Spent) -> Budget:
        """The limits of a server, with what the ledger has booked."""
        limit = None if server.max_cost is None else round(server.max_cost * NANO)
        return Budget(limit, server.max_tokens, spent)

    def reserve(self, amount: Spent) -> bool:
        """Hold an amount; False, and nothing held, if it might not fit."""
        held = Spent(self.reserved.tokens + amount.tokens, self.reserved.cost + amount.cost)
        if self.max_cost is not None and self.spent.cost + held.cost > self.max_cost:
            return False
        if self.max_tokens is not None and self.spent.tokens + held.tokens > self.max_tokens:
            return False
        self.reserved = held
        return True

    def settle(self, amount: Spent, actual: Spent) -> None:
        """Give a reserve back and book what it really was."""
        self.reserved = Spent(self.reserved.tokens - amount.tokens, self.reserved.cost - amount.cost)
        self.spent = Spent(self.spent.tokens + actual.tokens, self.spent.cost + actual.cost)

    def explain(self, left: int) -> str:
        """The message of a stop."""
        limit = [f"max_cost {self.max_cost / NANO:g}"] if self.max_cost is not None else []
        limit += [f"max_tokens {self.max_tokens}"] if self.max_tokens is not None else []
        return (
            f"stopped by the budget ({', '.join(limit)}): {self.spent.cost / NANO:.4f} and {self.spent.tokens} tokens are "
            f"spent, {left} requests are left. Raise runtime.server.max_cost or max_tokens to go on; no answer is bought twice"
        )


@dataclass(frozen=True)
class Tariff:
    """A model's prices in billionths a token."""

    prompt: int
    completion: int

    def cost(self, prompt_tokens: int, completion_tokens: int) -> int:
        """Of one request."""
        return prompt_tokens * self.prompt + completion_tokens * self.completion


def tariffs(server: Server, models: Sequence[str]) -> Mapping[str, Tariff]:
    """The prices of the models asked; raises ValueError for an unknown price where money is limited."""
    prices = {price.model: price for price in server.prices}
    unknown = [name for name in models if name not in prices]
    if unknown and server.max_cost is not None:
        raise ValueError(
            f"runtime.server.prices: no price for {unknown[0]!r}{nearest(unknown[0], prices)}, and max_cost is "
            f"{server.max_cost:g}; add the price with its date, or set max_cost: null and limit max_tokens"
        )
    share = 1.0 if server.batch is None else server.batch.price
    return {name: _tariff(prices[name], share) if name in prices else Tariff(0, 0) for name in models}


def _tariff(price: Price, share: float) -> Tariff:
    per_token = NANO // 1_000_000 * share
    return Tariff(*(math.ceil(round(listed * per_token, 6)) for listed in (price.prompt, price.completion)))


def most_prompt_tokens(messages: Sequence[Mapping[str, str]], extra: int = 0) -> int:
    """An upper bound: every token stands for a byte at least."""
    return sum(len(message["content"].encode()) + MESSAGE_TOKENS for message in messages) + MESSAGE_TOKENS + extra
