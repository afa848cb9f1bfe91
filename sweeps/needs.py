"""What a run would still need on this machine: weights, pairs, a server with its key, data of tasks.

The hub is switched off while looking: its cache counts, nothing is downloaded and nobody is asked. A preview plans all the
same and prints the needs; a build refuses before any work (`plan.pin`). Not here: what is wrong on every machine.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from importlib import import_module
from typing import Any

from harness.config import Problem
from harness.runtime import Runtime
from harness.tasks import HUB
from sweeps.plan import Survey, survey, tasks_of
from sweeps.spec import NoTraining, RunSpec


def look(spec: RunSpec, runtime: Runtime) -> Survey:
    """As `plan.survey`, without the network, and with what is only missed while building: a server's key, tasks' data."""
    with offline():
        found = survey(spec, runtime)
    more = list(_server(spec, runtime))
    if not found.wrong and (fetched := sum(task.data == HUB for task in tasks_of(spec.eval, runtime))):
        more.append(Problem("eval.data", f"{fetched} tasks read their data from the hub or its cache"))
    return replace(found, needs=(*found.needs, *more))


@contextmanager
def offline() -> Iterator[None]:
    """The hub's client reads the variable only when it is imported, and so it is told; others read the environment."""
    constants: Any = import_module("huggingface_hub.constants")
    before = os.environ.get("HF_HUB_OFFLINE")
    os.environ["HF_HUB_OFFLINE"] = "1"
    told, constants.HF_HUB_OFFLINE = constants.HF_HUB_OFFLINE, True
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = told
        if before is None:
            del os.environ["HF_HUB_OFFLINE"]
        else:
            os.environ["HF_HUB_OFFLINE"] = before


def _server(spec: RunSpec, runtime: Runtime) -> Iterator[Problem]:
    if isinstance(spec.finetune, NoTraining) or "synthetic" not in spec.data.roles or spec.generator.backend.kind == "recorded":
        return
    if runtime.server is None:
        yield Problem("runtime.server", "a live model is asked; choose runtime/server=openai or runtime/server=local")
    elif (name := runtime.server.key_variable) and not os.environ.get(name):
        yield Problem("runtime.server", f"{name} is not set; put the key into the environment")
