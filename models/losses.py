"""What training minimises: InfoNCE over a batch's vectors, and nothing of how they were made.

A loss sees vectors, which document belongs to which query, and which documents may count as its negatives. Batches decide
the latter from texts (`batches.py`), gradient caching wraps the whole unchanged (`gradcache.py`): there is no second copy of
the formula for a fast path.

The axes follow sentence-transformers' MultipleNegativesRankingLoss, which is the oracle in the tests: every direction's
terms join one denominator (GTE, arXiv 2308.03281) or have a softmax each (symmetric InfoNCE).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Literal, NamedTuple

from annotated_types import Ge, Gt

from harness.kinds import BY_KIND

if TYPE_CHECKING:
    from torch import Tensor

Extra = Literal["document_to_query", "query_to_query", "document_to_document"]


@dataclass(frozen=True)
class InfoNce:
    """Cross-entropy of the positive among all candidates, at cosine / temperature."""

    kind: Literal["info_nce"]
    temperature: Annotated[float, Gt(0)]
    extra_directions: tuple[Extra, ...]
    """Beside query to document: the positive against all queries, and negatives of the same side."""
    partition: Literal["joint", "per_direction"]
    """One softmax over all directions, or the mean of one per direction (document_to_query only)."""
    false_negative_margin: Annotated[float, Ge(-2)] | None
    """A negative whose cosine exceeds the positive's by more than this is no negative (trap 18); null: all are."""
    own_negatives_only: tuple[str, ...]
    """Task types whose queries see their own hard negatives only: labels collide within a batch (trap 19)."""

    def __post_init__(self) -> None:
        """Same-side terms hold no positive, so a softmax over them alone means nothing."""
        if self.partition == "per_direction" and set(self.extra_directions) - {"document_to_query"}:
            raise ValueError("loss.partition: per_direction needs the positive in every direction; use joint")


Loss = Annotated[InfoNce, BY_KIND]


class Candidates(NamedTuple):
    """Who belongs to whom in a batch of B queries and D documents."""

    owner: Tensor
    """(D,) long: the query a document came with."""
    positive: Tensor
    """(B,) long: the document that answers a query."""
    negative: Tensor
    """(B, D) bool: whether a document may count against a query; False for its own positive and all equal texts."""


class Value(NamedTuple):
    """A loss and what is worth watching beside it."""

    loss: Tensor
    """A scalar."""
    correct: Tensor
    """Share of queries whose positive scores above all their candidates; 0-dimensional, without gradient."""


def loss(spec: Loss, queries: Tensor, documents: Tensor, candidates: Candidates) -> Value:
    """The loss of query vectors (B, dim) against document vectors (D, dim); lengths of vectors do not matter (trap 22).

    Similarities are float32 at least: at bfloat16 the best candidates tie (trap 23).
    """
    import torch
    from torch.nn.functional import normalize

    wide = torch.promote_types(queries.dtype, torch.float32)
    q, d = normalize(queries.to(wide), dim=1), normalize(documents.to(wide), dim=1)
    rows = torch.arange(len(q), device=q.device)
    cosine = q @ d.T
    positive = cosine[rows, candidates.positive]
    allowed = candidates.negative
    if spec.false_negative_margin is not None:
        allowed = allowed & (cosine.detach() <= positive.detach().unsqueeze(1) + spec.false_negative_margin)
    best = cosine.detach().masked_fill(~allowed, -torch.inf).amax(1)
    allowed = allowed.index_put((rows, candidates.positive), torch.tensor(True, device=q.device))
    directions = [cosine.masked_fill(~allowed, -torch.inf)]
    directions += [_extra(name, q, d, candidates) for name in spec.extra_directions]
    if spec.partition == "joint":
        total = torch.logsumexp(torch.cat(directions, dim=1) / spec.temperature, dim=1)
    else:
        total = torch.stack([torch.logsumexp(s / spec.temperature, dim=1) for s in directions]).mean(0)
    value = (total - positive / spec.temperature).mean()
    return Value(value, (positive.detach() > best).to(wide).mean())


def _extra(name: Extra, q: Tensor, d: Tensor, candidates: Candidates) -> Tensor:
    """Cosines (B, n) of one more direction, -inf where a pair may not count."""
    import torch

    own = torch.eye(len(q), dtype=torch.bool, device=q.device)
    # Two rows oppose each other only if neither's positive answers the other's query.
    strangers = candidates.negative[:, candidates.positive]
    strangers = strangers & strangers.T
    positives = d[candidates.positive]
    if name == "document_to_query":
        return (positives @ q.T).masked_fill(~(strangers | own), -torch.inf)
    if name == "query_to_query":
        return (q @ q.T).masked_fill(~strangers, -torch.inf)
    foreign = candidates.negative & (candidates.owner.unsqueeze(0) != torch.arange(len(q), device=q.device).unsqueeze(1))
    return (positives @ d.T).masked_fill(~foreign, -torch.inf)
