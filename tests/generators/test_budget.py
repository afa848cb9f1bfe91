"""Money is never overspent: not by concurrency, not across crashes, not by a server's strange bookkeeping."""

import random
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from generators.backends.openai import Completion
from generators.backends.sending import Outcome, _bill
from generators.budget import Budget, Tariff, most_prompt_tokens, tariffs
from generators.ledger import NANO, Ended, Sent, Spent, open_ledger
from harness.runtime import Price, Server

schedules = (st.integers(0, 2**32), st.integers(0, 60), st.integers(1, 30), st.integers(1, 40))


@settings(max_examples=60)
@given(*schedules)
def test_max_cost_holds_in_random_schedules_with_crashes(
    tmp_path_factory: pytest.TempPathFactory, seed: int, limit: int, concurrency: int, steps: int
) -> None:
    run_schedule(tmp_path_factory, seed, limit, concurrency, steps)


@pytest.mark.slow
@settings(max_examples=1000)
@given(*schedules)
def test_max_cost_holds_in_a_thousand_schedules(
    tmp_path_factory: pytest.TempPathFactory, seed: int, limit: int, concurrency: int, steps: int
) -> None:
    run_schedule(tmp_path_factory, seed, limit, concurrency, steps)


def run_schedule(tmp_path_factory: pytest.TempPathFactory, seed: int, limit: int, concurrency: int, steps: int) -> None:
    """A schedule starts and ends requests in any order and crashes at any moment; the server bills every one of them.

    The oracle is the server's own bill, which knows nothing of reserves: it never exceeds the limit.
    """
    rng = random.Random(seed)
    path = tmp_path_factory.getbasetemp() / "schedule.sqlite"
    for leftover in path.parent.glob("schedule.sqlite*"):
        leftover.unlink()
    billed, number, done = 0, 0, False
    while not done:
        with open_ledger(path) as ledger:
            ledger._db.execute("PRAGMA synchronous = OFF")  # a process crashes here, not the machine
            ledger.recover()
            budget = Budget(limit, None, ledger.spent())
            flying: list[tuple[Sent, int]] = []
            for _ in range(steps):
                event = rng.random()
                if event < 0.55 and len(flying) < concurrency:
                    reserve = Spent(1, rng.randint(0, 12))
                    if budget.reserve(reserve):
                        number += 1
                        sent = Sent(str(number), 1, "m", "{}", *reserve, 0.0)
                        ledger.apply([sent])
                        billed += (actual := rng.randint(0, reserve.cost))  # the server bills as soon as it is asked
                        flying.append((sent, actual))
                elif event < 0.95 and flying:
                    sent, actual = flying.pop(rng.randrange(len(flying)))
                    ledger.apply([Ended(sent.key, 1, "answered", 1, actual, 1, 0, "stop", "", "", "m", None, 0.0)])
                    budget.settle(Spent(sent.reserved_tokens, sent.reserved_cost), Spent(1, actual))
                elif event >= 0.95:
                    break  # a crash: whatever flies is forgotten by this process, not by the server
                assert billed <= limit
            else:
                done = True

    with open_ledger(path) as ledger:
        assert billed <= ledger.spent().cost <= limit


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

    assert _bill(outcome, Spent(100, 500), Tariff(2, 3)) == expected
    assert _bill(Outcome(None, "no reply"), Spent(100, 500), Tariff(2, 3)) == Spent(100, 500)
    assert _bill(Outcome(None, "status 429", billed=False), Spent(100, 500), Tariff(2, 3)) == Spent(0, 0)


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
