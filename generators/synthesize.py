"""The step `synthesize`: two conversations for every draw, and a verdict for every answer.

Brainstorm, parse, example, parse, filter, count; the same path whoever answers. The payload is `pairs.parquet` (accepted),
`answers.jsonl` (every raw answer with its verdict, hostile text: escape it when shown) and `counts.json`.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from generators.backends import Backend
from generators.backends.recorded import Recorded, Recording
from generators.backends.reply import Access, Answerer, Reply
from generators.draws import Draw, Draws, Grounded, Replay
from generators.duplicates import Seen
from generators.filters import ACCEPTED, Filters, refuses
from generators.parse import parse_example, parse_tasks
from generators.prompts import Request, find_template
from generators.taxonomy import TAXONOMY
from harness.pairs import Pair, write_pairs
from harness.record import write_json
from harness.runtime import Server
from harness.step import Report, silent

PAIRS, ANSWERS, COUNTS = "pairs.parquet", "answers.jsonl", "counts.json"


class NothingAcceptedError(RuntimeError):
    """No answer became a pair; says what became of them."""


@dataclass(frozen=True)
class SynthesizeSpec:
    """Who is asked what, in which words, and what is kept."""

    backend: Backend
    draws: Draws
    templates: tuple[str, ...]
    """Names with versions, one or more a task type; see `generators.prompts.TEMPLATES`."""
    filters: Filters

    def __post_init__(self) -> None:
        """Templates must exist, and replaying needs something recorded."""
        for name in self.templates:
            find_template(name)
        if isinstance(self.draws, Replay) and self.backend.kind != "recorded":
            raise ValueError(
                f"generator.draws: replay asks what a recording holds, and the backend is {self.backend.kind!r}; "
                "use draws kind: sample"
            )


@dataclass(frozen=True)
class Judged:
    """One answer, its verdict, and what it gave: a pair, or nothing."""

    request: Request
    reply: Reply
    verdict: str
    pair: Pair | None


def synthesize(
    spec: SynthesizeSpec,
    out: Path,
    report: Report,
    measured: dict[str, Any],
    ledger: Path,
    server: Server | None = None,
    sources: Path | None = None,
) -> None:
    """Write the payload into `out`; raises NothingAcceptedError if nothing was.

    `ledger` and `server` are a live backend's; `sources` is the folder with the documents of grounded draws.
    """
    answerer = spec.backend.open(Access(ledger, server, report))
    draws = list(_draws(spec, answerer, sources))
    total = len(draws) + len({request.key for draw in draws if (request := draw.brainstorm())})
    counts, kept, verdicts = Counts(), [], []
    with (out / ANSWERS).open("w", encoding="utf-8") as answers:
        for done, judged in enumerate(converse(draws, answerer, spec.filters), start=1):
            answers.write(_line(judged))
            counts.add(judged)
            verdicts.append((judged.request, judged.verdict))
            if judged.pair is not None:
                kept.append(judged.pair)
            report(done, total, counts.summary())
    answerer.judged(verdicts)
    if not kept:
        raise NothingAcceptedError(f"generator: none of {len(draws)} draws gave a pair; verdicts: {dict(counts.verdicts)}")
    write_pairs(out / PAIRS, kept)
    write_json(out / COUNTS, counts.as_json())
    measured.update(draws=len(draws), accepted=len(kept), verdicts=dict(counts.verdicts), **answerer.notes())


def draws_of(spec: SynthesizeSpec, sources: Path | None) -> list[Draw]:
    """What a step will ask, without asking: a recording is opened, a server is not."""
    recording = spec.backend.open(Access(Path(), None, silent)) if isinstance(spec.backend, Recorded) else None
    return list(_draws(spec, recording, sources))


def _draws(spec: SynthesizeSpec, answerer: Answerer | None, sources: Path | None) -> Iterator[Draw]:
    if isinstance(spec.draws, Replay):
        assert isinstance(answerer, Recording)  # noqa: S101  SynthesizeSpec.__post_init__ has checked it
        return spec.draws.draws(answerer, spec.templates)
    if isinstance(spec.draws, Grounded):
        return spec.draws.draws(spec.templates, sources)
    return spec.draws.draws(spec.templates)


def converse(draws: Sequence[Draw], answerer: Answerer, filters: Filters) -> Iterator[Judged]:
    """First every brainstorm, then every example, each in the order of the draws, judged."""
    brainstorms = {request.key: request for draw in draws if (request := draw.brainstorm())}
    tasks: dict[str, tuple[str, ...]] = {}
    for (key, request), reply in zip(brainstorms.items(), answerer.ask(list(brainstorms.values())), strict=True):
        judged, tasks[key] = judge_tasks(request, reply)
        yield judged
    requests = [request for draw in draws if (request := _example(draw, tasks)) is not None]
    seen = Seen(filters.near)
    for request, reply in zip(requests, answerer.ask(requests), strict=True):
        yield judge_example(request, reply, filters, seen)


def _example(draw: Draw, tasks: Mapping[str, tuple[str, ...]]) -> Request | None:
    """The second request of a draw; None if its brainstorm failed (which is counted where it failed)."""
    brainstorm = draw.brainstorm()
    if brainstorm is None:
        return draw.example(())
    found = tasks[brainstorm.key]
    return draw.example(found) if found else None


def judge_tasks(request: Request, reply: Reply) -> tuple[Judged, tuple[str, ...]]:
    """The verdict on a brainstorm, and the tasks it gave."""
    parsed = parse_tasks(reply.text) if reply.finish == "stop" else ()
    if isinstance(parsed, str):
        return Judged(request, reply, _unparsed(parsed, reply), None), ()
    return Judged(request, reply, ACCEPTED if parsed else _FINISH[reply.finish], None), parsed


def judge_example(request: Request, reply: Reply, filters: Filters, seen: Seen) -> Judged:
    """The verdict on an example: why it ended, then whether it parses, then what it says. `seen` is extended."""
    if reply.finish != "stop":
        return Judged(request, reply, _FINISH[reply.finish], None)
    row, template = TAXONOMY[request.task_type], find_template(request.template)
    parsed = parse_example(reply.text, template.keys)
    if isinstance(parsed, str):
        return Judged(request, reply, _unparsed(parsed, reply), None)
    output = parsed | {key: str(request.params[name]) for key, name in template.given.items()}
    reason = filters.reason(request, output)
    if reason is not None:
        return Judged(request, reply, reason, None)
    repeated = seen.add(output[row.query], output[row.positive])
    if repeated is not None:
        return Judged(request, reply, repeated, None)
    return Judged(request, reply, ACCEPTED, _pair(request, output))


_FINISH = {
    "length": "truncated", "content_filter": "content_filter", "refusal": "refusal", "not_recorded": "not_recorded",
    "failed": "failed",
}  # fmt: skip


def _unparsed(reason: str, reply: Reply) -> str:
    return "refusal" if reason == "not_json" and refuses(reply.text) else reason


def _pair(request: Request, output: Mapping[str, str]) -> Pair:
    row = TAXONOMY[request.task_type]
    return Pair(
        task_type=request.task_type,
        language=str(request.params.get("src_lang", request.language)),
        positive_language=str(request.params.get("tgt_lang", request.language)),
        source="synthetic",
        instruction=row.instruction or request.task,
        query=output[row.query],
        positive=output[row.positive],
        negatives=(output[row.negative],) if row.negative in output else (),
    )


def _line(judged: Judged) -> str:
    request = judged.request
    row = {
        "key": request.key, "stage": request.stage, "task_type": request.task_type, "language": request.language,
        "template": request.template, "task": request.task, "params": dict(request.params), "index": request.index,
        "verdict": judged.verdict, "finish": judged.reply.finish, "answer": judged.reply.text,
    }  # fmt: skip
    return json.dumps(row, ensure_ascii=True, sort_keys=True) + "\n"


class Counts:
    """Answers by stage and verdict, examples also by task type and language."""

    def __init__(self) -> None:
        self.verdicts: Counter[str] = Counter()
        self._brainstorms: Counter[str] = Counter()
        self._cells: dict[str, dict[str, Counter[str]]] = {}

    def add(self, judged: Judged) -> None:
        """Count one answer."""
        request = judged.request
        if request.stage == "brainstorm":
            self._brainstorms[judged.verdict] += 1
            return
        self.verdicts[judged.verdict] += 1
        cell = self._cells.setdefault(request.task_type, {}).setdefault(request.language, Counter())
        cell[judged.verdict] += 1

    def summary(self) -> str:
        """Accepted and rejected by reason, for a progress line."""
        return ", ".join(f"{n} {verdict}" for verdict, n in self.verdicts.most_common())

    def as_json(self) -> dict[str, Any]:
        """What `counts.json` holds; languages of bitext are those of the translation."""
        accepted = self.verdicts[ACCEPTED]
        return {
            "accepted": accepted,
            "rejected": {reason: n for reason, n in self.verdicts.items() if reason != ACCEPTED},
            "brainstorms": dict(self._brainstorms),
            "examples": {kind: {name: dict(n) for name, n in cells.items()} for kind, cells in self._cells.items()},
        }
