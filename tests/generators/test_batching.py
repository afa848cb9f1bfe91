"""The Batch API: the pairs of a live run at half its price, whatever expires, and nothing lost or paid twice by kill -9."""

import json
import signal
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai.types import Batch, FileObject
from openai.types.chat import ChatCompletion

from generators.backends import batching
from generators.backends.exchange import ServerError
from generators.batchbook import BatchBook
from generators.budget import BudgetError
from generators.ledger import Sent, open_ledger, read_ledger
from generators.synthesize import SynthesizeSpec, synthesize
from harness.identity import folder_digests
from harness.runtime import Batching, Server
from harness.step import silent

Builders = tuple[Callable[..., Server], Callable[..., SynthesizeSpec]]
SMALL = {"requests": 9, "tokens": 60_000, "price": 0.5, "poll": 0.01}
LATE = {"expire": 0.4, "garbage": 0.3, "error500": 0.1, "limit": 0.1}


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batching, "FIRST_PAUSE", 0.005)


def run(spec: SynthesizeSpec, server: Server, folder: Path, name: str = "out") -> dict[str, Any]:
    measured: dict[str, Any] = {}
    (folder / name).mkdir(parents=True)
    synthesize(spec, folder / name, silent, measured, folder / "ledger.sqlite", server)
    return measured


def test_replies_of_the_test_server_are_openai_s(start_server: Any) -> None:
    url = start_server("server", garbage=0.0).url
    body = {"model": "good", "messages": [{"role": "user", "content": "hello"}]}
    line = json.dumps({"custom_id": "a", "method": "POST", "url": "/v1/chat/completions", "body": body})
    upload = httpx.post(f"{url}/files", data={"purpose": "batch"}, files={"file": ("b.jsonl", line.encode())}).json()
    asked = {
        "input_file_id": upload["id"],
        "endpoint": "/v1/chat/completions",
        "completion_window": "24h",
        "metadata": {"n": "m"},
    }
    made = httpx.post(f"{url}/batches", json=asked).json()
    looks = [httpx.get(f"{url}/batches/{made['id']}").json() for _ in range(5)]
    answers = httpx.get(f"{url}/files/{looks[-1]['output_file_id']}/content").text.splitlines()

    FileObject.model_validate(upload, strict=True)
    for batch in (made, *looks):
        Batch.model_validate(batch, strict=True)
    assert [batch["status"] for batch in looks] == ["validating", "in_progress", "finalizing", "completed", "completed"]
    assert [json.loads(answer)["custom_id"] for answer in answers] == ["a"]
    ChatCompletion.model_validate(json.loads(answers[0])["response"]["body"], strict=True)


def test_late_batches_give_the_pairs_of_a_live_run_at_half_the_price(
    start_server: Any, helpers: Builders, tmp_path: Path
) -> None:
    server_for, live_spec = helpers
    live, late = start_server("live"), start_server("late", seed=2, **LATE)
    run(live_spec(), server_for(live.url), tmp_path / "live")
    batched = server_for(late.url, batch=Batching(**SMALL))  # type: ignore[arg-type]
    run(live_spec(), batched, tmp_path / "late")
    with read_ledger(tmp_path / "late" / "ledger.sqlite") as ledger:
        rows, spent, left = list(ledger.rows()), ledger.spent().cost, BatchBook(ledger).open()
    asked = len(late.seen())
    run(live_spec(), batched, tmp_path / "late", "again")
    errors = Counter(str(row["error"]).split(":")[0] for row in rows if row["state"] == "failed")

    assert len(late.seen()) == asked, "what the ledger holds was asked again"
    assert left == []
    assert {"batch_expired", "status 500", "status 429"} <= set(errors), errors
    assert spent == sum(int(row["cost"]) for row in late.seen()) // 2, "the bill at half the price, and nothing for what failed"
    assert {row["state"] for row in rows} == {"answered", "failed"}
    assert folder_digests(tmp_path / "late" / "again") == folder_digests(tmp_path / "late" / "out")
    assert folder_digests(tmp_path / "late" / "out") == folder_digests(tmp_path / "live" / "out"), "answers were joined wrongly"


def test_the_budget_stops_before_a_batch_and_goes_on_when_raised(start_server: Any, helpers: Builders, tmp_path: Path) -> None:
    server_for, live_spec = helpers
    server = start_server()
    with pytest.raises(BudgetError, match=r"max_cost 0\.02"):
        run(live_spec(), server_for(server.url, max_cost=0.02, batch=Batching(**SMALL)), tmp_path, "first")  # type: ignore[arg-type]
    with read_ledger(tmp_path / "ledger.sqlite") as ledger:
        assert 0 < ledger.spent().cost <= 20_000_000
    run(live_spec(), server_for(server.url, max_cost=5.0, batch=Batching(**SMALL)), tmp_path, "second")  # type: ignore[arg-type]
    with read_ledger(tmp_path / "ledger.sqlite") as ledger:
        assert len(server.seen()) == sum(1 for _ in ledger.rows()), "what was paid before the stop was paid again"


def test_a_refused_batch_costs_nothing_and_says_why(start_server: Any, helpers: Builders, tmp_path: Path) -> None:
    server_for, live_spec = helpers
    with pytest.raises(ServerError, match=r"refused batch.*too many tokens wait.*runtime\.server\.batch"):
        run(live_spec(), server_for(start_server("server", fail=1.0).url, batch=Batching(**SMALL)), tmp_path)  # type: ignore[arg-type]
    with read_ledger(tmp_path / "ledger.sqlite") as ledger:
        rows = list(ledger.rows())

    assert sum(row["cost"] for row in rows if row["state"] == "failed") == 0
    assert any(row["state"] == "failed" for row in rows)


def test_open_batches_are_not_asked_one_by_one(start_server: Any, helpers: Builders, nursery: Any, tmp_path: Path) -> None:
    server_for, live_spec = helpers
    server = start_server()
    nursery.start(folder=str(tmp_path), name="a", url=server.url, size=30, server={"batch": SMALL}, die_at=6)
    assert nursery.ended(30) == -signal.SIGKILL
    with pytest.raises(ServerError, match="batches that a server still works on"):
        run(live_spec(30), server_for(server.url), tmp_path, "b")
    with open_ledger(tmp_path / "ledger.sqlite") as ledger:
        assert ledger.recover() == 0, "what a server was handed counts as lost"


@given(
    st.lists(st.tuples(st.sampled_from(["a", "b", "c"]), st.integers(0, 500)), min_size=1, max_size=60),
    st.integers(1, 9),
    st.integers(300, 3000),
)
def test_a_file_holds_one_model_and_no_more_than_it_may(drawn: list[tuple[str, int]], most: int, most_bytes: int) -> None:
    rows = [Sent(str(n), 1, model, "x" * size, 1, 1, 0.0) for n, (model, size) in enumerate(drawn)]
    found = list(batching.files(rows, most, most_bytes))

    assert sorted((row for file in found for row in file), key=lambda row: int(row.key)) == rows
    for file in found:
        sizes = [len(row.request) + batching.ENVELOPE for row in file]
        assert len({row.model for row in file}) == 1
        assert [row.key for row in file] == sorted((row.key for row in file), key=int)
        assert 0 < len(file) <= most
        assert sum(sizes) <= most_bytes or len(file) == 1


def killed_at(start_server: Any, nursery: Any, folder: Path, point: int) -> bool:
    """Kill at one point, finish, compare with the server's log and bill; False if no such point was reached."""
    server = start_server(f"server{point}", expire=0.3)
    order = {"folder": str(folder / str(point)), "url": server.url, "size": 30, "server": {"batch": SMALL}}
    nursery.start(**order, name="killed", die_at=point)
    killed = nursery.ended(60) == -signal.SIGKILL
    if killed:
        nursery.start(**order, name="out")
        assert nursery.ended(60) == 0
    with read_ledger(folder / str(point) / "ledger.sqlite") as ledger:
        rows, booked = list(ledger.rows()), ledger.spent().cost
    asked = Counter(row["asked"] for row in server.seen())
    wanted = Counter(row["key"] for row in rows if row["state"] == "answered")

    assert asked.total() == wanted.total(), "something was asked twice, or its answer was lost"
    assert booked == sum(int(row["cost"]) for row in server.seen()) // 2, "something was booked that was never billed"
    assert "lost" not in {row["state"] for row in rows}
    return killed


def test_kill_minus_nine_between_two_states_of_a_batch_loses_and_repeats_nothing(
    start_server: Any, nursery: Any, tmp_path: Path
) -> None:
    """Four of the points; the slow test below kills at each."""
    (tmp_path / "calm").mkdir()
    calm = start_server("calm", expire=0.3)
    nursery.start(folder=str(tmp_path), name="calm/out", url=calm.url, size=30, server={"batch": SMALL})
    assert nursery.ended(60) == 0
    expected = folder_digests(tmp_path / "calm" / "out")
    for point in (2, 4, 6, 8):
        assert killed_at(start_server, nursery, tmp_path, point)
        assert folder_digests(tmp_path / str(point) / "out") == expected


@pytest.mark.slow
def test_kill_minus_nine_at_every_point_of_every_batch(start_server: Any, nursery: Any, tmp_path: Path) -> None:
    point = 1
    while killed_at(start_server, nursery, tmp_path, point):
        point += 1

    print(f"{point - 1} points, each killed at once and resumed")
    assert point > 40
