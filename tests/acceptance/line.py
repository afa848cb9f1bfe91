"""One line of "It shows": a claim about the product and the command that shows it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Line:
    """One line of an issue's "It shows"."""

    issue: int
    number: int
    claim: str
    command: tuple[str, ...]

    @property
    def name(self) -> str:
        """`issue.number`, as people ask for it."""
        return f"{self.issue}.{self.number}"


def pytest(*arguments: str) -> tuple[str, ...]:
    """A pytest command that lists what it skips."""
    return ("python", "-m", "pytest", "-q", "-rs", "-p", "no:cacheprovider", *arguments)
