"""A zero-shot look at the backbone: how often a docstring's summary line finds the rest of its docstring.

Idea: pairs come from the held-out packages, so the figure says whether training left anything an embedding can use.
Boundary: a model, a tokenizer and texts in; ranking figures out. Run for the card only.
What it is not: an evaluation of the product. There is no fine-tuning here, and 300 candidates are few.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from tokenizers import Tokenizer
from transformers import MistralModel

from models.tiny.packing import EOS, PAD

Figures = dict[str, dict[str, float]]
_LENGTH = 256


def summary_pairs(documents: Sequence[str], count: int, seed: int) -> list[tuple[str, str]]:
    """Return up to ``count`` (summary, body) pairs: a one-paragraph opening and at least 200 characters after it."""
    pairs: dict[str, str] = {}
    for document in documents:
        summary, _, body = document.partition("\n\n")
        if 20 <= len(summary) <= 200 and len(body) >= 200:
            pairs.setdefault(" ".join(summary.split()), body)
    order = np.random.default_rng(seed).permutation(len(pairs))
    listed = list(pairs.items())
    return [listed[index] for index in order[:count]]


def embed(model: MistralModel, tokenizer: Tokenizer, texts: Sequence[str]) -> dict[str, torch.Tensor]:
    """Return unit vectors [texts, width] for each pooling: the mean over text tokens, and the closing ``</s>``."""
    rows: dict[str, list[torch.Tensor]] = {"mean": [], "eos": []}
    with torch.no_grad():
        for begin in range(0, len(texts), 16):
            ids = [[*item.ids[: _LENGTH - 1], EOS] for item in tokenizer.encode_batch(list(texts[begin : begin + 16]))]
            longest = max(map(len, ids))
            inputs = torch.tensor([line + [PAD] * (longest - len(line)) for line in ids])
            mask = torch.tensor([[1] * len(line) + [0] * (longest - len(line)) for line in ids])
            states = model(input_ids=inputs, attention_mask=mask).last_hidden_state.float()
            weights = mask.unsqueeze(-1).float()
            rows["mean"].append((states * weights).sum(1) / weights.sum(1))
            rows["eos"].append(states[torch.arange(len(ids)), mask.sum(1) - 1])
    return {pooling: F.normalize(torch.cat(parts), dim=-1) for pooling, parts in rows.items()}


def retrieval(model: MistralModel, tokenizer: Tokenizer, pairs: Sequence[tuple[str, str]]) -> Figures:
    """Return nDCG@10 and MRR by pooling; each summary has one right body among all bodies, ranked by cosine."""
    summaries = embed(model, tokenizer, [summary for summary, _ in pairs])
    bodies = embed(model, tokenizer, [body for _, body in pairs])
    figures: Figures = {}
    for pooling, queries in summaries.items():
        scores = queries @ bodies[pooling].T
        own = scores.diagonal().unsqueeze(1)
        # A tie counts against the right body: a collapsed model must not look like a good one.
        rank = (scores >= own).sum(1).double()
        gain = torch.where(rank <= 10, 1.0 / torch.log2(rank + 1.0), torch.zeros_like(rank))
        figures[pooling] = {"ndcg_at_10": round(float(gain.mean()), 4), "mrr": round(float((1.0 / rank).mean()), 4)}
    return figures
