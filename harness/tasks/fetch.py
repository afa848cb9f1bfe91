"""Bring the data of a suite into folders that evaluate with the network off: `python -m harness.tasks.fetch SUITE DIR`.

Sizes come first, then files at the revisions mteb pins, each compared with the hub's own hash before it takes its place. What
was interrupted continues where it stopped, in the middle of a file too; a data set is complete when its manifest is written.
`HF_ENDPOINT` names another hub (a mirror, a test), `HF_TOKEN` opens gated data sets.

Not here: reading the data (`evaluate.py`, by `eval.data=local runtime.data=DIR`).
"""

from __future__ import annotations

import argparse
import hashlib
import shutil
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from harness.config import ConfigError, Problem, decode, nearest
from harness.tasks import Mteb, Suite, plan_tasks
from harness.tasks.manifest import FetchedFile, Manifest, problems, read_manifest, write_manifest

CONF = Path(__file__).resolve().parents[2] / "conf" / "eval"
DATA = (".parquet", ".json", ".jsonl", ".csv", ".tsv", ".txt", ".arrow", ".gz", ".zst", ".bz2", ".xz", ".zip", ".md")
"""Endings worth having: data, and README.md, which says which file is which subset. No code."""
PARTIAL = ".part"
CHUNK = 1 << 20
SPARE = 1 << 30  # bytes left free on the disk


class FetchError(RuntimeError):
    """A data set that could not be brought; names repository, file and what to do."""


@dataclass(frozen=True)
class Wanted:
    """A data set at a revision, and what the hub says it consists of."""

    repository: str
    revision: str
    files: tuple[FetchedFile, ...]

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(file.size for file in self.files)


def load_suite(name: str, tasks: Sequence[str]) -> Mteb:
    """A suite of conf/eval, on the hub, narrowed to `tasks` if there are any; raises ConfigError."""
    import yaml

    known = {file.stem: file for file in CONF.glob("*.yaml")}
    if name not in known:
        raise ConfigError([Problem("SUITE", f"{name!r} is not in conf/eval{nearest(name, known)}")])
    suite: Any = decode(Suite, yaml.safe_load(known[name].read_text(encoding="utf-8")))  # type: ignore[arg-type]
    if not isinstance(suite, Mteb):
        raise ConfigError([Problem("SUITE", "the quick benchmark ships with us; there is nothing to fetch")])
    return replace(suite, data="hub", tasks=tuple(tasks) or suite.tasks)


def repositories(suite: Mteb) -> dict[str, str]:
    """Revisions by repository; raises ConfigError, also if two tasks want one repository at two revisions."""
    wanted: dict[str, str] = {}
    for spec in plan_tasks(suite, None):
        if wanted.setdefault(spec.dataset, spec.revision) != spec.revision:
            message = f"{spec.dataset} is wanted at {wanted[spec.dataset]} and, by {spec.name}, at {spec.revision}"
            raise ConfigError([Problem("eval.tasks", f"{message}; fetch them into two folders")])
    return wanted


def describe(repository: str, revision: str) -> Wanted:
    """Ask the hub which files a data set has; raises FetchError."""
    from huggingface_hub import HfApi

    try:
        info = HfApi().dataset_info(repository, revision=revision, files_metadata=True)
    except Exception as error:  # as below: what the client raises differs by version
        raise FetchError(f"{repository} at {revision}: {error}; is the network there, and HF_TOKEN set?") from error
    files = tuple(_remote_file(row) for row in info.siblings or () if row.rfilename.lower().endswith(DATA))
    if not files:
        raise FetchError(f"{repository} at {revision}: the hub lists no data files")
    return Wanted(repository, revision, tuple(sorted(files, key=lambda file: file.path)))


def _remote_file(row: Any) -> FetchedFile:
    large = row.lfs is not None
    return FetchedFile(row.rfilename, int(row.size or 0), row.lfs.sha256 if large else "", "" if large else row.blob_id or "")


def fetch(wanted: Wanted, root: Path) -> int:
    """Bring a data set; returns the bytes that came over the network. Raises FetchError; what arrived is kept."""
    held = read_manifest(root, wanted.repository)
    if held == Manifest(**vars(wanted)) and not list(problems(root, wanted.repository, wanted.revision)):
        return 0
    folder = root / wanted.repository
    came = sum(_bring(wanted, file, folder / file.path) for file in wanted.files)
    strangers = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    for stranger in strangers - {file.path for file in wanted.files}:
        (folder / stranger).unlink()  # of another revision: the folder's digest must be that of this one
    write_manifest(root, Manifest(**vars(wanted)))
    return came


def _bring(wanted: Wanted, file: FetchedFile, path: Path) -> int:
    if path.is_file() and _right(path, file):
        return 0
    partial = path.with_name(path.name + PARTIAL)
    partial.parent.mkdir(parents=True, exist_ok=True)
    have = partial.stat().st_size if partial.exists() else 0
    came = _download(wanted, file, partial, have) if have < file.size else 0
    if not _right(partial, file):
        partial.unlink()
        raise FetchError(f"{wanted.repository}: {file.path} is not what the hub describes; it was removed, run this again")
    partial.rename(path)
    return came


def _download(wanted: Wanted, file: FetchedFile, partial: Path, have: int) -> int:
    """Append what is missing. The hub's client drops the token when it is sent elsewhere (large files)."""
    from huggingface_hub import get_session, hf_hub_url
    from huggingface_hub.utils import build_hf_headers  # type: ignore[attr-defined]

    url = hf_hub_url(wanted.repository, file.path, repo_type="dataset", revision=wanted.revision)
    headers = build_hf_headers() | ({"Range": f"bytes={have}-"} if have else {})
    came = 0
    try:
        with get_session().stream("GET", url, headers=headers, follow_redirects=True, timeout=60) as response:
            response.raise_for_status()
            resumed = response.status_code == 206
            with partial.open("ab" if resumed else "wb") as handle:
                for chunk in response.iter_bytes():  # as it arrives: nothing received is lost when it breaks
                    handle.write(chunk)
                    came += len(chunk)
    except Exception as error:  # the client's own errors have no base that every version exports
        raise FetchError(f"{wanted.repository}: {file.path}: {error}; run this again, it continues here") from error
    return came


def _right(path: Path, file: FetchedFile) -> bool:
    """Whether a file's bytes are those the hub describes, by its SHA-256 or by git's hash of a blob."""
    if path.stat().st_size != file.size:
        return False
    digest = hashlib.sha256() if file.sha256 else hashlib.sha1(f"blob {file.size}\0".encode(), usedforsecurity=False)
    with path.open("rb") as handle:
        while chunk := handle.read(CHUNK):
            digest.update(chunk)
    return digest.hexdigest() == (file.sha256 or file.git)


def missing_bytes(wanted: Iterable[Wanted], root: Path) -> int:
    """What is still to come, files that are there in full not counted."""
    total = 0
    for data in wanted:
        for file in data.files:
            path = root / data.repository / file.path
            if not (path.is_file() and path.stat().st_size == file.size):
                total += file.size
    return total


def _report(names: Mapping[str, str]) -> Iterator[Wanted]:
    for repository, revision in names.items():
        wanted = describe(repository, revision)
        print(f"{wanted.size / 1e6:12.1f} MB  {len(wanted.files):5d} files  {repository} at {revision[:12]}")
        yield wanted


def main(arguments: Sequence[str] | None = None) -> int:
    """0: complete; 1: something could not be brought; 2: the suite cannot be planned."""
    parser = argparse.ArgumentParser(prog="python -m harness.tasks.fetch", description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("suite", help="a file of conf/eval, such as mteb_eng_v2, or `local` with --tasks")
    parser.add_argument("folder", type=Path, help="becomes runtime.data")
    parser.add_argument("--tasks", nargs="+", default=[], help="only these tasks")
    parser.add_argument("--size", action="store_true", help="say how much it is and stop")
    options = parser.parse_args(arguments)
    try:
        names = repositories(load_suite(options.suite, options.tasks))
    except ConfigError as error:
        print(error, file=sys.stderr)
        return 2
    try:
        wanted = list(_report(names))
        missing = missing_bytes(wanted, options.folder)
        print(f"{sum(data.size for data in wanted) / 1e6:12.1f} MB in {len(wanted)} data sets, {missing / 1e6:.1f} MB to fetch")
        if options.size:
            return 0
        options.folder.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(options.folder).free
        if free < missing + SPARE:
            raise FetchError(f"{options.folder}: {free / 1e6:.0f} MB are free; make room or name another folder")
        for data in wanted:
            came = fetch(data, options.folder)
            print(f"{data.repository}: {came / 1e6:.1f} MB fetched, {len(data.files)} files verified")
    except FetchError as error:
        print(error, file=sys.stderr)
        return 1
    print(f"complete; evaluate with eval={options.suite} eval.data=local runtime.data={options.folder}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
