"""What a finished step says of itself: `record.json` (compared) and `measured.json` (never compared).

The record is written last. It holds the digests of the inputs that were *actually read*, so that a consumer of something
rebuilt to other bytes can be told apart from one that is fresh.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import lru_cache
from importlib import metadata
from pathlib import Path
from typing import Any

from harness.config import ConfigError, decode_text
from harness.identity import combine_digests

RECORD_FILE = "record.json"
MEASURED_FILE = "measured.json"
PAYLOAD = "payload"


class RecordError(RuntimeError):
    """A record that cannot be read or does not match what lies beside it; names the file and the remedy."""


@dataclass(frozen=True)
class InputRead:
    """An input as it was when it was read."""

    step: str
    fingerprint: str
    digest: str


@dataclass(frozen=True)
class Record:
    """A finished step."""

    step: str
    version: int
    fingerprint: str
    spec: dict[str, Any]
    inputs: dict[str, InputRead]
    files: dict[str, str]
    """SHA-256 of every file of the payload, by relative path."""
    digest: str
    """The payload's digest: of the names and digests of its files."""

    def __post_init__(self) -> None:
        """A record whose digest is not the digest of its files was edited or torn."""
        if self.digest != combine_digests(self.files):
            raise RecordError(f"record of {self.step}/{self.fingerprint}: its digest is not that of its files")


def json_text(value: Any, *, sort_keys: bool = True) -> str:
    """Strict JSON. Sorted keys make equal values equal bytes."""
    return json.dumps(value, indent=1, sort_keys=sort_keys, allow_nan=False) + "\n"


def write_json(path: Path, value: Any, *, sort_keys: bool = True) -> None:
    """Write strict JSON durably: temporary file, flush to disk, rename."""
    temporary = path.with_name(path.name + ".tmp")
    with temporary.open("w", encoding="utf-8") as handle:
        handle.write(json_text(value, sort_keys=sort_keys))
        handle.flush()
        os.fsync(handle.fileno())
    temporary.rename(path)


def write_record(path: Path, record: Record) -> None:
    """Write a record durably."""
    write_json(path, asdict(record))


def read_record(path: Path) -> Record:
    """Read a record; raises RecordError naming the file and what to do if it is torn, edited or foreign."""
    try:
        return decode_text(Record, path.read_text(encoding="utf-8"))
    except (ValueError, ConfigError, RecordError) as error:
        remedy = f"move {path.parent} away; the next run builds the step again"
        raise RecordError(f"{path}: corrupt record ({error}); {remedy}") from error


def read_measured(folder: Path) -> dict[str, Any]:
    """The measurements of a finished step."""
    data: dict[str, Any] = json.loads((folder / MEASURED_FILE).read_text(encoding="utf-8"))
    return data


VERSIONED = ("torch", "transformers", "peft", "mteb", "numpy", "scikit-learn", "datasets", "safetensors")


@lru_cache(maxsize=1)
def environment() -> Mapping[str, Any]:
    """Versions, hardware class and commit of this process, read without importing any of the packages."""
    versions = {}
    for name in VERSIONED:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return {
        "versions": versions,
        "python": platform.python_version(),
        "hardware": hardware_class(),
        "commit": _commit(),
    }


@lru_cache(maxsize=1)
def hardware_class() -> str:
    """The processor's model name: scores on different classes are marked in tables."""
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def _commit() -> str:
    git = ("git", "-C", str(Path(__file__).parent))
    try:
        head = subprocess.run([*git, "rev-parse", "HEAD"], capture_output=True, text=True, check=True, timeout=5)
        dirty = subprocess.run([*git, "status", "--porcelain", "-uno"], capture_output=True, text=True, check=True, timeout=5)
    except (OSError, subprocess.SubprocessError):
        return "unknown"
    return head.stdout.strip() + ("+dirty" if dirty.stdout.strip() else "")
