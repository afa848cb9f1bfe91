"""Training pairs: the one schema between whoever makes them (generators) and whoever trains on them (models).

A pair is a query with one positive and any number of hard negatives, and carries everything an arm may select by: task type,
language, source. Texts are raw: templates are applied by `instructions.py`, at training as at evaluation.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from harness.identity import fingerprint

if TYPE_CHECKING:
    import pyarrow as pa

TASK_TYPES = ("short_long", "long_short", "short_short", "long_long", "sts", "bitext")
"""The paper's taxonomy (section 3.1); labelled and mined pairs are placed in it too."""


@dataclass(frozen=True)
class Pair:
    """One example. `language` is the query's, `positive_language` the positive's and negatives'; English names."""

    task_type: str
    language: str
    positive_language: str
    source: str
    """Who made it: `synthetic`, `mined`, or the name of a labelled set."""
    instruction: str
    """The task in words, without any template, such as 'Given a question, retrieve ...'."""
    query: str
    positive: str
    negatives: tuple[str, ...]

    @property
    def identity(self) -> str:
        """Fingerprint of the content; stable over corpora and order."""
        return fingerprint(self)


def schema() -> pa.Schema:
    """The parquet schema of a file of pairs."""
    import pyarrow as pa

    text = pa.string()
    names = ("id", "task_type", "language", "positive_language", "source", "instruction", "query", "positive")
    return pa.schema([pa.field(name, text, nullable=False) for name in names] + [pa.field("negatives", pa.list_(text))])


def write_pairs(path: Path, pairs: Iterable[Pair]) -> int:
    """Write pairs to a parquet file in the order given; the same pairs give the same bytes. Returns their number."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = [{"id": pair.identity, **asdict(pair), "negatives": list(pair.negatives)} for pair in pairs]
    pq.write_table(pa.Table.from_pylist(rows, schema=schema()), path, compression="zstd")
    return len(rows)


def read_pairs(path: Path) -> list[Pair]:
    """All pairs of a file, in order."""
    return list(iterate_pairs(path))


def iterate_pairs(path: Path) -> Iterator[Pair]:
    """Stream the pairs of a file, in order, in bounded memory."""
    import pyarrow.parquet as pq

    for batch in pq.ParquetFile(path).iter_batches(batch_size=4096):
        for row in batch.to_pylist():
            del row["id"]
            yield Pair(**{**row, "negatives": tuple(row["negatives"])})


def texts_of(pairs: Sequence[Pair]) -> int:
    """How many texts a trainer encodes for these pairs: queries, positives and negatives."""
    return sum(2 + len(pair.negatives) for pair in pairs)
