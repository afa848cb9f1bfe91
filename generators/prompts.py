"""The templates of the two conversations, and the request that carries one of them.

Every template has an id and a version, `plain/short_long@1`; a spec names both, so that a reworded prompt is another
identity. A guideline line whose placeholder has no value is left out (SPEED drops the difficulty line half the time).
Golden tests hold every rendered text. Not here: the words (`wordings.py`), and which requests are asked (`draws.py`).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from string import Template as Slots
from typing import Literal

from generators.taxonomy import TAXONOMY, Value
from generators.wordings import BRAINSTORMS, EXAMPLES, GROUNDED, SAME_INTENT, VARIED_SYSTEM
from harness.config import nearest
from harness.identity import fingerprint

Stage = Literal["brainstorm", "example"]
Message = Mapping[str, str]

GIVEN = ("passage", "given_query")
"""Placeholders whose values are texts of a corpus, not of the taxonomy."""

_SLOT = re.compile(r"\$([a-z_]+)")


@dataclass(frozen=True)
class Template:
    """Both conversations of one task type in one wording."""

    family: str
    task_type: str
    version: int
    system: str
    """The role given to the model; empty: no system message."""
    brainstorm: str
    """Empty for symmetric types."""
    example: str
    given: Mapping[str, str] = field(default_factory=dict)
    """Output keys that are not asked for because a placeholder holds their text."""

    @property
    def keys(self) -> tuple[str, ...]:
        """The keys an answer must have, and no others."""
        asked = (key for key in TAXONOMY[self.task_type].keys if f'"{key}"' in self.example)
        return tuple(key for key in asked if key not in self.given)

    @property
    def name(self) -> str:
        """How specs name it, `plain/short_long@1`."""
        return f"{self.family}/{self.task_type}@{self.version}"

    @property
    def slots(self) -> frozenset[str]:
        """The placeholders of the example prompt."""
        return frozenset(_SLOT.findall(self.example))

    @property
    def needs(self) -> tuple[str, ...]:
        """Slots of the example prompt that are given texts, as in the grounded family."""
        return tuple(name for name in GIVEN if name in self.slots)

    def render(self, stage: Stage, values: Mapping[str, Value]) -> tuple[Message, ...]:
        """The chat messages; raises KeyError for a slot outside the bullet lines that has no value."""
        lines = (self.brainstorm if stage == "brainstorm" else self.example).strip().splitlines()
        kept = [line for line in lines if not line.startswith("- ") or set(_SLOT.findall(line)) <= set(values)]
        text = Slots("\n".join(kept)).substitute(values)
        system = ({"role": "system", "content": self.system},) if self.system else ()
        return (*system, {"role": "user", "content": text})


@dataclass(frozen=True)
class Request:
    """One conversation with a language model, whichever model answers it."""

    stage: Stage
    task_type: str
    language: str
    """Of the texts; for bitext of the translation, the source stands in params."""
    template: str
    task: str
    """The brainstormed task, hostile text like any answer; empty in the first conversation."""
    params: Mapping[str, Value]
    index: int
    """Tells apart requests that are otherwise equal: the chunk of a brainstorm, the repeat of an example."""

    @cached_property
    def messages(self) -> tuple[Message, ...]:
        """What is sent."""
        kind = TAXONOMY[self.task_type]
        values: dict[str, Value] = {**self.params, "language": self.language, "task": self.task}
        if self.stage == "brainstorm":
            values |= {"num_tasks": kind.tasks_per_brainstorm, "batch": self.index + 1}
        return find_template(self.template).render(self.stage, values)

    @cached_property
    def key(self) -> str:
        """Fingerprint of the request and of the rendered text; not of the model that answers."""
        return fingerprint({"request": self, "messages": self.messages})


_PASSAGE = {"positive_document": "passage"}

TEMPLATES: tuple[Template, ...] = (
    *(Template("plain", name, 1, "", BRAINSTORMS.get(name, ""), text) for name, text in EXAMPLES.items()),
    *(Template("role", name, 1, VARIED_SYSTEM, BRAINSTORMS.get(name, ""), text) for name, text in EXAMPLES.items()),
    Template("grounded", "short_long", 1, "", "", GROUNDED, _PASSAGE),
    Template("same_intent", "short_long", 1, "", "", SAME_INTENT, _PASSAGE),
)
"""`plain`: the paper's way. `role`: the same with a system message, as SPEED has one. `grounded` and `same_intent`: the
document is given and only the query is written, in any language."""


def find_template(name: str) -> Template:
    """The template a spec names; raises ValueError naming the nearest known one."""
    for template in TEMPLATES:
        if template.name == name:
            return template
    raise ValueError(f"template {name!r} is not known{nearest(name, (template.name for template in TEMPLATES))}")
