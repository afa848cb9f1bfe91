"""The live backend against a server that misbehaves: what it books, retries, gives up and never asks twice."""

import json
import re
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from openai.types.chat import ChatCompletion

from generators.backends import sending
from generators.backends.exchange import ServerError
from generators.backends.openai import Model, capability, read_completion
from generators.budget import BudgetError
from generators.ledger import read_ledger
from generators.synthesize import SynthesizeSpec, synthesize
from harness.identity import folder_digests
from harness.runtime import Server
from harness.step import silent

Builders = tuple[Callable[..., Server], Callable[..., SynthesizeSpec]]
ANY_FAULT = {
    "limit": 0.08, "limit_after": 0.04, "error500": 0.08, "reset": 0.08, "truncated": 0.06, "string": 0.06, "empty": 0.05,
    "echo500": 0.05, "huge": 0.01,
}  # fmt: skip


@pytest.fixture(autouse=True)
def short_backoff(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sending, "FIRST_BACKOFF", 0.005)


def run(spec: SynthesizeSpec, server: Server, folder: Path, name: str = "out") -> dict[str, Any]:
    measured: dict[str, Any] = {}
    (folder / name).mkdir()
    synthesize(spec, folder / name, silent, measured, folder / "ledger.sqlite", server)
    return measured


def test_a_good_reply_of_the_test_server_is_one_of_openai_s(start_server: Any, helpers: Builders) -> None:
    import httpx

    reply = httpx.post(
        f"{start_server().url}/chat/completions", json={"model": "good", "messages": [{"role": "user", "content": "hello"}]}
    )

    ChatCompletion.model_validate(reply.json(), strict=True)
    assert not isinstance(read_completion(reply.content), str)


def test_faults_change_no_pair_and_a_second_run_asks_nothing(start_server: Any, helpers: Builders, tmp_path: Path) -> None:
    server_for, live_spec = helpers
    calm, wild = start_server("calm"), start_server("wild", **ANY_FAULT)
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    run(live_spec(), server_for(calm.url), tmp_path / "a")
    measured = run(live_spec(), server_for(wild.url), tmp_path / "b")
    met = Counter(row["fault"] for row in wild.seen())
    asked = len(wild.seen())
    run(live_spec(), server_for(wild.url), tmp_path / "b", "again")

    assert set(met) >= {"limit", "error500", "reset", "truncated", "string"}, f"too few faults met: {met}"
    assert folder_digests(tmp_path / "a" / "out") == folder_digests(tmp_path / "b" / "out")
    assert folder_digests(tmp_path / "b" / "again") == folder_digests(tmp_path / "b" / "out")
    assert len(wild.seen()) == asked, "an answer that the ledger holds was asked for again"
    assert measured["schema_ignored"] > 0, "the server answers brainstorms with a bare list, whatever the schema"
    with read_ledger(tmp_path / "b" / "ledger.sqlite") as ledger:
        states = Counter(row["state"] for row in ledger.rows())
        failed = {str(row["error"]).split(":")[0] for row in ledger.rows() if row["state"] == "failed"}
        models = {row["served_model"] for row in ledger.rows() if row["state"] == "answered"}
    assert states == {"answered": met[""], "failed": asked - met[""]}, "every request has its row"
    assert len(failed) >= 4, f"failures are not told apart: {failed}"
    assert models == {"good-0101"}


def test_refusals_and_cut_answers_are_verdicts_not_failures(start_server: Any, helpers: Builders, tmp_path: Path) -> None:
    server_for, live_spec = helpers
    server = start_server("strange", seed=3, refusal=0.15, length=0.15, filter=0.15, no_usage=0.2, wrong_usage=0.2)
    measured = run(live_spec(80, max_tokens=500), server_for(server.url), tmp_path)

    assert {"refusal", "truncated", "content_filter", "accepted"} <= set(measured["verdicts"])
    with read_ledger(tmp_path / "ledger.sqlite") as ledger:
        rows = list(ledger.rows())
    assert len(server.seen()) == len(rows), "a refusal was asked again"
    assert {row["state"] for row in rows} == {"answered"}
    assert {row["verdict"] for row in rows} >= {"refusal", "truncated", "content_filter", "accepted"}
    assert all(row["tokens"] <= row["reserved_tokens"] and row["cost"] <= row["reserved_cost"] for row in rows)
    assert any(row["tokens"] == row["reserved_tokens"] for row in rows), "impossible usage is booked at its reserve"


def test_the_budget_stops_under_concurrency_and_goes_on_when_raised(
    start_server: Any, helpers: Builders, tmp_path: Path
) -> None:
    server_for, live_spec = helpers
    server = start_server(latency=0.01)
    with pytest.raises(BudgetError, match=r"max_cost 0\.05") as stop:
        run(live_spec(), server_for(server.url, max_cost=0.05), tmp_path, "first")
    with read_ledger(tmp_path / "ledger.sqlite") as ledger:
        spent = ledger.spent().cost
    before = len(server.seen())

    assert 0 < spent <= 50_000_000
    assert re.search(r"\d+ requests are left", str(stop.value))
    assert not (tmp_path / "first" / "pairs.parquet").exists()
    run(live_spec(), server_for(server.url, max_cost=5.0), tmp_path, "second")
    with read_ledger(tmp_path / "ledger.sqlite") as ledger:
        rows = list(ledger.rows())

    assert len(server.seen()) > before
    assert len(server.seen()) == len(rows) == len({row["key"] for row in rows}), "what was paid before the stop was paid again"


def test_enlarging_by_half_and_reweighting_send_exactly_the_new_draws(
    start_server: Any, helpers: Builders, tmp_path: Path
) -> None:
    import dataclasses

    server_for, live_spec = helpers
    server = start_server()
    small, large = live_spec(60), live_spec(90)
    other = dataclasses.replace(large, draws=dataclasses.replace(large.draws, languages={"English": 1.0, "German": 2.0}))
    sent = []
    for n, spec in enumerate((small, large, other, small)):
        before = len(server.seen())
        run(spec, server_for(server.url), tmp_path, str(n))
        sent.append(len(server.seen()) - before)
    answers = [
        {json.loads(line)["key"] for line in (tmp_path / str(n) / "answers.jsonl").read_text().splitlines()} for n in range(3)
    ]

    assert answers[0] < answers[1]
    assert sent == [len(answers[0]), len(answers[1] - answers[0]), len(answers[2] - answers[1] - answers[0]), 0]
    assert 0 < sent[2] < sent[0]


def test_models_are_mixed_by_ratio_and_stay_where_they_are(helpers: Builders) -> None:
    _, live_spec = helpers
    both = live_spec(400, models=(Model("good", 3.0), Model("better", 1.0)))
    more = live_spec(400, models=(Model("good", 2.0), Model("better", 2.0)))
    calls = [
        [each.backend.call(draw.example(("t",))).model for draw in each.draws.draws(each.templates)] for each in (both, more)
    ]

    assert Counter(calls[0])["better"] / 400 == pytest.approx(0.25, abs=0.065)
    assert all(after == "better" for before, after in zip(*calls, strict=True) if before == "better"), "only good ones move"


def test_reasoning_models_get_no_sampling(helpers: Builders) -> None:
    _, live_spec = helpers
    spec = live_spec(models=(Model("gpt-5-mini", 1.0),))
    draw = next(iter(spec.draws.draws(spec.templates)))
    body = spec.backend.call(draw.example(("t",))).body

    assert not {"temperature", "top_p", "max_tokens"} & set(body)
    assert body["max_completion_tokens"] == 400
    assert capability("openai/o3-mini").sampling is False
    assert capability("mistralai/Mistral-7B-Instruct-v0.3").limit == "max_tokens"
    with pytest.raises(ValueError, match="refuses temperature"):
        live_spec(models=(Model("o3", 1.0),), temperature=0.7)


CANARY = "sk-canary-0123456789abcdef"


@pytest.mark.parametrize(
    ("server_change", "faults", "message"),
    [
        ({"key_variable": "NO_SUCH_KEY"}, {}, "set the environment variable NO_SUCH_KEY"),
        ({"key_variable": "CANARY_KEY"}, {"key": 1.0}, "refuses the key; set CANARY_KEY"),
        ({}, {"unknown_model": 1.0}, "status 404"),
        ({}, {"quota": 1.0}, "no money left"),
        (
            {"base_url": "http://127.0.0.1:9/v1"},
            {},
            r"no server answers at http://127\.0\.0\.1:9/v1 .*runtime\.server\.base_url",
        ),
        ({"max_cost": 1.0, "prices": ()}, {}, "no price for 'good'"),
    ],
)
def test_wrong_setups_end_before_any_work(
    start_server: Any,
    helpers: Builders,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    server_change: dict[str, Any],
    faults: dict[str, float],
    message: str,
) -> None:
    server_for, live_spec = helpers
    monkeypatch.setenv("CANARY_KEY", CANARY)
    loopback = start_server(**faults)
    with pytest.raises((ServerError, ValueError), match=message):
        run(live_spec(), server_for(**({"url": loopback.url} | _url(server_change))), tmp_path)
    assert len(loopback.seen()) <= 1


def _url(change: dict[str, Any]) -> dict[str, Any]:
    return {("url" if name == "base_url" else name): value for name, value in change.items()}


def test_an_unknown_model_names_the_nearest(start_server: Any, helpers: Builders, tmp_path: Path) -> None:
    server_for, live_spec = helpers
    with pytest.raises(ServerError, match="no model 'godo'.*did you mean 'good'"):
        run(live_spec(models=(Model("godo", 1.0),)), server_for(start_server().url), tmp_path)
    with pytest.raises(ServerError, match="no server is set"):
        synthesize(live_spec(), tmp_path, silent, {}, tmp_path / "ledger.sqlite", None)


def test_the_key_is_in_no_file_even_if_the_server_echoes_it(
    start_server: Any, helpers: Builders, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server_for, live_spec = helpers
    monkeypatch.setenv("CANARY_KEY", CANARY)
    server = start_server("echo", echo500=0.4)
    run(live_spec(30), server_for(server.url, key_variable="CANARY_KEY"), tmp_path)
    with read_ledger(tmp_path / "ledger.sqlite") as ledger:
        errors = [row["error"] for row in ledger.rows() if row["error"]]

    assert errors, "the server echoed nothing"
    assert all("***" in error for error in errors)
    for path in tmp_path.rglob("*"):
        assert path.is_dir() or CANARY.encode() not in path.read_bytes(), path


def test_a_storm_of_failures_ends_the_run_and_nothing_is_lost(start_server: Any, helpers: Builders, tmp_path: Path) -> None:
    server_for, live_spec = helpers
    storm = start_server("storm", error500=1.0)
    with pytest.raises(ServerError, match=r"runtime\.server|failed|got no answer"):
        run(live_spec(), server_for(storm.url, attempts=2, concurrency=4), tmp_path)
    assert len(storm.seen()) < 60, "a dead server was hammered"
    calm = start_server("calm")
    run(live_spec(), server_for(calm.url), tmp_path, "after")


def test_a_stalled_reply_times_out_and_is_tried_again(start_server: Any, helpers: Builders, tmp_path: Path) -> None:
    server_for, live_spec = helpers
    server = start_server("stall", stall=0.3)
    start = time.monotonic()
    run(live_spec(12), server_for(server.url, timeout=0.5), tmp_path)

    assert Counter(row["fault"] for row in server.seen())["stall"] > 0
    assert time.monotonic() - start < 25
