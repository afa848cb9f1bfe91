"""Any server that speaks OpenAI's chat completions: what is asked of which model, and what its reply means.

The spec is what decides an answer: models and their ratio, sampling, length, output format. Address, key, rates and budget
are `harness.runtime.Server`. Not here: sending (`sending.py`) and bookkeeping (`generators/ledger.py`).
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, Any, Literal

from annotated_types import Ge, Gt, Interval

from generators.backends.reply import Access, Finish, Reply
from generators.budget import most_prompt_tokens
from generators.draws import uniform
from generators.ledger import NANO, open_ledger
from generators.prompts import Request, find_template
from harness.identity import canonical, fingerprint


@dataclass(frozen=True)
class Model:
    """A model and how many of the requests it gets."""

    name: str
    share: Annotated[float, Gt(0)]


@dataclass(frozen=True)
class Capability:
    """What models whose name begins so accept."""

    prefix: str
    sampling: bool
    """Whether `temperature` and `top_p` may be sent; reasoning models refuse them, and sample at 1.0 and 1.0."""
    limit: str
    """The name of the completion limit."""


CAPABILITIES = (
    Capability("gpt-5", sampling=False, limit="max_completion_tokens"),
    Capability("o1", sampling=False, limit="max_completion_tokens"),
    Capability("o3", sampling=False, limit="max_completion_tokens"),
    Capability("o4", sampling=False, limit="max_completion_tokens"),
    Capability("gpt-4", sampling=True, limit="max_completion_tokens"),
    Capability("", sampling=True, limit="max_tokens"),  # every other server knows the older name
)
"""The first row whose prefix fits decides."""


def capability(model: str) -> Capability:
    """The row of a model; a provider's path before the name (`openai/o3`) does not count."""
    name = model.rsplit("/", 1)[-1]
    return next(row for row in CAPABILITIES if name.startswith(row.prefix))


@dataclass(frozen=True)
class OpenAI:
    """Chat completions of one model, or of several by ratio."""

    kind: Literal["openai"]
    models: tuple[Model, ...]
    temperature: Annotated[float, Ge(0)]
    top_p: Annotated[float, Interval(gt=0, le=1)]
    max_tokens: Annotated[int, Ge(1)]
    """Of one completion; reasoning included."""
    output: Literal["json_schema", "text"]
    """`json_schema`: ask the server to enforce the keys; servers that ignore it are noticed and counted."""
    seed: int
    """Which request goes to which model."""

    def __post_init__(self) -> None:
        """Distinct models that take the sampling asked for."""
        names = [model.name for model in self.models]
        if not names or len(set(names)) < len(names):
            raise ValueError(f"generator.backend.models: needs distinct names, got {names}")
        for name in names:
            if not capability(name).sampling and (self.temperature, self.top_p) != (1.0, 1.0):
                raise ValueError(f"generator.backend: {name} refuses temperature and top_p; write 1.0 and 1.0, its own values")

    def call(self, request: Request) -> Call:
        """The body for one request, to the model that its key chooses."""
        model = self._choose(request)
        rules = capability(model)
        body: dict[str, Any] = {"model": model, "messages": list(request.messages), rules.limit: self.max_tokens}
        if rules.sampling:
            body |= {"temperature": self.temperature, "top_p": self.top_p}
        if self.output == "json_schema":
            body["response_format"] = response_format(request)
        return Call(request.key, model, body, self.max_tokens)

    def _choose(self, request: Request) -> str:
        place = canonical([self.seed, request.key])
        times = [-math.log(uniform(place, model.name)) / model.share for model in self.models]
        return self.models[times.index(min(times))].name

    def open(self, access: Access) -> Live:
        """Nothing is read or sent before somebody asks."""
        return Live(self, access)


@dataclass(frozen=True)
class Call:
    """A request addressed to a model."""

    request_key: str
    model: str
    body: Mapping[str, Any]
    max_completion: int

    @cached_property
    def key(self) -> str:
        """Under which the ledger keeps the answer: what is asked of whom."""
        return fingerprint({"request": self.request_key, "body": self.body})

    @property
    def max_prompt(self) -> int:
        """An upper bound of its prompt tokens; a schema may be put into the prompt."""
        return most_prompt_tokens(self.body["messages"], len(json.dumps(self.body.get("response_format", ""))))


@dataclass
class Live:
    """An opened backend: what the ledger holds is read, what it lacks is bought first."""

    spec: OpenAI
    access: Access
    answers: int = 0
    bare: int = 0
    """Answers that are a JSON object and nothing else, as a server gives that honours the schema."""

    def ask(self, requests: Sequence[Request]) -> Iterator[Reply]:
        """One reply for each request, in order.

        Raises BudgetError, ServerError or, for an unknown price, ValueError before the first reply; what was bought until
        then stays in the ledger.
        """
        from generators.backends.sending import send_missing

        calls = [self.spec.call(request) for request in requests]
        with open_ledger(self.access.ledger) as ledger:
            ledger.recover()
            send_missing(calls, ledger, self.access)
            for text, finish in ledger.replies([call.key for call in calls]):
                self.answers += finish == "stop"
                self.bare += finish == "stop" and text.startswith("{") and text.rstrip().endswith("}")
                yield Reply(text, _finish(finish))

    def judged(self, verdicts: Iterable[tuple[Request, str]]) -> None:
        """Note the verdicts beside the answers."""
        with open_ledger(self.access.ledger) as ledger:
            ledger.judge((verdict, self.spec.call(request).key) for request, verdict in verdicts)

    def notes(self) -> dict[str, Any]:
        """What was spent in all, and how many answers show that the server ignores the schema (it may not say so)."""
        with open_ledger(self.access.ledger) as ledger:
            spent = ledger.spent()
        ignored = self.answers - self.bare if self.spec.output == "json_schema" else 0
        return {"ledger_tokens": spent.tokens, "ledger_cost": spent.cost / NANO, "schema_ignored": ignored}


def response_format(request: Request) -> dict[str, Any]:
    """The JSON schema of the answer; a list of tasks is wrapped, because schemas start with an object."""
    text = {"type": "string"}
    keys: dict[str, Any] = dict.fromkeys(find_template(request.template).keys, text)
    if request.stage == "brainstorm":
        keys = {"tasks": {"type": "array", "items": text}}
    schema = {"type": "object", "properties": keys, "required": list(keys), "additionalProperties": False}
    return {"type": "json_schema", "json_schema": {"name": request.stage, "strict": True, "schema": schema}}


@dataclass(frozen=True)
class Completion:
    """A well-formed reply of a server."""

    text: str
    finish: Finish
    model: str
    prompt_tokens: int | None
    completion_tokens: int | None


def read_completion(content: bytes) -> Completion | str:
    """A chat completion out of a body, or what is wrong with it; never raises."""
    try:
        body = json.loads(content)
        choice = body["choices"][0]
        message, reason = choice["message"], choice.get("finish_reason")
        text, refusal = message.get("content"), message.get("refusal")
        usage = body.get("usage") or {}
        counts = [usage.get("prompt_tokens"), usage.get("completion_tokens")]
    except (ValueError, RecursionError):
        return "the body is not JSON"
    except (KeyError, IndexError, TypeError, AttributeError) as error:
        return f"the body is no chat completion ({type(error).__name__}: {error})"
    if text is not None and not isinstance(text, str):
        return "the message's content is no text"
    tokens = [n if type(n) is int and n >= 0 else None for n in counts]
    finish: Finish = "refusal" if isinstance(refusal, str) and refusal else _finish(reason)
    shown = (text or (refusal if isinstance(refusal, str) else "") or "").encode("utf-8", "replace").decode()
    return Completion(shown, finish, str(body.get("model", "")), tokens[0], tokens[1])


def _finish(reason: object) -> Finish:
    """A server's reason in our words; anything unusual counts as a normal end and is judged by its text."""
    known: Mapping[object, Finish] = {
        "length": "length", "content_filter": "content_filter", "refusal": "refusal", "failed": "failed",
    }  # fmt: skip
    return known.get(reason, "stop") if isinstance(reason, str) else "stop"
