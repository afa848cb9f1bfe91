"""Rates: never above the limit in any minute, near it when there is work, and slower when the server says so."""

import asyncio
import time
from bisect import bisect_left

import pytest
from hypothesis import given
from hypothesis import strategies as st

from generators.pace import BURST, MARGIN, Pace, Schedule, retry_after, seconds_of


@given(st.lists(st.floats(0, 0.3), min_size=50, max_size=400), st.sampled_from([600.0, 3000.0, 6000.0]))
def test_no_minute_exceeds_its_limit_whatever_the_callers_do(pauses: list[float], limit: float) -> None:
    """Pauses model a busy or stalled client. Send times are computed, not waited for."""
    schedule, now, sent = Schedule(limit * MARGIN / 60), 0.0, []
    for pause in pauses * 3:
        now += pause * 0.02
        sent.append(max(now, schedule.claim(now, 1)))
    sent.sort()
    most = max(bisect_left(sent, start + 60.0) - first for first, start in enumerate(sent))

    assert most <= limit, "more requests in a minute than the server allows"
    assert BURST * limit / 60 + MARGIN * limit <= limit + 0.01 * limit


def test_with_enough_work_a_minute_is_97_percent_full() -> None:
    schedule = Schedule(3000 * MARGIN / 60)
    slots = [schedule.claim(0.0, 1) for _ in range(4000)]

    assert 0.97 * 3000 <= sum(1 for slot in slots if 0 <= slot < 60) <= 3000


def test_a_wait_asked_for_by_the_server_holds_everybody() -> None:
    async def run() -> float:
        pace = Pace.of(None, None)
        pace.close(0.15)
        start = time.monotonic()
        await asyncio.gather(*(pace.turn(10) for _ in range(5)))
        return time.monotonic() - start

    assert 0.14 <= asyncio.run(run()) < 1.0


def test_limits_are_learnt_from_headers_and_only_ever_lowered() -> None:
    pace = Pace.of(6000, None)
    pace.learn({"x-ratelimit-limit-requests": "600", "x-ratelimit-limit-tokens": "90000"})
    assert pace.requests is not None
    assert pace.tokens is not None
    assert pace.requests.rate == pytest.approx(600 * MARGIN / 60)
    assert pace.tokens.rate == pytest.approx(90000 * MARGIN / 60)
    pace.learn({"x-ratelimit-limit-requests": "999999", "x-ratelimit-limit-tokens": "nonsense"})

    assert pace.requests.rate == pytest.approx(600 * MARGIN / 60)
    before = pace.clock()
    pace.learn({"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "1.5s"})
    assert pace.closed_until - before == pytest.approx(1.5, abs=0.1)


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"retry-after": "7"}, 7.0),
        ({"retry-after": "600"}, 600.0),  # the client itself gives up above 120
        ({"retry-after-ms": "300", "retry-after": "9"}, 0.3),
        ({"retry-after": "Thu, 01 Jan 1970 00:02:00 GMT"}, 20.0),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "-5"}, None),
        ({"retry-after": "nan"}, None),
    ],
)
def test_retry_after_in_all_its_forms(headers: dict[str, str], seconds: float | None) -> None:
    assert retry_after(headers, now=100.0) == seconds


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("6m0s", 360.0), ("1.2s", 1.2), ("15ms", 0.015), ("1h2m", 3720.0), ("3", 3.0), ("x", None), (None, None)],
)
def test_durations_as_openai_writes_them(text: str | None, seconds: float | None) -> None:
    assert seconds_of(text) == (None if seconds is None else pytest.approx(seconds))


@given(st.text(max_size=20))
def test_no_header_raises(text: str) -> None:
    seconds_of(text)
    retry_after({"retry-after": text, "retry-after-ms": text}, 0.0)
    Pace.of(None, None).learn({"x-ratelimit-limit-requests": text, "x-ratelimit-remaining-requests": text})
