"""Print what sentence-transformers' MultipleNegativesRankingLoss gives on one small batch: loss and gradient norms.

    python tests/oracles/info_nce.py > tests/golden/info_nce.json

The batch is drawn by NumPy, so that the test draws the same one; scale 50 is temperature 0.02.
"""

from __future__ import annotations

import json
from importlib import metadata

import numpy as np
import torch

QUERIES, DIMENSIONS = 6, 8
CASES = {
    "pairs": (0, ("query_to_doc",), "joint"),
    "one_negative": (1, ("query_to_doc",), "joint"),
    "two_negatives": (2, ("query_to_doc",), "joint"),
    "symmetric": (1, ("query_to_doc", "doc_to_query"), "per_direction"),
    "both_in_one_softmax": (1, ("query_to_doc", "doc_to_query"), "joint"),
    "all_directions": (2, ("query_to_doc", "query_to_query", "doc_to_query", "doc_to_doc"), "joint"),
}


def vectors(negatives: int) -> list[torch.Tensor]:
    """Columns of float64 vectors: queries, positives, then each rank of hard negatives; related enough to compete."""
    draw = np.random.Generator(np.random.PCG64(7))
    base = draw.standard_normal((QUERIES, DIMENSIONS))
    columns = [base + 2.0 * draw.standard_normal((QUERIES, DIMENSIONS)) for _ in range(2 + negatives)]
    return [torch.tensor(column, requires_grad=True) for column in columns]


def main() -> None:
    """One JSON object, a case per key."""
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.losses import MultipleNegativesRankingLoss

    found: dict[str, object] = {"sentence_transformers": metadata.version("sentence_transformers")}
    for name, (negatives, directions, partition) in CASES.items():
        loss = MultipleNegativesRankingLoss(
            SentenceTransformer(modules=[torch.nn.Identity()]), scale=50.0, directions=directions, partition_mode=partition
        )
        columns = vectors(negatives)
        value = loss.compute_loss_from_embeddings(columns, torch.empty(0))
        value.backward()
        found[name] = {"loss": float(value.detach()), "gradients": [column.grad.flatten().tolist() for column in columns]}
    print("{" + ",\n".join(f"{json.dumps(key)}: {json.dumps(value)}" for key, value in found.items()) + "}")


if __name__ == "__main__":
    main()
