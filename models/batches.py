"""Which pairs meet in a step, and what their texts are to each other.

A sampler is a seeded, endless stream of batches: it depends on the pairs, its spec, the batch size and the seed, so a run
that resumes at step n draws the first n batches again, in milliseconds. Within a batch no text appears twice on its side;
what still equals another row's positive (a hard negative, a query) is masked: equal texts are never negatives (traps 12, 17).

Not here: tokens and vectors.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal

from annotated_types import Ge

from harness.instructions import InstructionFormat, render
from harness.kinds import BY_KIND
from harness.pairs import Pair
from models.losses import Candidates
from models.seeds import derive

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True)
class Mixed:
    """Any pairs together."""

    kind: Literal["mixed"]


@dataclass(frozen=True)
class Homogeneous:
    """One task type or one source per batch, drawn in proportion to its pairs (traps 19, 20)."""

    kind: Literal["homogeneous"]
    by: Literal["task_type", "source"]


Sampler = Annotated[Mixed | Homogeneous, BY_KIND]


@dataclass(frozen=True)
class Batch:
    """The distinct texts of a step, and how they form queries and documents."""

    texts: tuple[str, ...]
    """Rendered; each is encoded once."""
    queries: tuple[int, ...]
    """Index into `texts` for every query."""
    documents: tuple[int, ...]
    """Index into `texts` for every document: all positives, then the hard negatives query by query."""
    owners: tuple[int, ...]
    """The query every document came with."""
    negative: NDArray[np.bool_]
    """(queries, documents): whether a document may count against a query."""

    @property
    def negatives_per_query(self) -> float:
        """The mean number of negatives a query really has (trap 16)."""
        return float(self.negative.sum()) / len(self.queries)

    def preview(self) -> list[dict[str, Any]]:
        """The first three rows as the model sees them (trap 9)."""
        return [
            {"query": self.texts[self.queries[row]],
             "documents": [self.texts[text] for text, owner in zip(self.documents, self.owners, strict=True) if owner == row]}
            for row in range(min(3, len(self.queries)))
        ]  # fmt: skip

    def candidates(self, device: str) -> Candidates:
        """The same as tensors."""
        import torch

        return Candidates(
            torch.tensor(self.owners, device=device),
            torch.arange(len(self.queries), device=device),
            torch.from_numpy(self.negative).to(device),
        )


def sample(spec: Sampler, pairs: Sequence[Pair], batch_size: int, seed: int) -> Iterator[list[int]]:
    """Endless batches of indices into `pairs`; every group is gone through in a new order again and again.

    A batch is smaller than asked only if its group has fewer distinct queries and positives. Raises ValueError if no batch
    can have two pairs: without a negative there is nothing to learn.
    """
    import numpy as np

    groups: dict[str, list[int]] = {}
    for index, pair in enumerate(pairs):
        groups.setdefault(getattr(pair, spec.by) if isinstance(spec, Homogeneous) else "", []).append(index)
    order = np.random.Generator(np.random.PCG64(derive(seed, "order")))
    streams = {name: _Stream(members, order) for name, members in sorted(groups.items())}
    share = np.array([len(groups[name]) for name in streams], dtype=np.float64) / max(1, len(pairs))
    if all(len({pairs[i].query for i in members}) < 2 for members in groups.values()):
        raise ValueError(f"pairs: {len(pairs)} pairs in {len(groups)} groups, none with two different queries")
    names = list(streams)
    while True:
        yield streams[names[int(order.choice(len(names), p=share))]].take(pairs, batch_size)


class _Stream:
    """The pairs of one group in seeded order, permutation after permutation."""

    def __init__(self, members: Sequence[int], order: np.random.Generator) -> None:
        self._members = members
        self._order = order
        self._queue: deque[int] = deque()

    def take(self, pairs: Sequence[Pair], size: int) -> list[int]:
        """The next `size` pairs with distinct queries and positives; those passed over come first in the next batch."""
        taken: list[int] = []
        passed: list[int] = []
        queries: set[str] = set()
        positives: set[str] = set()
        refilled = False
        while len(taken) < size:
            if not self._queue:
                if refilled:  # the whole group has been looked at for this batch
                    break
                refilled = True
                self._queue.extend(self._members[int(i)] for i in self._order.permutation(len(self._members)))
            index = self._queue.popleft()
            if pairs[index].query in queries or pairs[index].positive in positives:
                passed.append(index)
                continue
            taken.append(index)
            queries.add(pairs[index].query)
            positives.add(pairs[index].positive)
        self._queue.extendleft(reversed(dict.fromkeys(passed)))
        return taken


def assemble(
    pairs: Sequence[Pair], negatives: Annotated[int, Ge(0)], form: InstructionFormat, own_only: Sequence[str]
) -> Batch:
    """Render the texts of a step's pairs, with at most `negatives` hard negatives each, and say who opposes whom."""
    texts: dict[str, int] = {}
    queries = [_text(texts, pair, "query", pair.query, form) for pair in pairs]
    raw = [(owner, pair.positive) for owner, pair in enumerate(pairs)]
    raw += [(owner, text) for owner, pair in enumerate(pairs) for text in pair.negatives[:negatives]]
    documents = [_text(texts, pairs[owner], "document", text, form) for owner, text in raw]
    return Batch(
        tuple(texts), tuple(queries), tuple(documents), tuple(owner for owner, _ in raw), _opposed(pairs, raw, own_only)
    )


def _opposed(pairs: Sequence[Pair], documents: Sequence[tuple[int, str]], own_only: Sequence[str]) -> NDArray[np.bool_]:
    """Who opposes whom, by raw text: neither a query's own words nor any text that answers it is its negative."""
    import numpy as np

    owners = np.array([owner for owner, _ in documents])
    alone = np.array([pair.task_type in own_only for pair in pairs])
    negative: NDArray[np.bool_] = ~alone[:, None] | (owners[None, :] == np.arange(len(pairs))[:, None])
    columns: dict[str, list[int]] = {}
    for column, (_, text) in enumerate(documents):
        columns.setdefault(text, []).append(column)
    answers: dict[str, set[str]] = {}
    for pair in pairs:
        answers.setdefault(pair.query, {pair.query}).add(pair.positive)
    for row, pair in enumerate(pairs):
        negative[row, [column for text in answers[pair.query] for column in columns.get(text, ())]] = False
    return negative


def _text(texts: dict[str, int], pair: Pair, side: Literal["query", "document"], text: str, form: InstructionFormat) -> int:
    return texts.setdefault(render(form, pair.task_type, side, pair.instruction, text), len(texts))
