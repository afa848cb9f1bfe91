"""Families of models by how they read, known without importing transformers (which imports torch).

A family that transformers can train to fill in masked words reads in both directions; any other generates from left to right.
A test compares the names with those of the installed transformers.
"""

from __future__ import annotations

ENCODERS = frozenset(
    """
albert bart bert big_bird camembert convbert data2vec-text deberta deberta-v2 distilbert electra ernie esm esmc eurobert
flaubert fnet funnel gte ibert jina_embeddings_v3 layoutlm longformer luke mbart megatron-bert mobilebert modernbert
modernvbert mpnet mra mvp neomme nomic_bert nystromformer perceiver reformer rembert roberta roberta-prelayernorm roc_bert
roformer squeezebert tapas ultrabert ultravbert xlm xlm-roberta xlm-roberta-xl xmod yoso
""".split()  # noqa: SIM905 - fifty names are read as words
)
"""`model_type` of a `config.json`."""
