"""Docstring pairs: parsed, never imported; pinned by bytes."""

import dataclasses
import sys
from pathlib import Path

import pytest
import yaml

from generators.mined import MinedSpec, mine, pin
from harness.config import decode
from harness.identity import canonical, folder_digests
from harness.pairs import read_pairs
from harness.step import silent

CONF = Path(__file__).parents[2] / "conf"

MODULE = '''"""Summary of the whole module here.

This body says at some length what the module is for and what it is not for.
"""
raise RuntimeError("imported")

class A:
    """Too short

    This body says at some length what the class is for and what it is not for.
    """

    if True:
        async def inner(self):
            """Return the inner part of the thing.

            Parameters
            ----------
            .. versionadded:: 3
            This body says at some length what the method is for and what it is not for.
            """

def repeated():
    """return the INNER part of the thing.

    Another body of a docstring with the summary above, long enough to be taken otherwise.
    """

def short():
    """A summary with no body at all."""
'''


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    (tmp_path / "src" / "lib" / "tests").mkdir(parents=True)
    (tmp_path / "src" / "lib" / "a.py").write_text(MODULE)
    (tmp_path / "src" / "lib" / "broken.py").write_text('"""A summary of four words.\n\n' + "word " * 30 + '"""\n)(')
    (tmp_path / "src" / "lib" / "tests" / "b.py").write_text(MODULE)
    return tmp_path


def spec(**changes: object) -> MinedSpec:
    data = yaml.safe_load((CONF / "natural" / "docstrings.yaml").read_text())
    return dataclasses.replace(decode(MinedSpec, data), **changes)  # type: ignore[arg-type]


def mined(spec: MinedSpec, out: Path, sources: Path | None = None) -> list[tuple[str, str]]:
    out.mkdir()
    mine(pin(spec, sources), out, silent, {}, sources)
    return [(pair.query, pair.positive) for pair in read_pairs(out / "pairs.parquet")]


def test_a_tree_is_read_without_being_imported(tree: Path) -> None:
    pairs = mined(spec(packages=(), trees=("src",), limit=None), tree / "out", tree)

    assert sorted(pairs) == [
        (
            "Return the inner part of the thing.",
            "Parameters This body says at some length what the method is for and what it is not for.",
        ),
        (
            "Summary of the whole module here.",
            "This body says at some length what the module is for and what it is not for.",
        ),
    ]


def test_the_same_files_give_the_same_bytes_and_a_limit_a_prefix(tmp_path: Path) -> None:
    packages = ("email", "asyncio")
    everything = mined(spec(packages=packages, limit=None), tmp_path / "a")
    mined(spec(packages=packages, limit=None), tmp_path / "b")

    assert len(everything) > 100
    assert folder_digests(tmp_path / "a") == folder_digests(tmp_path / "b")
    assert mined(spec(packages=packages, limit=40), tmp_path / "c") == everything[:40]
    assert "email" in sys.modules or "asyncio" in sys.modules  # the standard library may be loaded; the tree above was not


def test_a_changed_file_is_another_identity_and_a_stale_plan_an_error(tree: Path) -> None:
    base = spec(packages=(), trees=("src",))
    before = pin(base, tree)
    (tree / "src" / "lib" / "a.py").write_text(MODULE + "\n")

    assert canonical(pin(base, tree)) != canonical(before)
    assert pin(base, tree).python == sys.version.split()[0]
    with pytest.raises(ValueError, match="changed after the plan"):
        mine(before, tree, silent, {}, tree)
    with pytest.raises(ValueError, match=r"planned for Python 3\.1, this is"):
        mine(dataclasses.replace(before, python="3.1"), tree, silent, {}, tree)


def test_every_missing_source_is_named_at_once(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="nonesuch") as error:
        pin(spec(packages=("numpy", "nonesuch", "os.path"), trees=("gone",)), tmp_path)
    assert "os.path" in str(error.value)
    assert "gone" in str(error.value)
    with pytest.raises(ValueError, match=r"runtime\.sources is not set"):
        pin(spec(packages=(), trees=("gone",)))
    with pytest.raises(ValueError, match="need a source"):
        spec(packages=(), trees=())


def test_no_qualifying_docstring_is_an_error(tree: Path) -> None:
    with pytest.raises(ValueError, match="no docstring of src"):
        mined(spec(packages=(), trees=("src",), min_body=119), tree / "out", tree)


def test_the_two_sets_in_conf_are_disjoint_and_hold_no_benchmark() -> None:
    files = [CONF / "natural" / "docstrings.yaml", CONF / "pretrain" / "pairs" / "docstrings.yaml"]
    natural, weak = (decode(MinedSpec, yaml.safe_load(path.read_text())) for path in files)

    assert not set(natural.packages) & set(weak.packages)
    assert "mteb" not in {*natural.packages, *weak.packages}
    for each in (natural, weak):
        assert len(pin(each).digests) == len(each.packages)
