"""kill -9 of a live generator: nothing that was paid is lost, nothing is paid twice but what was in flight.

Oracles: the pairs of a run that nobody disturbed, and the server's own log and bill, which know nothing of the ledger.
"""

import hashlib
import json
import os
import random
import signal
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from generators.ledger import Ledger, read_ledger
from harness.identity import folder_digests
from harness.pairs import read_pairs

CONCURRENCY = 6
FAULTS = {"error500": 0.04, "reset": 0.04, "limit": 0.02, "truncated": 0.02}


def wait_for(nursery: Any, log: Path, size: int, seconds: float) -> int | None:
    """Until the log has grown to `size` bytes; the exit status if the run ended before."""
    deadline = time.monotonic() + seconds
    while log.stat().st_size < size and time.monotonic() < deadline:
        if (status := nursery.ended(0.001)) is not None:
            return status
    return None


def killed_runs(start_server: Any, nursery: Any, folder: Path, kills: int, size: int) -> None:
    """Kill at seeded moments, all of them inside runs at work; finish; compare with an undisturbed run."""
    rng = random.Random(kills)
    calm, wild = start_server("calm", latency=0.004), start_server("wild", latency=0.01, **FAULTS)
    server = {"concurrency": CONCURRENCY}
    nursery.start(folder=str(folder / "calm"), name="out", url=calm.url, size=size, server=server)
    assert nursery.ended(120) == 0
    line = len(wild_line())
    for number in range(kills):
        order = {"folder": str(folder / "wild"), "name": f"out{number}", "url": wild.url, "size": size, "server": server}
        child = nursery.start(**order)
        before = wild.log.stat().st_size
        if number % 3:  # after so many requests ...
            status = wait_for(nursery, wild.log, before + line * rng.randint(1, max(2, 2 * size // kills)), 20)
        else:  # ... or at any time, imports of the answers and the opening of the ledger included
            status = nursery.ended(rng.uniform(0, 0.2))
        assert status is None, f"run {number} was over before it could be killed: {status}"
        os.kill(child, signal.SIGKILL)
        assert nursery.ended(10) == -signal.SIGKILL
    nursery.start(folder=str(folder / "wild"), name="last", url=wild.url, size=size, server=server)
    assert nursery.ended(300) == 0
    with read_ledger(folder / "wild" / "ledger.sqlite") as ledger:
        compare(ledger, Counter(row["asked"] for row in calm.seen()), wild.seen(), kills)
    assert read_pairs(folder / "wild" / "last" / "pairs.parquet") == read_pairs(folder / "calm" / "out" / "pairs.parquet")
    assert folder_digests(folder / "wild" / "last") == folder_digests(folder / "calm" / "out")


def wild_line() -> str:
    """About what the server's log has of a request."""
    return json.dumps({"asked": "0" * 64, "fault": "", "cost": 1000000, "time": time.time()}) + "\n"


def compare(ledger: Ledger, expected: Counter[Any], seen: list[dict[str, Any]], kills: int) -> None:
    """What the server was asked and billed against what the ledger says, request by request."""
    rows = list(ledger.rows())
    lost = Counter(hashlib.sha256(row["request"].encode()).hexdigest() for row in rows if row["state"] == "lost")
    answered = Counter(row["asked"] for row in seen if row["fault"] == "")
    repeats = answered - expected  # places of the pool may have the same words, so the undisturbed run says how often each

    assert set(answered) == set(expected), "other requests than the undisturbed run's were sent"
    assert repeats <= lost, "an answer was asked for again that was not in flight at a kill"
    assert lost.total() <= kills * CONCURRENCY, "more in flight than the concurrency allows"
    assert sum(row["cost"] for row in rows) >= sum(int(row["cost"]) for row in seen), "the server billed more than is booked"
    print(f"{kills} kills, {len(expected)} answers, {len(seen)} requests, {repeats.total()} repeated, {lost.total()} in flight")


def test_kill_minus_nine_repeats_only_what_was_in_flight(start_server: Any, nursery: Any, tmp_path: Path) -> None:
    killed_runs(start_server, nursery, tmp_path, kills=10, size=150)


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_two_hundred_kills(start_server: Any, nursery: Any, tmp_path: Path) -> None:
    killed_runs(start_server, nursery, tmp_path, kills=200, size=2000)
