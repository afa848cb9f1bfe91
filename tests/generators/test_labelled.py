"""Labelled files: by name and digest, one documented layout."""

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from generators.labelled import LabelledSet, LabelledSpec, gather, pin, read_set
from harness.identity import file_digest
from harness.pairs import Pair, read_pairs
from harness.step import silent

ROWS = [{"query": f"q{n}", "positive": f"p{n}", "negatives": [f"n{n}", f"p{n}", f"n{n}", f"m{n}", f"o{n}"]} for n in range(40)]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    content = "".join(json.dumps(row) + "\n" for row in [*ROWS, ROWS[0]])
    (tmp_path / "plain.jsonl").write_text(content)
    (tmp_path / "packed.jsonl.gz").write_bytes(gzip.compress(content.encode()))
    return tmp_path


def labelled_set(path: Path, **changes: Any) -> LabelledSet:
    fields: dict[str, Any] = {
        "kind": "file", "name": path.name.split(".")[0], "file": path.name, "sha256": file_digest(path), "ratio": 1.0,
        "instruction": "Find it", "task_type": "short_long", "language": "English",
    }  # fmt: skip
    return LabelledSet(**(fields | changes))


def spec_of(*sets: LabelledSet, most: int = 1, seed: int = 0) -> LabelledSpec:
    return LabelledSpec("labelled", {each.name: each for each in sets}, most, seed)


def gathered(spec: LabelledSpec, folder: Path, name: str) -> list[Pair]:
    (folder / name).mkdir()
    gather(spec, folder / name, silent, {}, folder)
    return read_pairs(folder / name / "pairs.parquet")


def test_plain_and_packed_files_give_the_same_pairs(folder: Path) -> None:
    sets = (labelled_set(folder / "plain.jsonl"), labelled_set(folder / "packed.jsonl.gz"))
    pairs = gathered(spec_of(*sets, most=3), folder, "out")
    by_source = {name: {p.query: p for p in pairs if p.source == name} for name in ("plain", "packed")}

    assert len(pairs) == 80, "the repeated row counts once"
    assert by_source["plain"].keys() == by_source["packed"].keys() == {row["query"] for row in ROWS}
    assert by_source["plain"]["q7"].negatives == ("n7",), "the first three, without the positive and repeats"


def test_a_larger_ratio_keeps_what_a_smaller_one_chose(folder: Path) -> None:
    few, more = (
        gathered(spec_of(labelled_set(folder / "plain.jsonl", ratio=ratio), seed=5), folder, str(ratio)) for ratio in (0.1, 0.5)
    )

    assert 0 < len(few) < len(more) < 40
    assert more[: len(few)] == few


def test_missing_and_changed_files_are_named_together(folder: Path) -> None:
    changed = labelled_set(folder / "plain.jsonl", sha256="0" * 64)
    gone = labelled_set(folder / "packed.jsonl.gz", name="gone", file="gone.jsonl")
    with pytest.raises(ValueError, match=r"plain: .* has digest .*gone: there is no file"):
        gather(spec_of(changed, gone), folder, silent, {}, folder)
    with pytest.raises(ValueError, match=r"runtime\.sources is not set"):
        gather(spec_of(gone), folder, silent, {}, None)
    with pytest.raises(ValueError, match="distinct names"):
        LabelledSpec("labelled", {"a": changed, "b": changed}, 1, 0)


def test_auto_becomes_the_digest_of_the_file_and_a_gathered_file_was_pinned(folder: Path) -> None:
    spec = spec_of(labelled_set(folder / "plain.jsonl", sha256="auto"))
    pinned = pin(spec, folder)

    assert pinned == spec_of(labelled_set(folder / "plain.jsonl"))
    assert pin(pinned, folder) == pinned
    with pytest.raises(ValueError, match=r"runtime\.sources is not set"):
        pin(spec, None)
    with pytest.raises(ValueError, match=r"plain: 'auto' stands for a digest"):
        gather(spec, folder, silent, {}, folder)


@pytest.mark.parametrize(
    "line", ['{"query": "a"}', "[1]", "not json", '{"query": " ", "positive": "b"}', '{"query": "a", "positive": 3}']
)
def test_a_bad_line_is_named(tmp_path: Path, line: str) -> None:
    path = tmp_path / "bad.jsonl"
    path.write_text('{"query": "a", "positive": "b"}\n' + line + "\n")
    with pytest.raises(ValueError, match=r"bad\.jsonl, line 2"):
        list(read_set(labelled_set(path), path, 1))


@pytest.mark.data
def test_every_real_labelled_file_has_the_layout(harness_data: Path) -> None:
    files = sorted((harness_data / "train").glob("*.jsonl.gz"))
    counts = {path.name: sum(1 for _ in read_set(labelled_set(path), path, 7)) for path in files}

    assert len(files) == 12
    assert counts["squad_sentences.jsonl.gz"] == 20_000
    assert counts["snli_triplets.jsonl.gz"] == 6_695
