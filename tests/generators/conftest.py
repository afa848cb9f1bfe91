"""A server that misbehaves, in a process of its own on the loopback, and a spec that asks it."""

import json
import select
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import pytest

from generators.backends.openai import Model, OpenAI
from generators.draws import Sample
from generators.filters import PaperFilters
from generators.prompts import TEMPLATES
from generators.synthesize import SynthesizeSpec
from harness.runtime import Price, Server

HERE = Path(__file__).parent
SCRIPT = HERE / "faulty_server.py"


@dataclass(frozen=True)
class Loopback:
    """A running faulty server."""

    url: str
    log: Path

    def seen(self) -> list[dict[str, object]]:
        """What it was asked, in order."""
        return [json.loads(line) for line in self.log.read_text().splitlines()]


StartServer = Callable[..., Loopback]


@pytest.fixture
def start_server(tmp_path: Path) -> Iterator[StartServer]:
    started: list[subprocess.Popen[str]] = []

    def start(name: str = "server", seed: int = 0, latency: float = 0.0, **faults: float) -> Loopback:
        log = tmp_path / f"{name}.log"
        words = [sys.executable, str(SCRIPT), str(log), str(seed), str(latency), *(f"{k}={v}" for k, v in faults.items())]
        process = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
        started.append(process)
        assert process.stdout is not None
        port = process.stdout.readline().strip()
        log.touch()
        return Loopback(f"http://127.0.0.1:{port}/v1", log)

    yield start
    for process in started:
        process.kill()
        process.wait()
        if process.stdout is not None:
            process.stdout.close()


def server_for(url: str, **changes: object) -> Server:
    """Access to a loopback server without limits, unless changed."""
    fields: dict[str, object] = {
        "base_url": url, "key_variable": "", "concurrency": 8, "requests_per_minute": None, "tokens_per_minute": None,
        "timeout": 5.0, "attempts": 12, "max_cost": None, "max_tokens": None,
        "prices": (Price("good", 2.0, 8.0, "2026-01-01"), Price("better", 20.0, 80.0, "2026-01-01")),
    }  # fmt: skip
    return Server(**(fields | changes))  # type: ignore[arg-type]


def live_spec(size: int = 60, **changes: object) -> SynthesizeSpec:
    """A live generator that samples the taxonomy in two languages."""
    fields: dict[str, object] = {
        "kind": "openai", "models": (Model("good", 1.0),), "temperature": 1.0, "top_p": 1.0, "max_tokens": 400,
        "output": "json_schema", "seed": 0,
    }  # fmt: skip
    draws = Sample("sample", size, 0, "figure2", {"English": 2.0, "German": 1.0}, "uniform", 2)
    templates = tuple(template.name for template in TEMPLATES if template.family == "plain")
    return SynthesizeSpec(OpenAI(**(fields | changes)), draws, templates, PaperFilters("paper"))  # type: ignore[arg-type]


@pytest.fixture
def helpers() -> tuple[Callable[..., Server], Callable[..., SynthesizeSpec]]:
    """The two builders above, for test files (which cannot import a conftest)."""
    return server_for, live_spec


@dataclass
class Nursery:
    """The process that forks runs; one at a time."""

    process: subprocess.Popen[bytes]

    def start(self, **order: Any) -> int:
        """Begin a run and return its process id."""
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(order).encode() + b"\n")
        return int(self._out.readline())

    def ended(self, wait: float | None) -> int | None:
        """The exit status, or None if the run is still at work after so many seconds."""
        ready, _, _ = select.select([self._out], [], [], wait)
        return int(self._out.readline()) if ready else None

    @property
    def _out(self) -> IO[bytes]:
        assert self.process.stdout is not None
        return self.process.stdout


@pytest.fixture
def nursery() -> Iterator[Nursery]:
    words = [sys.executable, str(HERE / "nursery.py"), str(HERE / "conftest.py")]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    # unbuffered: `select` must see what was not read yet
    with subprocess.Popen(words, bufsize=0, cwd=HERE.parents[1], **pipes) as process:
        yield Nursery(process)
        process.kill()
