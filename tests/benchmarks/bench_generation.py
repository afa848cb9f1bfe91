"""Speed of generation: `python tests/benchmarks/bench_generation.py filters|client|pace|resume`.

Each prints one JSON line last: name, ours, peer, ratio. Peers: the goal of 5,000 pairs/s a core; a naive asyncio.gather
over the same official client; the server's own limit; 5 s for half a million rows.
"""

import asyncio
import gc
import importlib.util
import json
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

from generators.backends.openai import Live
from generators.backends.recorded import FOLDER
from generators.backends.reply import Access, Reply
from generators.duplicates import Seen
from generators.filters import StrictFilters
from generators.ledger import Ended, Sent, open_ledger, read_ledger
from generators.prompts import Request
from generators.synthesize import SynthesizeSpec, judge_example
from harness.step import silent

TESTS = Path(__file__).parents[1] / "generators"


def conftest() -> ModuleType:
    """The builders of the tests."""
    spec = importlib.util.spec_from_file_location("builders", TESTS / "conftest.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@contextmanager
def server(folder: Path, latency: float) -> Iterator[tuple[str, Path]]:
    """The faulty server without faults; its address and log."""
    log = folder / "server.log"
    words = [sys.executable, str(TESTS / "faulty_server.py"), str(log), "0", str(latency)]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield f"http://127.0.0.1:{process.stdout.readline().strip()}/v1", log
        finally:
            process.kill()


def requests(spec: SynthesizeSpec, count: int) -> list[Request]:
    """Distinct examples of the pool."""
    draws = replace(spec.draws, size=count).draws(spec.templates)  # type: ignore[call-arg, union-attr]
    return [draw.example((f"task {n}",)) for n, draw in enumerate(draws)]


def filters() -> dict[str, Any]:
    """Parse, validate and dedupe on one core; the texts are words of the recorded corpus, shuffled."""
    rng = random.Random(0)
    lines = (FOLDER / "seed_corpus.jsonl").read_text(encoding="utf-8").splitlines()
    english = (json.loads(line)["output"] for line in lines if json.loads(line)["language"] == "English")
    words = sorted({word for output in english for text in output.values() for word in text.split()})
    request = Request("example", "short_long", "English", "plain/short_long@1", "A task", {"num_words": 50}, 0)

    def text(n: int) -> str:
        return " ".join(rng.choice(words) for _ in range(n))

    replies = [
        Reply(json.dumps({"user_query": text(8), "positive_document": text(50), "hard_negative_document": text(50)}), "stop")
        for _ in range(10_000)
    ]
    rates = {}
    for kind, spec in {
        "strict": StrictFilters("strict", 0.5, 2.0, 0.8, None, None),
        "with near duplicates": StrictFilters("strict", 0.5, 2.0, 0.8, 0.8, None),
        "with language": StrictFilters("strict", 0.5, 2.0, 0.8, 0.8, 1e-300),
    }.items():
        seen = Seen(spec.near)
        judge_example(request, replies[0], spec, Seen(None))  # loads what is loaded once
        start = time.process_time()
        for reply in replies:
            judge_example(request, reply, spec, seen)
        rates[kind] = round(len(replies) / (time.process_time() - start))
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    name, ratio = (
        "parse, validate, dedupe (pairs/s a core)",
        rates["with near duplicates"] / 5000,
    )  # language is beside the goal
    return {"name": name, "ours": rates, "peer": 5000, "ratio": ratio, "peak_mb": memory}


def client(count: int = 1500) -> dict[str, Any]:
    """CPU seconds a request, ledger, budget and pace included, against a bare gather over the same client."""
    built = conftest()
    with tempfile.TemporaryDirectory() as name, server(Path(name), 0.05) as (url, log):
        spec = built.live_spec(count, output="text")
        asked = requests(spec, 2 * count + 20)
        ours: list[float] = []
        peer: list[float] = []
        for n in range(2):  # the first round warms imports up
            size = 10 if n == 0 else count
            batch = asked[:size] if n == 0 else asked[20 : 20 + size]
            live = Live(spec.backend, Access(Path(name) / f"l{n}.sqlite", built.server_for(url, concurrency=32), silent))
            start = time.process_time()
            assert sum(1 for _ in live.ask(batch)) == size
            ours.append((time.process_time() - start) / size)
            gc.collect()
            start = time.process_time()
            asyncio.run(naive(url, [spec.backend.call(request).body for request in asked[20 + count :][:size]]))
            peer.append((time.process_time() - start) / size)
        assert len(log.read_text().splitlines()) == 2 * (count + 10)
    return {"name": "client CPU ms a request", "ours": 1000 * ours[1], "peer": 1000 * peer[1], "ratio": ours[1] / peer[1]}


async def naive(url: str, bodies: list[Any]) -> None:
    """What one would write in a minute: a semaphore and asyncio.gather."""
    from openai import AsyncOpenAI

    gate = asyncio.Semaphore(32)
    async with AsyncOpenAI(base_url=url, api_key="none") as bare:

        async def one(body: Any) -> str:
            async with gate:
                return (await bare.chat.completions.create(**body)).choices[0].message.content or ""

        await asyncio.gather(*(one(body) for body in bodies))


def pace(limit: int = 3000, seconds: float = 75.0) -> dict[str, Any]:
    """Requests in the fullest and in a typical minute as the server saw them; 200 ms latency."""
    built = conftest()
    with tempfile.TemporaryDirectory() as name, server(Path(name), 0.2) as (url, log):
        spec = built.live_spec(1, output="text")
        access = Access(Path(name) / "l.sqlite", built.server_for(url, concurrency=64, requests_per_minute=limit), silent)
        batch = requests(spec, round(limit * seconds / 60))
        assert sum(1 for _ in Live(spec.backend, access).ask(batch)) == len(batch)
        times = [json.loads(line)["time"] for line in log.read_text().splitlines()]
    fullest = max(sum(start <= t < start + 60 for t in times) for start in times[:: len(times) // 200])
    first = sum(times[0] + 5 <= t < times[0] + 65 for t in times)
    return {"name": "requests in a minute", "ours": first, "fullest": fullest, "peer": limit, "ratio": first / limit}


def resume(rows: int = 500_000) -> dict[str, Any]:
    """Opening a ledger of half a million answers and finding what is missing."""
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "l.sqlite"
        with open_ledger(path) as ledger:
            for begin in range(0, rows, 10_000):
                keys = [f"{n:020x}" for n in range(begin, begin + 10_000)]
                ledger.apply(Sent(key, 1, "m", "{}" * 200, 10, 10, 0.0) for key in keys)
                ledger.apply(
                    Ended(key, 1, "answered", 5, 5, 2, 3, "stop", "text " * 100, "{}" * 200, "m", None, 0.1) for key in keys
                )
        start = time.perf_counter()
        with open_ledger(path) as ledger:
            ledger.recover()
            held, _, spent = ledger.answered(), ledger.attempts(), ledger.spent()
            missing = [key for n in range(rows + 1000) if (key := f"{n:020x}") not in held]
        took = time.perf_counter() - start
        assert len(missing) == 1000
        assert spent.cost == 5 * rows
        with read_ledger(path) as ledger:
            assert next(ledger.replies([f"{7:020x}"]))[1] == "stop"
    return {"name": "resume over 500,000 rows (s)", "ours": took, "peer": 5.0, "ratio": took / 5.0}


if __name__ == "__main__":
    print(json.dumps({"filters": filters, "client": client, "pace": pace, "resume": resume}[sys.argv[1]]()))
