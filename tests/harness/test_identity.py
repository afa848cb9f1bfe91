"""Fingerprints are the same for equal values in every process, differ for different ones, and refuse the rest."""

import math
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.identity import NotCanonicalError, canonical, fingerprint, folder_digest, plain

scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
values = st.recursive(scalars, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=20)


@dataclass(frozen=True)
class Spec:
    rank: int
    name: str


@dataclass(frozen=True)
class Grown:
    rank: int
    name: str
    born_later: str = "as before"


@given(values)
def test_canonical_form_is_a_function_of_the_value(value: object) -> None:
    assert canonical(value) == canonical(plain(value))


@given(st.dictionaries(st.text(), scalars, min_size=2))
def test_order_of_keys_does_not_count(value: dict[str, object]) -> None:
    assert fingerprint(value) == fingerprint(dict(reversed(value.items())))


def test_int_and_float_and_bool_are_different_values() -> None:
    assert len({fingerprint(value) for value in (1, 1.0, True, "1")}) == 4


@pytest.mark.parametrize("value", [{1, 2}, object(), b"bytes", Path("x"), math.nan, math.inf, {1: "x"}, Spec, 1j])
def test_what_has_no_canonical_form_is_refused_with_its_path(value: object) -> None:
    with pytest.raises(NotCanonicalError, match=r"spec\.deep\[0\]"):
        plain({"deep": [value]})


def test_a_field_at_its_later_born_default_keeps_old_fingerprints() -> None:
    assert fingerprint(Grown(4, "a")) == fingerprint(Spec(4, "a"))
    assert fingerprint(Grown(4, "a", "changed")) != fingerprint(Spec(4, "a"))


def test_fingerprint_is_the_same_in_another_process() -> None:
    program = "from harness.identity import fingerprint; print(fingerprint({'b': [1.5, None], 'a': 'ü'}))"
    printed = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.strip()

    assert printed == fingerprint({"a": "ü", "b": [1.5, None]})


def test_folder_digest_sees_names_and_bytes_and_nothing_else(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name / "sub").mkdir(parents=True)
        (tmp_path / name / "sub" / "file").write_text("same")
    same = folder_digest(tmp_path / "one")
    assert same == folder_digest(tmp_path / "two")

    (tmp_path / "two" / "sub" / "file").rename(tmp_path / "two" / "sub" / "renamed")
    (tmp_path / "one" / "sub" / "file").write_text("other")

    assert len({same, folder_digest(tmp_path / "one"), folder_digest(tmp_path / "two")}) == 3
