"""What steps that are not built yet will cost: requests, money, training steps and tokens, texts to encode, seconds.

Counts come from the specification: the draws of a generator, the steps of a schedule, the texts of a task. Tokens come from
the training pairs once their pools lie in the store (rendered and tokenised as training does it), else from earlier trainings;
seconds from what this machine measured. What nothing is known of is counted as unknown: a total says how many of its parts it
lacks. Imports neither torch nor mteb.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, fields
from itertools import islice
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any

from harness.identity import canonical, plain
from harness.pairs import Pair, iterate_pairs
from harness.record import hardware_class
from harness.step import Step
from harness.store import Store
from harness.tasks.demand import demand
from models import backbone
from models.batches import assemble
from models.tokenizer import Tokenizer, TokenizerError
from sweeps.plan import EvaluateSpec, sources
from sweeps.throughput import TRAINED, Throughput, speed_key

if TYPE_CHECKING:
    from generators.mixture import MixSpec
    from generators.synthesize import SynthesizeSpec
    from harness.runtime import Runtime
    from models.train import TrainingSpec

POOL = 50_000  # pairs of a pool that are looked at; enough for a mean length
TOKENISED = 1024  # pairs of a source whose tokens are counted: their mean is within about 2 % of the source's


@dataclass(frozen=True)
class Amount:
    """A sum with the number of parts that are not known."""

    known: float = 0.0
    unknown: int = 0

    @staticmethod
    def of(value: float | None) -> Amount:
        """One part."""
        return Amount(0.0, 1) if value is None else Amount(value)

    def __add__(self, other: Amount) -> Amount:
        """Parts added, unknown ones counted."""
        return Amount(self.known + other.known, self.unknown + other.unknown)

    def __mul__(self, count: int) -> Amount:
        """So many of the same."""
        return Amount(self.known * count, self.unknown * count)


NOTHING = Amount()


@dataclass(frozen=True)
class Cost:
    """What building one step, or several, takes."""

    requests: Amount = NOTHING
    """Questions to a language model, brainstorms and examples, without those its ledger answers."""
    generated: Amount = NOTHING
    """Tokens of these requests and their answers."""
    money: Amount = NOTHING
    """In the unit of the price table."""
    training_steps: Amount = NOTHING
    training_tokens: Amount = NOTHING
    """Real tokens, specials included, padding not."""
    texts: Amount = NOTHING
    """Texts that tasks ask an encoder for; the store of embeddings answers those it holds."""
    seconds: Amount = NOTHING
    """Of one worker."""

    def __add__(self, other: Cost) -> Cost:
        """Field by field."""
        return Cost(*(getattr(self, field.name) + getattr(other, field.name) for field in fields(Cost)))


def total(costs: Iterable[Cost]) -> Cost:
    """The sum. Thousands of steps share a few objects, which are counted and added once each."""
    counts: dict[int, tuple[Cost, int]] = {}
    for cost in costs:
        counts[id(cost)] = (cost, counts.get(id(cost), (cost, 0))[1] + 1)
    whole = Cost()
    for cost, count in counts.values():
        whole += Cost(*(getattr(cost, field.name) * count for field in fields(Cost)))
    return whole


class Costs:
    """Costs of the steps of one sweep; reads the store once."""

    def __init__(self, store: Store, runtime: Runtime) -> None:
        self._store, self._runtime = store, runtime
        self._throughput = Throughput.measured(store.root, hardware_class())
        self._samples: dict[str, list[Pair]] = {}
        self._known: dict[str, Cost] = {}
        self._lengths: dict[str, float | None] = {}
        self._tasks: dict[int, tuple[Any, Cost]] = {}
        self._encoders: dict[int, tuple[Any, str]] = {}
        self.notes: list[str] = []
        """What a reader must know of the figures."""

    def of(self, step: Step) -> Cost:
        """The cost of building a step, its inputs not included."""
        if step.key not in self._known:
            self._known[step.key] = self._cost(step)
        return self._known[step.key]

    def _cost(self, step: Step) -> Cost:
        if step.name == "synthesize":
            return self._generation(step.spec)
        if step.name in TRAINED:
            return self._training(step)
        if step.name == "evaluate":
            return self._evaluation(step.spec)
        return Cost(seconds=Amount.of(self._throughput.other(step.name)))

    def _evaluation(self, spec: EvaluateSpec) -> Cost:
        """The seeds of an arm share the spec of a task, and the tasks of an arm mostly the encoder: each is looked at once."""
        if id(spec) not in self._tasks:
            if id(spec.encoder) not in self._encoders:
                self._encoders[id(spec.encoder)] = (spec.encoder, speed_key(plain(spec.encoder)))
            asked = demand(spec.task)
            texts = None if asked is None else asked.texts
            seconds = self._throughput.evaluation(self._encoders[id(spec.encoder)][1], spec.task.name, texts)
            self._tasks[id(spec)] = (spec, Cost(texts=Amount.of(texts), seconds=Amount.of(seconds)))
        return self._tasks[id(spec)][1]

    def _generation(self, spec: SynthesizeSpec) -> Cost:
        from generators.backends.openai import OpenAI
        from generators.forecast import forecast
        from generators.synthesize import draws_of

        runtime, unknown = self._runtime, Amount.of(None)
        if not isinstance(spec.backend, OpenAI):
            return Cost(Amount(requests(spec, runtime)), seconds=Amount.of(self._throughput.other("synthesize")))
        if runtime.server is None:
            return Cost(Amount(requests(spec, runtime)), unknown, unknown, seconds=unknown)
        ledger = Path(runtime.ledger).expanduser()
        found = forecast(spec.backend, draws_of(spec, sources(runtime)), ledger, runtime.server)
        rate, count = runtime.server.requests_per_minute, found.brainstorms + found.examples
        bound = None if rate is None else 60 * count / rate
        if not found.from_answers:
            self.notes.append("tokens and money of the generator are upper bounds: the ledger holds no answers to go by")
        elif count:
            low, high = found.cost[1:]
            self.notes.append(f"money of the generator: {low:,.2f} to {high:,.2f} (95 %, from {found.from_answers:,} answers)")
        return Cost(Amount(count), Amount(found.tokens[0]), Amount(found.cost[0]), seconds=Amount.of(bound))

    def _training(self, step: Step) -> Cost:
        spec: TrainingSpec = step.spec
        written, pairs = plain(spec), step.inputs["pairs"]
        asked = canonical([pairs.fingerprint, {**written, "seed": 0, "adapter": None, "pooling": None}])
        if asked not in self._lengths:  # arms that differ in what moves no text share it
            self._lengths[asked] = self._length(spec, pairs)
        length = self._lengths[asked]
        if length is None:
            length = self._throughput.length(step.name, written, pairs.fingerprint)
        tokens = None if length is None else length * spec.train.steps * spec.train.batch_size
        seconds = self._throughput.training(written, tokens)
        steps = Amount(spec.train.steps)
        return Cost(training_steps=steps, training_tokens=Amount.of(tokens), seconds=Amount.of(seconds))

    def _length(self, spec: TrainingSpec, pairs: Step) -> float | None:
        """Tokens per example of the pairs a training will read, if they or the pools they come from are in the store."""
        parts = self._parts(pairs)
        if not parts or not all(sample for _, sample in parts):
            return None
        try:
            tokenizer = Tokenizer(backbone.locate(spec.backbone, self._runtime.models), spec.max_length)
        except (backbone.BackboneError, TokenizerError):  # weights that are not here yet: listed among the needs
            return None
        return sum(share * self._tokens(spec, tokenizer, sample) for share, sample in parts)

    def _parts(self, pairs: Step) -> list[tuple[float, list[Pair]]]:
        """(share, sample) of the pairs, or of each pool they will be mixed from; empty if those are not there."""
        if self._store.done(pairs):
            return [(1.0, self._sample(pairs, lambda _: True))]
        if pairs.name != "mix" or not all(self._store.done(pool) for pool in pairs.inputs.values()):
            return []
        mix: MixSpec = pairs.spec
        return [(source.share, self._sample(pairs.inputs[source.role], mix.admits)) for source in mix.sources]

    def _sample(self, pool: Step, admits: Callable[[Pair], bool]) -> list[Pair]:
        """Pairs drawn from a pool, of those admitted: neighbours in it are alike, in a batch they seldom meet."""
        if pool.key not in self._samples:
            try:
                self._samples[pool.key] = list(islice(iterate_pairs(self._store.payload(pool) / "pairs.parquet"), POOL))
            except (OSError, ValueError):  # damaged: the build and `store verify` say so, here it is unknown
                self._samples[pool.key] = []
        admitted = [pair for pair in self._samples[pool.key] if admits(pair)]
        return Random(0).sample(admitted, min(TOKENISED, len(admitted)))  # noqa: S311 - a sample, not a secret

    @staticmethod
    def _tokens(spec: TrainingSpec, tokenizer: Tokenizer, sample: Sequence[Pair]) -> float:
        """Mean tokens per example, in batches as training makes them: a text that occurs twice in one is encoded once."""
        size = min(spec.train.batch_size, len(sample))
        batches = [sample[start : start + size] for start in range(0, len(sample) - size + 1, size)]
        own = spec.train.loss.own_negatives_only
        texts = [text for part in batches for text in assemble(part, spec.train.negatives, spec.instruction, own).texts]
        return sum(len(tokens.ids) for tokens in tokenizer(texts)) / (size * len(batches))


def requests(spec: SynthesizeSpec, runtime: Runtime) -> int:
    """Every example, and every brainstorm once however many examples use it."""
    from generators.draws import Sample
    from generators.synthesize import draws_of

    if isinstance(spec.draws, Sample):
        return spec.draws.requests(spec.templates)
    draws = draws_of(spec, sources(runtime))
    return len(draws) + len({request.key for draw in draws if (request := draw.brainstorm())})
