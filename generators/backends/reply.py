"""What comes back for a request, whoever answered it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from generators.prompts import Request

Finish = Literal["stop", "length", "content_filter", "refusal", "not_recorded", "failed"]
"""`length`: cut off by the token limit; `not_recorded`: asked of a recording that does not hold it; `failed`: no answer."""


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
