"""mteb behind glass: what it does to the process is undone, what it writes goes to a folder that is thrown away.

mteb seeds the global generators when it is imported and whenever a task is made (trap 45), and creates a cache folder at
import; `datasets` keeps arrow copies of everything it loads. Local data is read with the hub switched off.
"""

from __future__ import annotations

import atexit
import os
import random
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any


class VersionError(RuntimeError):
    """The mteb that is installed is not the one the scores are to be of."""


@contextmanager
def isolated(version: str, *, offline: bool) -> Iterator[Any]:
    """Yield the mteb module; random states, environment and library settings are as before afterwards.

    Raises VersionError if another version is installed: scores depend on it.
    """
    with _generators_kept(), ExitStack() as stack:
        scratch = _scratch()
        switches = {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1"} if offline else {}
        stack.enter_context(_environment({"MTEB_CACHE": str(scratch / "mteb"), **switches}))
        import mteb

        if mteb.__version__ != version:
            raise VersionError(f"mteb {mteb.__version__} is installed, the task asks for {version}")
        for owner, name, value in _library_settings(scratch, offline=offline):
            stack.enter_context(_changed(owner, name, value))
        yield mteb


def _library_settings(scratch: Path, *, offline: bool) -> list[tuple[Any, str, Any]]:
    """Settings that `datasets` and `huggingface_hub` read from the environment only at their import, which may be past."""
    import datasets
    import huggingface_hub.constants as hub

    datasets.disable_progress_bars()
    from mteb._evaluators.text import bitext_mining_evaluator, summarization_evaluator

    folders = [("HF_DATASETS_CACHE", scratch / "datasets"), ("HF_MODULES_CACHE", scratch / "modules")]
    settings: list[tuple[Any, str, Any]] = [(datasets.config, name, folder) for name, folder in folders]
    settings += [(evaluator, "tqdm", _no_bar) for evaluator in (bitext_mining_evaluator, summarization_evaluator)]
    if offline:
        settings += [(datasets.config, "HF_HUB_OFFLINE", True), (hub, "HF_HUB_OFFLINE", True)]
    return settings


def _no_bar(iterable: Any, **_: Any) -> Any:
    """In place of the two progress bars that have no switch."""
    return iterable


@contextmanager
def _changed(owner: Any, name: str, value: Any) -> Iterator[None]:
    before = getattr(owner, name)
    setattr(owner, name, value)
    try:
        yield
    finally:
        setattr(owner, name, before)


@contextmanager
def _environment(values: Mapping[str, str]) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


@lru_cache(maxsize=1)
def _scratch() -> Path:
    folder = Path(tempfile.mkdtemp(prefix="evaluate-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


@contextmanager
def _generators_kept() -> Iterator[None]:
    """Restore `random`, numpy's and torch's global generators, on all devices in use."""
    import numpy as np
    import torch  # before mteb, which seeds it whenever it is there

    state, vector = random.getstate(), np.random.get_state()  # noqa: NPY002 - the global state is the point
    tensor = torch.get_rng_state()
    devices = torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else None  # type: ignore[no-untyped-call]
    try:
        yield
    finally:
        random.setstate(state)
        np.random.set_state(vector)  # noqa: NPY002
        torch.set_rng_state(tensor)
        if devices is not None:
            torch.cuda.set_rng_state_all(devices)
