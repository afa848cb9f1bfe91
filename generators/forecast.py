"""What is still to be bought and what it will cost, before anything is sent.

A place of the pool whose brainstorm is not answered yet has an example to ask too. Prices come from the answers the ledger
holds for the same kind of request (a pilot, or an earlier corpus); without any, only the upper bound is known.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from generators.backends.openai import OpenAI
from generators.batchbook import BatchBook
from generators.budget import Tariff, tariffs
from generators.draws import Draw
from generators.ledger import NANO, Ledger, read_ledger
from generators.parse import parse_tasks
from generators.prompts import Request
from harness.runtime import Server

SIDES = 1.96
"""Normal quantile of a 95 % interval."""


@dataclass(frozen=True)
class Forecast:
    """Requests, tokens and money that a corpus still needs."""

    held: int
    brainstorms: int
    examples: int
    tokens: tuple[float, float, float]
    """Expected, and the 95 % interval; the upper bound thrice where nothing is known."""
    cost: tuple[float, float, float]
    from_answers: int
    """How many answers the expectation rests on; 0: an upper bound."""

    def lines(self) -> list[str]:
        """For people."""
        asked = (
            f"{self.held:,} answers are held, {self.brainstorms:,} brainstorms and {self.examples:,} examples are to be asked"
        )
        kind = (
            f"from {self.from_answers:,} answers, 95 % interval"
            if self.from_answers
            else "an upper bound, no pilot in the ledger"
        )
        tokens, cost = ([f"{x:,.4g}" for x in triple] for triple in (self.tokens, self.cost))
        return [
            asked,
            f"tokens: {tokens[0]} ({tokens[1]} to {tokens[2]}; {kind})",
            f"money:  {cost[0]} ({cost[1]} to {cost[2]})",
        ]


def forecast(backend: OpenAI, draws: Sequence[Draw], path: Path, server: Server) -> Forecast:
    """Look only; nothing is sent and the ledger is not changed."""
    prices = tariffs(server, sorted({model.name for model in backend.models}))
    if not path.is_file():
        missing = list({each.key: each for draw in draws for each in _first(draw)}.values())
        return _bound(backend, missing, _blind(draws), 0, prices)
    with read_ledger(path) as ledger:
        held, asked, blind = outstanding(backend, draws, ledger)
        costs = _observed(ledger, prices)
    if len(costs) < 2:
        return _bound(backend, asked, blind, held, prices)
    count = len(asked) + blind
    tokens, cost = (_expect([row[i] for row in costs], count) for i in (0, 1))
    brainstorms = sum(request.stage == "brainstorm" for request in asked)
    return Forecast(held, brainstorms, count - brainstorms, tokens, cost, len(costs))


def _first(draw: Draw) -> list[Request]:
    """The request of a draw that can be written down without an answer."""
    return [draw.brainstorm() or draw.example(())]


def _blind(draws: Sequence[Draw]) -> int:
    return sum(draw.brainstorm() is not None for draw in draws)


class Outstanding(NamedTuple):
    """What a corpus still lacks."""

    held: int
    """Answers that the ledger has."""
    asked: list[Request]
    """Requests to send whose words are known."""
    blind: int
    """Examples whose task a brainstorm still has to name."""


def outstanding(backend: OpenAI, draws: Sequence[Draw], ledger: Ledger) -> Outstanding:
    """What is there and what is to be asked."""
    answered = ledger.answered()
    first = {request.key: request for draw in draws for request in _first(draw)}
    keys = {key: backend.call(request).key for key, request in first.items()}
    known = [key for key, request in first.items() if request.stage == "brainstorm" and keys[key] in answered]
    replies = ledger.replies([keys[key] for key in known])
    tasks = {key: parse_tasks(text) for key, (text, _) in zip(known, replies, strict=True)}
    wanted = dict(first)
    blind = 0
    for draw in draws:
        brainstorm = draw.brainstorm()
        if brainstorm is None:
            continue
        found = tasks.get(brainstorm.key)
        if found is None:
            blind += 1
        elif not isinstance(found, str):
            example = draw.example(found)
            wanted[example.key] = example
    missing = [request for request in wanted.values() if backend.call(request).key not in answered]
    return Outstanding(len(wanted) - len(missing), missing, blind)


def _observed(ledger: Ledger, prices: Mapping[str, Tariff]) -> list[tuple[float, float]]:
    """(tokens, money) of every answered request of these models."""
    rows = (row for row in ledger.rows() if row["state"] == "answered" and row["model"] in prices)
    return [(row["tokens"], row["cost"] / NANO) for row in rows]


def _expect(values: Sequence[float], count: int) -> tuple[float, float, float]:
    """The sum of `count` more such values with its interval: they vary, and so does our estimate of their mean."""
    n, mean = len(values), math.fsum(values) / len(values)
    variance = math.fsum((value - mean) ** 2 for value in values) / (n - 1)
    half = SIDES * math.sqrt(variance * count * (1 + count / n))
    return count * mean, max(0.0, count * mean - half), count * mean + half


def _bound(backend: OpenAI, asked: Sequence[Request], blind: int, held: int, prices: Mapping[str, Tariff]) -> Forecast:
    """The most it can cost; examples whose task is unknown count like the longest known request."""
    calls = [backend.call(request) for request in asked]
    amounts = [
        (call.max_prompt + call.max_completion, prices[call.model].cost(call.max_prompt, call.max_completion) / NANO)
        for call in calls
    ]
    most = [max((amount[i] for amount in amounts), default=0.0) * blind + math.fsum(a[i] for a in amounts) for i in (0, 1)]
    brainstorms = sum(request.stage == "brainstorm" for request in asked)
    triple = [(float(x), float(x), float(x)) for x in most]
    return Forecast(held, brainstorms, len(asked) - brainstorms + blind, triple[0], triple[1], 0)


def summary(ledger: Ledger) -> dict[str, object]:
    """What the ledger holds: requests by state, model and verdict, tokens, money."""
    states: dict[str, int] = {}
    models: dict[str, int] = {}
    verdicts: dict[str, int] = {}
    for row in ledger.rows():
        states[row["state"]] = states.get(row["state"], 0) + 1
        if row["state"] == "answered":
            models[row["model"]] = models.get(row["model"], 0) + 1
            verdict = row["verdict"] or "not judged"
            verdicts[verdict] = verdicts.get(verdict, 0) + 1
    spent = ledger.spent()
    accepted = verdicts.get("accepted", 0)
    return {
        "requests": states, "answers_by_model": models, "verdicts": verdicts, "tokens": spent.tokens,
        "open_batches": len(BatchBook(ledger).open()), "cost": spent.cost / NANO,
        "cost_per_accepted": spent.cost / NANO / accepted if accepted else None,
    }  # fmt: skip


def export_rows(ledger: Ledger, path: Path) -> int:
    """Write every row as a JSON line; returns how many."""
    with path.open("w", encoding="utf-8") as out:
        return sum(1 for row in ledger.rows() if out.write(json.dumps(row, sort_keys=True) + "\n"))
