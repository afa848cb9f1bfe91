"""Whether an answer becomes a pair: `paper` asks that it parses, `strict` also that it is what was asked for.

Every answer gets exactly one verdict, the first that applies, counted by reason. Exact duplicates are dropped under both.
Not here: parsing (`parse.py`), and what needs all pairs at once.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Literal

from annotated_types import Gt, Interval

from generators.detect import probability
from generators.languages import LETTERS_PER_WORD, count_words
from generators.prompts import Request, find_template
from generators.taxonomy import TAXONOMY, asked_words
from harness.kinds import BY_KIND

ACCEPTED = "accepted"


@dataclass(frozen=True)
class PaperFilters:
    """The paper's: outputs that do not parse are discarded, and exact duplicates. Nothing else."""

    kind: Literal["paper"]

    @property
    def near(self) -> None:
        """Near duplicates stay."""

    def reason(self, request: Request, output: Mapping[str, str]) -> str | None:  # noqa: ARG002  one shape for both
        """None: a well-formed answer is a good one."""
        return None


@dataclass(frozen=True)
class StrictFilters:
    """The paper's, and the content must be what the prompt asked for."""

    kind: Literal["strict"]
    shortest: Annotated[float, Gt(0)]
    """A text may be this many times shorter than asked ..."""
    longest: Annotated[float, Gt(1)]
    """... and this many times longer; models count words badly."""
    alike: Annotated[float, Interval(gt=0, le=1)]
    """From this share of common 5-letter sequences on, positive and negative are the same text."""
    near: Annotated[float, Interval(gt=0, le=1)] | None
    """From this share on, a pair is a near duplicate of an earlier one; null: only exact ones are dropped."""
    language: Annotated[float, Interval(ge=0, lt=1)] | None
    """A text whose asked language the detector finds less probable is rejected; null: not checked."""

    def reason(self, request: Request, output: Mapping[str, str]) -> str | None:
        """The first thing wrong with a parsed answer, or None."""
        texts = {key: normalised(text) for key, text in output.items()}
        written = [texts[key] for key in find_template(request.template).keys]
        if any(_LEAK.search(text) for text in written):
            return "leaked_placeholder"
        if any(_PREAMBLE.search(text) for text in written):
            return "preamble"
        return (
            _copied(request, texts, self.alike) or self._wrong_length(request, output) or self._wrong_language(request, output)
        )

    def _wrong_language(self, request: Request, output: Mapping[str, str]) -> str | None:
        row, query = TAXONOMY[request.task_type], str(request.params.get("src_lang", request.language))
        other = str(request.params.get("tgt_lang", request.language))
        for key in find_template(request.template).keys if self.language is not None else ():
            found = probability(output[key], query if key == row.query else other)
            if found is not None and found < (self.language or 0.0):
                return "wrong_language"
        return None

    def _wrong_length(self, request: Request, output: Mapping[str, str]) -> str | None:
        for key, name in _LENGTHS.get(request.task_type, {}).items():
            if name in request.params and key in output:
                least, most = asked_words(request.params[name])
                words = count_words(output[key], request.language)
                if words < least * self.shortest or (most is not None and words > most * self.longest):
                    return "wrong_length"
        return None


Filters = Annotated[PaperFilters | StrictFilters, BY_KIND]

_LENGTHS: Mapping[str, Mapping[str, str]] = {
    "short_long": {
        "user_query": "query_length", "positive_document": "num_words", "hard_negative_document": "num_words",
    },
    "long_short": {"input_text": "num_words"},
}  # fmt: skip
"""Which text has which asked length."""

# A slot of a template, one of our output keys, or a text called by its name in the prompt.
_LEAK = re.compile(
    r"\$[a-z_]{4,}|\{[a-z_]{4,}\}|<[a-z_ ]{4,}>"
    r"|\b(?:user_query|positive_document|hard_negative(?:_document)?|input_text|misleading_label|src_lang|tgt_lang)\b"
    r"|^\W*s[123]\W*:|\bhard negative document\b"
)
_PREAMBLE = re.compile(
    r"^(?:sure|certainly|of course|absolutely)[,!.]? (?:here|i )|^here(?:'s| is| are) (?:a|an|one|the|your) [^.]{0,80}:"
    r"|\bas an ai\b|\bi(?:'m| am) (?:just )?an ai\b|^```"
)
_REFUSAL = re.compile(
    r"\bi(?:'m| am) sorry\b|\bi (?:can(?:no|')t|am unable to|won't|will not) (?:\w+ ){0,3}"
    r"(?:assist|help|provide|comply|fulfil|generate|create|write|do that)"
)


def refuses(text: str) -> bool:
    """Whether a text without JSON reads as a refusal (English phrases; others count as not_json)."""
    return bool(_REFUSAL.search(normalised(text[:400])))


def normalised(text: str) -> str:
    """Case and spacing removed, as the paper compares texts."""
    return " ".join(text.casefold().split()).replace("\u2019", "'")


def likeness(left: str, right: str) -> float:
    """Share of common 5-letter sequences (Jaccard), in any script; 1.0 for equal texts."""
    if left == right:
        return 1.0
    a, b = _shingles(left), _shingles(right)
    return len(a & b) / len(a | b)


def _shingles(text: str) -> set[str]:
    return {text[i : i + 5] for i in range(max(1, len(text) - 4))}


def _copied(request: Request, texts: Mapping[str, str], alike: float) -> str | None:
    """Whether one text of the answer gives another away."""
    row = TAXONOMY[request.task_type]
    query, positive, negative = texts[row.query], texts[row.positive], texts.get(row.negative)
    if negative is not None and likeness(positive, negative) >= alike:
        return "positive_like_negative"
    if request.task_type == "long_short":
        return "leaked_answer" if _mentions(query, positive, request.language) else None
    if query in {positive, negative}:
        return "copied_query"
    if not row.symmetric and query in positive:
        return "query_in_document"
    return None


def _mentions(text: str, label: str, language: str) -> bool:
    """Whether the label stands in the text as a word (or anywhere, in scripts without spaces)."""
    if language in LETTERS_PER_WORD:
        return label in text
    return re.search(rf"(?<!\w){re.escape(label)}(?!\w)", text) is not None
