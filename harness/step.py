"""A step: one piece of work, identified by what it computes.

Fingerprint = name, hand-bumped version, its own narrow spec, the fingerprints of its inputs. Two arms that ask for the same
step get the same object on disk. The body is not part of the step: `sweeps/steps.py` maps names to bodies, so that a plan is
made, previewed and compared without importing what the work needs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import MISSING, dataclass, field, fields, is_dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

from harness.identity import canonical, canonical_json, fingerprint_of
from harness.runtime import Runtime

# Texts of specs by object: by value would confuse 1, 1.0 and True, which are equal and different specs.
_texts: dict[int, tuple[Any, str]] = {}


def _text(spec: Any) -> str:
    """The canonical form, of a dataclass put together from its fields': the tasks of a thousand runs share most of them."""
    if id(spec) not in _texts:
        if is_dataclass(spec) and not any(field.default is not MISSING for field in fields(spec)):
            parts = sorted((field.name, getattr(spec, field.name)) for field in fields(spec))
            text = ",".join(f'"{name}":{_text(value) if is_dataclass(value) else canonical(value)}' for name, value in parts)
            _texts[id(spec)] = (spec, f"{{{text}}}")
        else:
            _texts[id(spec)] = (spec, canonical(spec))
    return _texts[id(spec)][1]


@dataclass(frozen=True)
class Step:
    """One node of a run's graph."""

    name: str
    """First part of its path in the store: `synthesize`, `mix`, `finetune`, `evaluate` ..."""
    version: int
    """Bumped by hand when the same spec would give another result; a golden payload digest per step keeps it honest."""
    spec: Any
    """A frozen dataclass with all that decides the result, and nothing else."""
    inputs: Mapping[str, Step] = field(default_factory=dict)
    """Other steps by the role their payload plays here."""
    label: str = ""
    """What people call it (a task's name, for instance); not identity."""

    @cached_property
    def fingerprint(self) -> str:
        """20 hexadecimal digits; raises `NotCanonicalError` if the spec cannot be written down."""
        # The canonical form of the four, written by hand so that the text of a spec is made once, not once per step.
        inputs = canonical_json({role: step.fingerprint for role, step in self.inputs.items()})
        name, version = canonical_json(self.name), canonical_json(self.version)
        text = f'{{"inputs":{inputs},"name":{name},"spec":{_text(self.spec)},"version":{version}}}'
        return fingerprint_of(text)

    @property
    def key(self) -> str:
        """`name/fingerprint`: its path in the store and its name in messages."""
        return f"{self.name}/{self.fingerprint}"

    def closure(self) -> dict[str, Step]:
        """This step and all it needs, by key, inputs before those who read them."""
        found: dict[str, Step] = {}
        for step in self.inputs.values():
            found.update(step.closure())
        found[self.key] = self
        return found


class Report(Protocol):
    """How a body tells the world how far it is; cheap enough to call in every iteration."""

    def __call__(self, done: int, total: int, note: str = "") -> None:
        """`done` of `total` units of work, and a short text such as the current loss."""
        ...


def silent(done: int, total: int, note: str = "") -> None:
    """A Report that tells nobody."""


@dataclass(frozen=True)
class Work:
    """What a body is handed: where its inputs lie, where its payload goes, and how to run."""

    inputs: Mapping[str, Path]
    """Payload folders of the inputs by role; their digests have been verified."""
    out: Path
    """An empty folder; what lies in it when the body returns is the payload. It must be deterministic."""
    scratch: Path
    """A folder that this step's builders may make: it outlives a kill, and is removed when the step is done."""
    runtime: Runtime
    report: Report
    measured: dict[str, Any]
    """Free numbers and texts for measured.json: counts, rates, probes. Never compared."""


Body = Callable[[Any, Work], None]
"""The work of a step: (spec, work) -> None. Raises to fail; whatever it wrote is then discarded."""
