"""Money is never overspent: not by concurrency, not across crashes, not by a server's strange bookkeeping."""

import asyncio
import random
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Self

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from generators.backends import sending
from generators.backends.exchange import Outcome, ServerError
from generators.backends.journal import Journal
from generators.backends.openai import Call, Completion
from generators.backends.reply import Access
from generators.backends.sending import Sender, bill
from generators.budget import Budget, BudgetError, Tariff, most_prompt_tokens, tariffs
from generators.ledger import NANO, Ended, Ledger, Sent, Spent, open_ledger
from generators.pace import Pace
from harness.runtime import Price, Server
from harness.step import silent


class CrashedError(RuntimeError):
    """The process is dead from here on."""


@dataclass
class Fate:
    """All that happens by chance in one schedule, and what the server has billed: the oracle, which knows no reserves."""

    rng: random.Random
    limit: int
    prices: Tariff
    billed: int = 0
    writes: int = 0
    """Transactions until the next crash."""

    def next_life(self) -> None:
        self.writes = self.rng.choice([10**9, self.rng.randint(1, 30)])


class MortalLedger(Ledger):
    """A ledger whose process dies at a transaction, before or after it is durable."""

    fate: Fate

    def apply(self, rows: Iterable[Sent | Ended]) -> None:
        self.fate.writes -= 1
        if self.fate.writes == 0 and self.fate.rng.random() < 0.5:
            super().apply(rows)
        if self.fate.writes <= 0:
            raise CrashedError
        super().apply(rows)


@dataclass
class FakeLine:
    """A server in this process: bills as soon as it is asked, answers in any order, lies about usage, or not at all."""

    fate: Fate

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        pass

    async def check(self, models: Sequence[str]) -> None:
        pass

    async def ask(self, call: Call) -> Outcome:
        rng = self.fate.rng
        if rng.random() < 0.1:
            return Outcome(None, "status 429", rng.choice([None, 0.0]), billed=False)
        prompt, completion = rng.randint(0, call.max_prompt), rng.randint(0, call.max_completion)
        self.fate.billed += self.fate.prices.cost(prompt, completion)
        assert self.fate.billed <= self.fate.limit, "the server billed more than was allowed"
        for _ in range(rng.randint(0, 6)):
            await asyncio.sleep(0)
        if rng.random() < 0.15:
            return Outcome(None, "connection lost")
        told = rng.choice([(prompt, completion)] * 8 + [(None, None), (10**9, 0)])
        return Outcome(Completion("x", "stop", "m", *told), "")


@dataclass(frozen=True)
class FakeCall:
    """What the sender needs of a call."""

    key: str
    model: str
    body: dict[str, str]
    max_prompt: int
    max_completion: int


met: Counter[str] = Counter()


def run_schedule(path: Path, seed: int) -> None:
    """The sender itself, over and over until it has all answers or no money, with crashes in between."""
    rng = random.Random(seed)
    tariff = Tariff(rng.randint(0, 3), rng.randint(1, 9))
    calls = [FakeCall(f"{n}", "m", {}, rng.randint(1, 20), rng.randint(1, 20)) for n in range(rng.randint(1, 25))]
    most = sum(tariff.cost(call.max_prompt, call.max_completion) for call in calls)
    fate = Fate(rng, round(most * rng.uniform(0.2, 2.5)), tariff)
    concurrency = rng.randint(1, 30)
    for leftover in path.parent.glob(f"{path.name}*"):
        leftover.unlink()
    end = "crashed"
    while end == "crashed":
        fate.next_life()
        end = one_life(path, fate, calls, concurrency)
        met[end] += 1

    with open_ledger(path) as ledger:
        assert fate.billed <= ledger.spent().cost <= fate.limit


def one_life(path: Path, fate: Fate, calls: list[FakeCall], concurrency: int) -> str:
    """How one process ended."""
    with open_ledger(path) as opened:
        opened._db.execute("PRAGMA synchronous = OFF")  # a process crashes here, not the machine
        opened.recover()
        budget = Budget(fate.limit, None, opened.spent())
        mortal, held, access = MortalLedger(opened._db), opened.answered(), Access(path, None, silent)
        mortal.fate = fate
        missing = [call for call in calls if call.key not in held]
        sender = Sender(
            replace(server(1.0), concurrency=concurrency, attempts=3), FakeLine(fate), Pace.of(None, None), Journal(mortal),  # type: ignore[arg-type]
            budget, {"m": fate.prices}, access, len(missing), opened.attempts(),
        )  # fmt: skip
        try:
            if missing:
                asyncio.run(sender.run(missing))  # type: ignore[arg-type]
        except CrashedError:
            return "crashed"
        except (BudgetError, ServerError) as error:
            return type(error).__name__
        return "finished"


def schedules(folder: Path, count: int) -> None:
    @settings(max_examples=count, deadline=None)
    @given(seed=st.integers(0, 2**32))
    def holds(seed: int) -> None:
        run_schedule(folder / "schedule.sqlite", seed)

    holds()


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sending, "FIRST_BACKOFF", 0.0)
    met.clear()


def test_max_cost_holds_in_random_schedules_with_crashes(at_once: None, tmp_path: Path) -> None:
    schedules(tmp_path, 40)


@pytest.mark.slow
def test_max_cost_holds_in_a_thousand_schedules(at_once: None, tmp_path: Path) -> None:
    schedules(tmp_path, 1000)

    print(f"lives by their end: {dict(met)}")
    assert sum(met[end] for end in ("finished", "BudgetError", "ServerError")) >= 1000
    assert min(met["crashed"], met["BudgetError"], met["finished"]) > 100, f"schedules are all alike: {met}"


@pytest.mark.parametrize(
    ("prompt", "completion", "expected"),
    [
        (10, 5, Spent(15, 10 * 2 + 5 * 3)),
        (None, 5, Spent(100, 500)),  # no usage told: the reserve
        (10**9, 5, Spent(100, 500)),  # impossible usage: the reserve
        (10, None, Spent(100, 500)),
        (0, 0, Spent(0, 0)),
    ],
)
def test_unknown_or_impossible_usage_is_booked_at_its_reserve(
    prompt: int | None, completion: int | None, expected: Spent
) -> None:
    outcome = Outcome(Completion("x", "stop", "m", prompt, completion), "")

    assert bill(outcome, Spent(100, 500), Tariff(2, 3)) == expected
    assert bill(Outcome(None, "no reply"), Spent(100, 500), Tariff(2, 3)) == Spent(100, 500)
    assert bill(Outcome(None, "status 429", billed=False), Spent(100, 500), Tariff(2, 3)) == Spent(0, 0)


def server(max_cost: float | None) -> Server:
    prices = (Price("gpt-4o-mini", 0.15, 0.6, "2024-07-18"),)
    return Server("http://x", "", 1, None, None, 1.0, 1, max_cost, None, prices)


def test_prices_are_exact_integers_and_an_unknown_one_is_an_error_where_money_is_limited() -> None:
    assert tariffs(server(1.0), ["gpt-4o-mini"])["gpt-4o-mini"].cost(1_000_000, 1_000_000) == round(0.75 * NANO)
    assert tariffs(server(None), ["mystery"])["mystery"].cost(10, 10) == 0
    with pytest.raises(ValueError, match=r"no price for 'gpt-4o-mni' \(did you mean 'gpt-4o-mini'\?\)"):
        tariffs(server(1.0), ["gpt-4o-mni"])


@given(st.lists(st.text(max_size=50), max_size=4))
def test_the_prompt_bound_counts_bytes_not_letters(texts: list[str]) -> None:
    bounds = [most_prompt_tokens([{"role": "user", "content": text} for text in texts[:n]]) for n in range(len(texts) + 1)]

    assert bounds[-1] >= sum(len(text.encode("utf-8")) for text in texts)
    assert all(low < high for low, high in pairwise(bounds))


def test_two_writers_are_refused(tmp_path: Path) -> None:
    from generators.ledger import LedgerError

    with (
        open_ledger(tmp_path / "l.sqlite"),
        pytest.raises(LedgerError, match="written by another process"),
        open_ledger(tmp_path / "l.sqlite"),
    ):
        pass
