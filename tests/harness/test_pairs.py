"""Pairs survive the disk unchanged and in order, and the same pairs are the same bytes."""

import tempfile
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from harness.identity import file_digest
from harness.pairs import TASK_TYPES, Pair, read_pairs, write_pairs

text = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
pairs = st.lists(
    st.builds(
        Pair,
        task_type=st.sampled_from(TASK_TYPES), language=text, positive_language=text, source=text, instruction=text,
        query=text, positive=text, negatives=st.lists(text, max_size=3).map(tuple),
    ),
    max_size=8,
)  # fmt: skip


@given(pairs)
def test_round_trip(written: list[Pair]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        one, two = Path(folder, "one.parquet"), Path(folder, "two.parquet")

        assert write_pairs(one, written) == write_pairs(two, written) == len(written)
        assert read_pairs(one) == written
        assert file_digest(one) == file_digest(two)
