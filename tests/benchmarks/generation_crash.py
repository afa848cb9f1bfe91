"""A corpus with a kill -9 in the middle: ours against a naive asyncio.gather with the same official client.

    python tests/benchmarks/generation_crash.py [REQUESTS]

Both ask the same server (50 ms latency, 32 at a time) for the same requests, are killed when half of them were answered, and
are started again. Prints one JSON line last: requests sent and seconds from the first start to the end; ratio of requests.
"""

import asyncio
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from generators.backends.openai import Live
from generators.backends.reply import Access
from harness.step import silent
from tests.benchmarks.bench_generation import conftest, naive, requests, server

ATONCE = 32


def ours(url: str, folder: Path, count: int) -> None:
    """Everything goes through the ledger."""
    built = conftest()
    spec = built.live_spec(count, output="text")
    live = Live(spec.backend, Access(folder / "ledger.sqlite", built.server_for(url, concurrency=ATONCE), silent))
    assert sum(1 for _ in live.ask(requests(spec, count))) == count


def peer(url: str, folder: Path, count: int) -> None:
    """What one would write in a minute; answers are kept when all are there."""
    spec = conftest().live_spec(count, output="text")
    asyncio.run(naive(url, [spec.backend.call(request).body for request in requests(spec, count)]))


def crashed(kind: str, count: int) -> dict[str, Any]:
    """Start, kill half-way, start again."""
    with tempfile.TemporaryDirectory() as name, server(Path(name), 0.05) as (url, log):
        words = [sys.executable, __file__, kind, url, name, str(count)]
        begin = time.perf_counter()
        with subprocess.Popen(words) as first:
            while _lines(log) < count // 2:
                assert first.poll() is None, "it was over before it could be killed"
                time.sleep(0.005)
            os.kill(first.pid, signal.SIGKILL)
        subprocess.run(words, check=True)
        return {"requests": _lines(log), "seconds": round(time.perf_counter() - begin, 2)}


def _lines(log: Path) -> int:
    return log.read_bytes().count(b"\n") if log.exists() else 0


def main(arguments: Sequence[str]) -> None:
    """One side of it (KIND URL FOLDER REQUESTS), or both."""
    if arguments and arguments[0] in {"ours", "peer"}:
        kind, url, folder, count = arguments
        {"ours": ours, "peer": peer}[kind](url, Path(folder), int(count))
        return
    total = int(arguments[0]) if arguments else 2000
    found = {kind: crashed(kind, total) for kind in ("ours", "peer")}
    wasted = {kind: row["requests"] - total for kind, row in found.items()}
    ratio = found["ours"]["requests"] / found["peer"]["requests"]
    print(json.dumps({"name": f"{total} requests with a kill -9", **found, "wasted": wasted, "ratio": round(ratio, 3)}))


if __name__ == "__main__":
    main(sys.argv[1:])
