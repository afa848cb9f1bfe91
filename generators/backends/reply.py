"""What a backend is opened with, and what comes back for a request, whoever answered it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

from generators.prompts import Request
from harness.runtime import Server
from harness.step import Report

Finish = Literal["stop", "length", "content_filter", "refusal", "not_recorded", "failed"]
"""`length`: cut off by the token limit; `not_recorded`: asked of a recording that does not hold it; `failed`: the server
will never answer this request."""


@dataclass(frozen=True)
class Access:
    """How a backend may be reached; decides no answer."""

    ledger: Path
    server: Server | None
    report: Report


@dataclass(frozen=True)
class Reply:
    """The raw text and why it ended."""

    text: str
    finish: Finish


class Answerer(Protocol):
    """An opened backend."""

    def ask(self, requests: Sequence[Request]) -> Iterator[Reply]:
        """One reply for each request, in the order of the requests; that order changes no reply."""
        ...

    def judged(self, verdicts: Iterable[tuple[Request, str]]) -> None:
        """Hear what became of the answers."""
        ...

    def notes(self) -> dict[str, Any]:
        """Numbers about the answering that decide nothing."""
        ...
