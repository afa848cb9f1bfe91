"""The six task types of the paper, as data: what is asked, what comes back, which placeholder takes which values.

Source: arXiv 2401.00368, section 3.1 and Tables 8 to 13; the `speed` weights are those of haon-chen/SPEED at 4a77990.
Not here: the words of the prompts (`prompts.py`) and the languages (`languages.py`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from harness.pairs import TASK_TYPES

Value = str | int | float
Weights = Literal["uniform", "speed"]


@dataclass(frozen=True)
class TaskType:
    """One row of the taxonomy."""

    name: str
    query: str
    """Output key that becomes the pair's query."""
    positive: str
    negative: str
    """Output key of the hard negative; empty where the model writes none (short-short and long-long)."""
    symmetric: bool
    """Symmetric types are not brainstormed; their instruction is fixed."""
    tasks_per_brainstorm: int
    """How many tasks one brainstorm prompt asks for; 0: not brainstormed."""
    instruction: str
    """The fixed instruction of a symmetric type; empty: the brainstormed task is the instruction."""
    share: float
    """Thousands of the paper's examples (Figure 2a)."""

    @property
    def keys(self) -> tuple[str, ...]:
        """The keys an answer must have, and no others."""
        return tuple(key for key in (self.query, self.positive, self.negative) if key)

    @property
    def brainstormed(self) -> bool:
        """Whether a first conversation invents the task."""
        return self.tasks_per_brainstorm > 0


_STS = "Retrieve semantically similar text"
_BITEXT = "Retrieve parallel sentences."

TAXONOMY: Mapping[str, TaskType] = {
    row.name: row
    for row in (
        TaskType("short_long", "user_query", "positive_document", "hard_negative_document", False, 20, "", 167.0),
        TaskType("long_short", "input_text", "label", "misleading_label", False, 20, "", 122.0),
        TaskType("short_short", "input", "positive_document", "", False, 20, "", 13.0),
        TaskType("long_long", "input", "positive_document", "", False, 20, "", 17.0),
        TaskType("sts", "S1", "S2", "S3", True, 0, _STS, 99.0),
        TaskType("bitext", "S1", "S2", "S3", True, 0, _BITEXT, 89.0),
    )
}
if tuple(TAXONOMY) != TASK_TYPES:
    raise ImportError(f"generators.taxonomy has {tuple(TAXONOMY)}, harness.pairs has {TASK_TYPES}")


@dataclass(frozen=True)
class Placeholder:
    """The values a slot of a template takes."""

    name: str
    values: tuple[Value, ...]
    speed: tuple[float, ...] = ()
    """SPEED's weights; empty: uniform."""
    speed_present: float = 1.0
    """How often SPEED keeps the line with this placeholder; the paper's templates always have it."""

    def weights(self, scheme: Weights) -> tuple[float, ...]:
        """One weight a value."""
        return self.speed if scheme == "speed" and self.speed else (1.0,) * len(self.values)

    def presence(self, scheme: Weights) -> float:
        """The probability that the line is kept."""
        return self.speed_present if scheme == "speed" else 1.0


_CLARITY = Placeholder("clarity", ("clear", "understandable with some effort", "ambiguous"), (0.6, 0.2, 0.2))
_EDUCATION = ("high school", "college", "PhD")
_SCHOOL = ("elementary school", "high school", "college")
_UNIT = Placeholder("unit", ("sentence", "phrase", "passage"), (0.9, 0.05, 0.05))
_HIGH = Placeholder("high_score", (4, 4.5, 5))

PLACEHOLDERS: Mapping[str, tuple[Placeholder, ...]] = {
    "short_long": (
        Placeholder("query_type", ("extremely long-tail", "long-tail", "common"), (0.4, 0.5, 0.1)),
        Placeholder("query_length", ("less than 5 words", "5 to 15 words", "at least 10 words"), (0.4, 0.4, 0.2)),
        _CLARITY,
        Placeholder("num_words", (50, 100, 200, 300, 400, 500)),
        Placeholder("difficulty", _EDUCATION, speed_present=0.5),
    ),
    "long_short": (
        Placeholder(
            "num_words",
            ("less than 10", "at least 10", "at least 50", "at least 100", "at least 200"),
            (0.1, 0.3, 0.2, 0.2, 0.2),
        ),
        _CLARITY,
        Placeholder("difficulty", _EDUCATION, speed_present=0.5),
    ),
    "short_short": (),
    "long_long": (),
    "sts": (
        _UNIT,
        _HIGH,
        Placeholder("low_score", (2.5, 3, 3.5)),
        Placeholder("difficulty", _SCHOOL, speed_present=0.5),
    ),
    "bitext": (_UNIT, _HIGH, Placeholder("low_score", (1.5, 2, 2.5)), Placeholder("difficulty", _SCHOOL)),
}
"""Table 10 (short-short) and Table 11 (long-long) leave nothing open but the language."""

WORDS: Mapping[Value, tuple[int, int | None]] = {
    "less than 5 words": (1, 4),
    "5 to 15 words": (5, 15),
    "at least 10 words": (10, None),
    "less than 10": (1, 9),
    "at least 10": (10, None),
    "at least 50": (50, None),
    "at least 100": (100, None),
    "at least 200": (200, None),
}
"""What an asked length means in words: least and most; a plain number n means (n, n) before any tolerance."""


def asked_words(value: Value) -> tuple[int, int | None]:
    """Least and most words a length placeholder asks for; raises KeyError for text that is no length."""
    return (int(value), int(value)) if isinstance(value, int | float) else WORDS[value]
