"""Collect the training text: documentation of a fixed list of installed packages and of the standard library.

Idea: the documentation that an environment already carries is text whose source, version and size can be recorded.
Boundary: reads files and returns strings with counts; ``ast`` parses source, nothing collected here is imported.
What it is not: a crawler (no network), nor a reader of data files. Evaluation packages are not on the list.
"""

from __future__ import annotations

import ast
import hashlib
import inspect
import re
import sysconfig
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from email import message_from_string
from importlib import metadata
from pathlib import Path

STDLIB = "python-standard-library"

#: Distributions whose documentation is trained on. Left out on purpose: benchmark or evaluation packages, packages
#: that carry model weights, and packages whose docstrings quote rows of public data sets.
TRAIN_PACKAGES: tuple[str, ...] = (
    STDLIB, "accelerate", "anyio", "build", "charset-normalizer", "cloudpickle", "contourpy", "cycler", "dill",
    "distro", "execnet", "filelock", "fonttools", "fsspec", "grimp", "h11", "httpcore", "httpx", "huggingface-hub",
    "hydra-core", "hypothesis", "idna", "import-linter", "jinja2", "joblib", "kiwisolver", "markdown-it-py",
    "matplotlib", "mpmath", "multiprocess", "mypy", "narwhals", "numpy", "omegaconf", "openai", "opentelemetry-api",
    "opentelemetry-sdk", "packaging", "pandas", "pathspec", "peft", "pillow", "pip", "platformdirs", "pluggy",
    "polars", "protobuf", "psutil", "pyarrow", "pydantic", "pydantic-core", "pygments", "pyproject-hooks", "pytest",
    "python-dateutil", "pyyaml", "regex", "rich", "ruff", "safetensors", "scikit-learn", "scipy",
    "sentence-transformers", "setuptools", "sortedcontainers", "sympy", "threadpoolctl", "tokenizers", "torch", "tqdm",
    "transformers", "typer", "typing-extensions", "urllib3", "wandb", "xxhash",
)  # fmt: skip

#: Distributions whose documentation is only measured on. They share no source tree with the list above.
HELD_OUT_PACKAGES: tuple[str, ...] = ("networkx", "click", "requests", "pyparsing")

_SKIPPED_PARTS = frozenset(
    (
        "test", "tests", "testdata", "_vendor", "vendor", "vendored", "_vendored", "externals", "extern",
        "third_party", "data", "descr", "licenses", "evaluation", "evaluators", "idlelib", "turtledemo", "lib2to3",
        "ensurepip", "site-packages", "__pycache__",
    )
)  # fmt: skip
_SKIPPED_FILES = re.compile(
    r"licen[cs]e|copying|authors|notice|entry_points|top_level|requirements|record|changes|vocab|cmakelists",
    re.IGNORECASE,
)
_DOC_CALLS = frozenset(
    (
        "add_docstr",
        "add_newdoc",
        "_add_docstr",
        "add_docstr_all",
        "_add_newdoc_ufunc",
        "add_newdoc_for",
    )
)
_SESSION = re.compile(r"^\s*(>>>|In \[\d+\]:)", re.MULTILINE)
_BOILERPLATE = re.compile(
    r"copyright \(?c?\)?|all rights reserved|licensed under|permission is hereby|without warrant|"
    r"redistribution and use",
    re.IGNORECASE,
)
_WORD = re.compile(r"[A-Za-z]{2,}")
_PARAGRAPH_REPEATS = 2
_MAX_CHARS = 40_000


@dataclass(frozen=True)
class Source:
    """What one distribution gave: its version and what was left of it after all filters."""

    name: str
    version: str
    documents: int
    text_bytes: int


@dataclass(frozen=True)
class Corpus:
    """Documents in a fixed order; ``train`` and ``held_out`` share no document and no long paragraph."""

    train: tuple[str, ...]
    held_out: tuple[str, ...]
    sources: tuple[Source, ...]

    def digest(self) -> str:
        """SHA-256 (hex) over every document, so that a rebuilt corpus can be compared."""
        hasher = hashlib.sha256()
        for document in (*self.train, "\x00", *self.held_out):
            hasher.update(document.encode() + b"\x00")
        return hasher.hexdigest()


def source_docs(code: str) -> Iterator[str]:
    """Yield the documentation strings in Python source: docstrings, and texts handed to ``add_docstr``-like calls."""
    try:
        tree = ast.parse(code)
    except (SyntaxError, ValueError, RecursionError):
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            text = ast.get_docstring(node, clean=True)
            if text:
                yield text
        elif isinstance(node, ast.Call) and _called_name(node) in _DOC_CALLS:
            for inner in ast.walk(node):
                if isinstance(inner, ast.Constant) and isinstance(inner.value, str) and len(inner.value) > 80:
                    yield inspect.cleandoc(inner.value)


def _called_name(node: ast.Call) -> str:
    target = node.func
    return target.attr if isinstance(target, ast.Attribute) else target.id if isinstance(target, ast.Name) else ""


def _topic_texts(code: str) -> Iterator[str]:
    """Yield the values of the dictionary of language topics that the interpreter's help system carries."""
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.Dict):
            for value in node.values:
                if isinstance(value, ast.Constant) and isinstance(value.value, str):
                    yield value.value


def _wanted(relative: Path) -> bool:
    return not _SKIPPED_PARTS.intersection(part.lower() for part in relative.parts[:-1])


def _file_texts(path: Path, relative: Path) -> Iterator[str]:
    if not _wanted(relative) or not path.is_file():
        return
    if path.suffix == ".py":
        code = path.read_text(encoding="utf-8", errors="replace")
        yield from _topic_texts(code) if relative.parts[-2:] == ("pydoc_data", "topics.py") else source_docs(code)
    elif path.suffix in {".rst", ".md", ".txt"} and not _SKIPPED_FILES.search(path.name):
        yield path.read_text(encoding="utf-8", errors="replace")


def package_texts(name: str) -> tuple[str, list[str]]:
    """Return (version, raw texts) of one distribution, or of the standard library for ``STDLIB``."""
    if name == STDLIB:
        root = Path(sysconfig.get_paths()["stdlib"])
        relatives = sorted(path.relative_to(root) for path in root.rglob("*.py"))
        texts = [text for relative in relatives for text in _file_texts(root / relative, relative)]
        return sysconfig.get_config_var("py_version") or "unknown", texts
    distribution = metadata.distribution(name)
    texts = [_long_description(distribution)]
    for entry in sorted(distribution.files or [], key=str):
        texts.extend(_file_texts(Path(str(entry.locate())), Path(str(entry))))
    return distribution.version, texts


def _long_description(distribution: metadata.Distribution) -> str:
    """Return what follows the header fields of the metadata file."""
    return str(message_from_string(distribution.read_text("METADATA") or "").get_payload())


def clean(text: str) -> str:
    """Return ``text`` without interactive sessions, licence boilerplate and trailing blanks ("" if nothing is left)."""
    paragraphs = re.split(r"\n[ \t]*\n", text.replace("\r\n", "\n").expandtabs(4))
    kept = [re.sub(r"[ ]+$", "", paragraph, flags=re.MULTILINE) for paragraph in paragraphs if _is_prose(paragraph)]
    joined = "\n\n".join(kept).strip()[:_MAX_CHARS]
    return joined if len(_WORD.findall(joined)) >= 3 else ""


def _is_prose(paragraph: str) -> bool:
    body = paragraph.strip()
    if not body or body.startswith(("|", "[![", "<!--", "<img", "<a ")):
        return False
    if _SESSION.search(body) or _BOILERPLATE.search(body):
        return False
    if len(body) < 40:
        return True  # headings such as "Parameters" with their rule
    letters = sum(char.isascii() and char.isalpha() for char in body)
    return letters / len(body.replace(" ", "")) > 0.6 and max(map(len, body.split())) < 200


class _Deduplicator:
    """Drops repeated documents, and repeated long paragraphs beyond a small number of uses."""

    def __init__(self) -> None:
        self._documents: set[str] = set()
        self._paragraphs: Counter[str] = Counter()

    def filter(self, text: str) -> str:
        key = " ".join(text.split()).lower()
        if key in self._documents:
            return ""
        self._documents.add(key)
        kept = [part for part in text.split("\n\n") if self._paragraph_is_new(part)]
        joined = "\n\n".join(kept)
        return joined if len(_WORD.findall(joined)) >= 3 else ""

    def _paragraph_is_new(self, paragraph: str) -> bool:
        key = " ".join(paragraph.split()).lower()
        if len(key) < 60:
            return True
        self._paragraphs[key] += 1
        return self._paragraphs[key] <= _PARAGRAPH_REPEATS

    def close(self) -> None:
        """From here on a paragraph seen before counts as used up: the held-out part must not recur in training."""
        for key in self._paragraphs:
            self._paragraphs[key] = _PARAGRAPH_REPEATS


def _as_short_documents(document: str) -> Iterator[str]:
    """Yield ``document`` whole, or one in five paragraph by paragraph, so that short texts end in ``</s>`` too."""
    parts = [part for part in document.split("\n\n") if len(_WORD.findall(part)) >= 3]
    if len(parts) > 1 and hashlib.sha256(document.encode()).digest()[0] < 51:
        yield from (inspect.cleandoc(part) for part in parts)
    else:
        yield document


def collect() -> Corpus:
    """Read every listed package; held-out packages come first, so that what they share is dropped from training."""
    seen = _Deduplicator()
    sources: list[Source] = []

    def documents_of(name: str) -> list[str]:
        version, texts = package_texts(name)
        documents = [kept for text in texts if (kept := seen.filter(clean(text)))]
        sources.append(Source(name, version, len(documents), sum(len(document.encode()) for document in documents)))
        return documents

    held_out = [document for name in HELD_OUT_PACKAGES for document in documents_of(name)]
    seen.close()
    train = [part for name in TRAIN_PACKAGES for text in documents_of(name) for part in _as_short_documents(text)]
    return Corpus(tuple(train), tuple(held_out), tuple(sources))
