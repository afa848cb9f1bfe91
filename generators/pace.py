"""Rates kept before a server has to refuse: requests and tokens are spread evenly over the minute.

A request may go when the schedule of every limit has reached it; a schedule never runs more than a small burst behind the
clock, so that no minute holds more than its limit. Limits are lowered, never raised, by what the server's headers say.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime

MARGIN = 0.985
"""Share of a limit that is used: with the burst, a minute stays below the limit however the network bunches requests."""
BURST = 0.4
"""Seconds a schedule may lag: what a stalled event loop can catch up on."""


@dataclass
class Schedule:
    """Slots of one limit, `rate` units a second."""

    rate: float
    next: float = 0.0

    def claim(self, now: float, units: float) -> float:
        """Take `units` and return when they may be used."""
        slot = max(self.next, now - BURST)
        self.next = slot + units / self.rate
        return slot


@dataclass
class Pace:
    """When the next request may be sent."""

    requests: Schedule | None
    tokens: Schedule | None
    clock: Callable[[], float] = time.monotonic
    closed_until: float = field(default=0.0)

    @staticmethod
    def of(requests_per_minute: float | None, tokens_per_minute: float | None) -> Pace:
        """A pace that keeps both limits; None: no limit."""
        requests, tokens = (Schedule(n * MARGIN / 60) if n else None for n in (requests_per_minute, tokens_per_minute))
        return Pace(requests, tokens)

    async def turn(self, tokens: int) -> None:
        """Wait for a slot; claims are served in order."""
        now = self.clock()
        slots = [schedule.claim(now, units) for schedule, units in ((self.requests, 1), (self.tokens, tokens)) if schedule]
        while (wait := max([self.closed_until, *slots]) - self.clock()) > 0:  # noqa: ASYNC110  closed_until may move meanwhile
            await asyncio.sleep(wait)

    def close(self, seconds: float) -> None:
        """Send nothing for so long: the server asked for it, however long it is."""
        self.closed_until = max(self.closed_until, self.clock() + seconds)

    def learn(self, headers: Mapping[str, str]) -> None:
        """Take over the limits and the remainders that the server tells."""
        for name in ("requests", "tokens"):
            limit = _number(headers.get(f"x-ratelimit-limit-{name}"))
            schedule: Schedule | None = getattr(self, name)
            if limit and limit > 0 and (schedule is None or limit * MARGIN / 60 < schedule.rate):
                setattr(self, name, Schedule(limit * MARGIN / 60, schedule.next if schedule else self.clock()))
            reset = seconds_of(headers.get(f"x-ratelimit-reset-{name}"))
            if reset is not None and _number(headers.get(f"x-ratelimit-remaining-{name}")) == 0:
                self.close(min(reset, 60.0))


def retry_after(headers: Mapping[str, str], now: float) -> float | None:
    """Seconds a refusal asks to wait: milliseconds, seconds, or a date. `now` in seconds since the epoch."""
    milliseconds = _number(headers.get("retry-after-ms"))
    if milliseconds is not None:
        return max(0.0, milliseconds / 1000)
    value = headers.get("retry-after")
    if value is None or (seconds := _number(value)) is not None:
        return None if value is None else max(0.0, seconds or 0.0)
    try:
        return max(0.0, parsedate_to_datetime(value).timestamp() - now)
    except (ValueError, TypeError, OverflowError):
        return None


def seconds_of(value: str | None) -> float | None:
    """A duration as OpenAI writes it, `6m0s`, `1.2s`, `15ms`, or plain seconds; None if it is none."""
    if value is None or (plain := _number(value)) is not None:
        return None if value is None else plain
    total, number = 0.0, ""
    units = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001}
    rest = value.strip()
    while rest:
        number = rest[: len(rest) - len(rest.lstrip("0123456789."))]
        rest = rest[len(number) :]
        unit = next((name for name in ("ms", "h", "m", "s") if rest.startswith(name)), None)
        amount = _number(number)
        if unit is None or amount is None:
            return None
        total += amount * units[unit]
        rest = rest[len(unit) :]
    return total


def _number(value: str | None) -> float | None:
    try:
        number = float(value) if value is not None else None
    except ValueError:
        return None
    return number if number is not None and 0 <= number < 1e12 else None
