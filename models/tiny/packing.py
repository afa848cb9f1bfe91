"""Turn documents into token rows: the tokenizer, packing, targets and the words asked of a closing ``</s>``.

Idea: documents are concatenated as ``<s> ... </s>`` and cut into rows, so no position is spent on padding.
Boundary: strings in, integer arrays out; the order of everything depends on a seed and a step number alone.
What it is not: the tokenizer's use in the product, which reads the exported folder.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt
import torch
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, processors, trainers

UNK, BOS, EOS, PAD = 0, 1, 2, 3
SPECIALS = ("<unk>", "<s>", "</s>", "<pad>")
VOCABULARY = 8192
IGNORED = -100
Tokens = npt.NDArray[np.int64]


def train_tokenizer(texts: Sequence[str]) -> Tokenizer:
    """Return a byte-level BPE tokenizer of ``VOCABULARY`` entries that puts ``<s>`` in front and nothing behind."""
    tokenizer = Tokenizer(models.BPE(unk_token=SPECIALS[UNK]))
    digits = pre_tokenizers.Split(Regex(r"\d"), "isolated")
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([digits, pre_tokenizers.ByteLevel(add_prefix_space=False)])
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY, special_tokens=list(SPECIALS), initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A", pair="<s> $A <s>:1 $B:1", special_tokens=[("<s>", BOS)]
    )
    return tokenizer


def encode(tokenizer: Tokenizer, texts: Sequence[str]) -> list[Tokens]:
    """Return one int64 array [tokens] per text, each ``<s> ... </s>``."""
    return [np.array([*item.ids, EOS], dtype=np.int64) for item in tokenizer.encode_batch(list(texts))]


def rows_of(documents: Sequence[Tokens], row: int, order: npt.NDArray[np.int64]) -> Tokens:
    """Concatenate documents in ``order`` and cut them to [rows, row + 1]; neighbours share one token (input/target)."""
    stream = np.concatenate([documents[index] for index in order])
    count = (len(stream) - 1) // row
    return np.stack([stream[index * row : index * row + row + 1] for index in range(count)])


def halves(rows: Tokens) -> Tokens:
    """Cut [n, row + 1] into [2 n, row / 2 + 1]; the halves share one token, as neighbouring rows do."""
    half = (rows.shape[1] - 1) // 2
    return np.concatenate([rows[:, : half + 1], rows[:, half:]])


def batches(
    documents: Sequence[Tokens],
    row: int,
    batch: int,
    long_every: int,
    seed: int,
    start: int,
) -> Iterator[Tokens]:
    """Yield [batch, row + 1] for ever from step ``start`` on; the order of an epoch depends on seed and epoch only."""
    step = 0
    for epoch in range(1_000_000):
        order = np.random.default_rng([seed, epoch]).permutation(len(documents))
        rows = rows_of(documents, row, order)
        for index in range(0, len(rows) - batch + 1, batch):
            if step >= start:
                part = rows[index : index + batch]
                yield part if step % long_every == 0 else halves(part)
            step += 1


def targets_of(rows: torch.Tensor) -> torch.Tensor:
    """Return next tokens [batch, row]; what follows ``</s>`` is another document and is not asked for."""
    targets = rows[:, 1:].clone()
    targets[rows[:, :-1] == EOS] = IGNORED
    return targets


def bag_of_words(inputs: Tokens, words: int, rng: np.random.Generator) -> tuple[Tokens, Tokens]:
    """Return flat positions [n] of each ``</s>`` and [n, words] distinct-token samples of the text it closes."""
    places, samples = [], []
    for index, line in enumerate(inputs):
        begin = 0
        for place in np.flatnonzero(line == EOS):
            inside = np.unique(line[begin:place])
            inside = inside[inside > PAD]
            if len(inside):
                places.append(index * inputs.shape[1] + int(place))
                samples.append(rng.choice(inside, words))
            begin = int(place) + 1
    return np.array(places, dtype=np.int64), np.array(samples, dtype=np.int64).reshape(-1, words)
