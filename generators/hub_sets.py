"""Labelled sets of the hub: a repository at a commit, its files by language, and which column is what.

Files are read as their authors publish them: parquet, JSON lines (plain or gzip) or CSV. A column may hold a text, a list of
texts, or passages (`{"title": ..., "text": ...}`). A copy in `runtime.sources/<org>/<name>`, in the hub's own layout, goes
first; else the hub's cache, else the hub. A copy is taken to be the revision it stands for.

Not here: which pairs are kept (`labelled.py`) and which sets a recipe takes (`conf/natural/`).
"""

from __future__ import annotations

import csv
import gzip
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import Annotated, Any, Literal

from annotated_types import Interval, MinLen

from harness.pairs import TASK_TYPES, Pair

COMMIT = re.compile(r"[0-9a-f]{40}")
ENDINGS = (".parquet", ".jsonl", ".jsonl.gz", ".csv")
ROWS = 4096  # of a parquet file in memory at a time


@dataclass(frozen=True)
class HubSet:
    """One data set and how its pairs are presented."""

    kind: Literal["hub"]
    name: str
    """The source every pair names."""
    id: str
    """`org/name`."""
    revision: str
    """A commit: a branch is another data set tomorrow."""
    files: Annotated[dict[str, str], MinLen(1)]
    """Patterns of files by the language their texts are in: `{English: "nq/train-*.parquet"}`."""
    query: str
    positive: str
    """Column; where it holds several, the first is taken."""
    negatives: tuple[str, ...]
    """Columns, in the order in which negatives are preferred; may be empty."""
    ratio: Annotated[float, Interval(gt=0, le=1)]
    """The share of its pairs that is kept (paper, appendix A)."""
    instruction: str
    task_type: str

    def __post_init__(self) -> None:
        """A commit, files of a known kind, and a type the trainer has a template for."""
        if COMMIT.fullmatch(self.revision) is None:
            raise ValueError(f"{self.name}: revision {self.revision!r} is no commit (40 hexadecimal digits)")
        if unread := [pattern for pattern in self.files.values() if not pattern.endswith(ENDINGS)]:
            raise ValueError(f"{self.name}: {', '.join(unread)}: only {', '.join(ENDINGS)} can be read")
        if self.task_type not in TASK_TYPES:
            raise ValueError(f"task_type {self.task_type!r} is none of {', '.join(TASK_TYPES)}")

    def problem(self, sources: Path | None) -> str | None:
        """Why the set cannot be had: neither a copy, nor in the cache, nor does the hub answer for it. Downloads nothing."""
        try:
            if _copy(self, sources) is None and not _cached(self):
                _ask(self)
        except ValueError as error:
            return str(error)
        return None

    def read(self, sources: Path | None, most: int) -> Iterator[Pair | None]:
        """Its pairs with at most so many negatives each, file by file; None for a row without two different texts.

        Fetches what is not here. Raises ValueError naming file and row, or what is missing.
        """
        folder = _copy(self, sources) or _fetch(self)
        for language, files in _matches(self, folder).items():
            for path in files:
                for number, row in enumerate(_rows(path, (self.query, self.positive, *self.negatives)), start=1):
                    try:
                        yield self._pair(row, language, most)
                    except TypeError as error:
                        raise ValueError(f"{path}, row {number}: {error}") from None

    def _pair(self, row: Mapping[str, Any], language: str, most: int) -> Pair | None:
        query, positive = (next(iter(_texts(row[column])), "") for column in (self.query, self.positive))
        if not query or not positive or query == positive:
            return None
        found = (text for column in self.negatives for text in _texts(row[column]) if text not in {query, positive})
        return Pair(
            self.task_type, language, language, self.name, self.instruction, query, positive,
            tuple(dict.fromkeys(found))[:most],
        )  # fmt: skip


def _texts(value: Any) -> list[str]:
    """The texts of a cell that are not blank; raises TypeError for what is no text."""
    if value is None:
        return []
    texts = []
    for one in value if isinstance(value, list) else [value]:
        text = " ".join(filter(None, (one.get("title"), one["text"]))) if isinstance(one, dict) and "text" in one else one
        if not isinstance(text, str):
            raise TypeError(f"{one!r} is neither a text nor a passage")
        if text.strip():
            texts.append(text)
    return texts


def _rows(path: Path, columns: Sequence[str]) -> Iterator[Mapping[str, Any]]:
    """Rows with at least these columns; raises ValueError naming the file and those it lacks."""
    if path.suffix == ".parquet":
        import pyarrow.parquet as pq

        file = pq.ParquetFile(path)
        _require(path, columns, file.schema_arrow.names)
        for batch in file.iter_batches(batch_size=ROWS, columns=list(dict.fromkeys(columns))):
            yield from batch.to_pylist()
        return
    opener = gzip.open if path.suffix == ".gz" else open
    with opener(path, "rt", encoding="utf-8", newline="") as lines:
        for row in csv.DictReader(lines) if path.suffix == ".csv" else map(json.loads, lines):
            _require(path, columns, row)
            yield row


def _require(path: Path, columns: Sequence[str], present: Any) -> None:
    if lacking := [column for column in columns if column not in present]:
        raise ValueError(f"{path}: has no column {', '.join(lacking)}; its columns are {', '.join(present)}")


def _matches(each: HubSet, folder: Path) -> dict[str, list[Path]]:
    """The files of every language, both sorted; raises ValueError naming every pattern that nothing matches."""
    names = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}
    found = {
        language: [names[name] for name in sorted(names) if fnmatch(name, pattern)]
        for language, pattern in sorted(each.files.items())
    }
    if empty := [each.files[language] for language, files in found.items() if not files]:
        raise ValueError(f"{folder} has no {', '.join(empty)}; complete the copy of {each.id} or take it away")
    return found


def _copy(each: HubSet, sources: Path | None) -> Path | None:
    """A copy in the hub's layout, complete; None if there is none."""
    folder = None if sources is None else sources / each.id
    if folder is None or not folder.is_dir():
        return None
    _matches(each, folder)
    return folder


def _cached(each: HubSet) -> bool:
    from huggingface_hub.errors import LocalEntryNotFoundError

    try:
        _matches(each, _snapshot(each, local_files_only=True))
    except (LocalEntryNotFoundError, ValueError):
        return False
    return True


def _snapshot(each: HubSet, *, local_files_only: bool) -> Path:
    """The folder in the hub's cache with the set's files, and with no others of the repository."""
    from huggingface_hub import snapshot_download

    return Path(
        snapshot_download(
            each.id, repo_type="dataset", revision=each.revision, allow_patterns=list(each.files.values()),
            local_files_only=local_files_only,
        )
    )  # fmt: skip


def _ask(each: HubSet) -> None:
    """Whether the hub has this commit and lets us read it; one small request."""
    from huggingface_hub import HfApi

    try:
        HfApi().dataset_info(each.id, revision=each.revision, timeout=10)
    except Exception as error:  # the client's own errors have no base that every version exports
        raise ValueError(_unreached(each, error)) from error


def _fetch(each: HubSet) -> Path:
    try:
        return _snapshot(each, local_files_only=False)
    except Exception as error:  # as above
        raise ValueError(_unreached(each, error)) from error


def _unreached(each: HubSet, error: Exception) -> str:
    return (
        f"{each.id} at {each.revision[:12]} is neither in runtime.sources/{each.id} nor in the hub's cache, "
        f"and the hub gave {type(error).__name__}"
    )
