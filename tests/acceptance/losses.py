"""Line 7.2: loss and gradients against sentence-transformers' MultipleNegativesRankingLoss and a float64 loop over pairs.

First on vectors: the oracle script runs again and must print what is committed; then through all weights of MiniLM in float64,
on one real batch, with the fast forward pass and with transformers' own. Prints every figure.
"""

from __future__ import annotations

import json
import math
import subprocess
import sys
from dataclasses import replace

import torch
import yaml
from torch.nn.functional import cosine_similarity

from tests.acceptance.quickstart import REPOSITORY, require

TEXTS = {
    "queries": ["how do tides work", "capital of peru", "what is a hash table", "who wrote faust"],
    "positives": ["The gravity of the moon pulls at the sea.", "Lima is the capital and largest city of Peru.",
                  "A hash table maps keys to slots of an array.", "Faust is a play by Goethe."],
    "negatives": ["Tides of history.", "Cusco was the Inca capital, high in the Andes, and is visited by many.",
                  "A table has four legs.", "Mann wrote Doctor Faustus."],
}  # fmt: skip
TEMPERATURE = 0.02


def loop(columns: list[torch.Tensor]) -> torch.Tensor:
    """InfoNCE as a loop over queries and documents, float64."""
    queries, documents = columns[0], torch.cat(columns[1:])
    terms = []
    for row, query in enumerate(queries):
        scores = torch.stack([cosine_similarity(query, document, dim=0) for document in documents]) / TEMPERATURE
        terms.append(torch.logsumexp(scores, 0) - scores[row])
    return torch.stack(terms).mean()


def on_vectors() -> None:
    """The committed numbers are those the oracle prints, and the loop's, and ours."""
    from models.losses import loss
    from tests.models.test_losses import EXTRA, PLAIN, candidates, oracle

    printed = subprocess.run([sys.executable, "tests/oracles/info_nce.py"], cwd=REPOSITORY, capture_output=True, text=True,
                             check=True).stdout  # fmt: skip
    again, module = json.loads(printed), oracle()
    golden = json.loads((REPOSITORY / "tests" / "golden" / "info_nce.json").read_text(encoding="utf-8"))
    for case, (negatives, _, _) in module.CASES.items():
        columns = module.vectors(negatives)
        value = loss(replace(PLAIN, **EXTRA[case]), columns[0], torch.cat(columns[1:]), candidates(6, negatives)).loss
        value.backward()
        theirs = [torch.tensor(gradient, dtype=torch.float64) for gradient in again[case]["gradients"]]
        apart = max(float((c.grad.flatten() - g).abs().max() / g.abs().max()) for c, g in zip(columns, theirs, strict=True))
        by_loop = f", loop {float(loop(module.vectors(negatives)).detach()):.12f}" if not EXTRA[case] else ""
        told = f"theirs {again[case]['loss']:.12f}, ours {float(value.detach()):.12f}{by_loop}"
        print(f"{case}: {told}; gradients {apart:.1e} apart")
        close = math.isclose(again[case]["loss"], golden[case]["loss"], rel_tol=1e-12)
        require(close, f"{case}: the oracle prints what is committed")
        require(math.isclose(float(value.detach()), again[case]["loss"], rel_tol=1e-10), f"{case}: our loss is theirs")
        require(apart < 1e-9, f"{case}: our gradients are theirs")
        if by_loop:
            looped = float(loop(module.vectors(negatives)).detach())
            require(math.isclose(looped, float(value.detach()), rel_tol=1e-10), f"{case}: both are the loop's")


def through_minilm() -> None:
    """All gradients of a real encoder on a real batch."""
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.losses import MultipleNegativesRankingLoss

    from models.backbone import Package, locate
    from models.losses import Candidates, InfoNce, loss
    from models.network import Network
    from models.pooling import Mean
    from models.tokenizer import Tokenizer

    text = (REPOSITORY / "conf" / "model" / "minilm.yaml").read_text(encoding="utf-8")
    folder = locate(Package(**yaml.safe_load(text)["backbone"]), None)
    peer = SentenceTransformer(str(folder), device="cpu").double().eval()
    features = [peer.preprocess(column) for column in TEXTS.values()]
    value = MultipleNegativesRankingLoss(peer, scale=1 / TEMPERATURE)(features, torch.empty(0))
    value.backward()
    model = peer[0].model
    theirs = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    rows = [item.ids for item in Tokenizer(folder, 256)([text for column in TEXTS.values() for text in column])]
    count = len(TEXTS["queries"])
    negative = torch.ones(count, 2 * count, dtype=torch.bool)
    negative[torch.arange(count), torch.arange(count)] = False
    who = Candidates(torch.arange(count).repeat(2), torch.arange(count), negative)
    for fuse in (True, False):
        model.zero_grad()
        vectors = Network(model, Mean("mean"), 0, "cpu", fuse).embed(rows)
        ours = loss(InfoNce("info_nce", TEMPERATURE, (), "joint", None, ()), vectors[:count], vectors[count:], who).loss
        ours.backward()
        scale = max(float(gradient.abs().max()) for gradient in theirs.values())
        grads = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
        apart = max(float((grads[name] - gradient).abs().max()) for name, gradient in theirs.items()) / scale
        told = [float(found.detach()) for found in (value, ours, loop(list(vectors.split(count))))]
        way = "fast pass" if fuse else "transformers' pass"
        print(f"MiniLM, {way}: theirs {told[0]:.12f}, ours {told[1]:.12f}, loop {told[2]:.12f}; gradients of {len(theirs)} "
              f"tensors at most {apart:.1e} apart")  # fmt: skip
        require(math.isclose(told[1], told[0], rel_tol=1e-9), f"MiniLM, {way}: our loss is theirs")
        require(math.isclose(told[2], told[1], rel_tol=1e-9), f"MiniLM, {way}: and the loop's")
        require(apart < 1e-8, f"MiniLM, {way}: our gradients are theirs, over {len(theirs)} tensors")


def main() -> None:
    """Vectors, then a whole encoder."""
    on_vectors()
    through_minilm()


if __name__ == "__main__":
    main()
