"""A run of every step on tiny inputs that lie in the repository, for the golden payload digests."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from harness.record import environment, hardware_class
from harness.runtime import Runtime
from harness.store import Store
from sweeps.compose import Composer
from sweeps.plan import pin, plan
from sweeps.spec import Composed
from sweeps.steps import body_of

HERE = Path(__file__).resolve().parent
PAYLOADS = HERE / "payloads.json"
OVERRIDES = (
    "generator.draws.limit=24", "natural.packages=[]", "natural.trees=[tree]", "natural.limit=5",
    "pretrain.pairs.packages=[]", "pretrain.pairs.trees=[tree]", "data.size=12",
    "pretrain.train.steps=2", "pretrain.train.warmup_steps=1", "pretrain.train.batch_size=4",
    "finetune.steps=2", "finetune.warmup_steps=1", "finetune.batch_size=4", "eval.tasks=[QuickSTS]",
)  # fmt: skip


def machine() -> str:
    """What exact bytes of computed numbers are tied to."""
    return f"{hardware_class()}, torch {environment()['versions']['torch']}"


def realize(folder: Path) -> dict[str, dict[str, Any]]:
    """Build every step in this process; by label: step, version, payload digest, and the losses where there are some."""
    import torch

    torch.set_num_threads(1)
    store_path, ledger = str(folder / "store"), str(folder / "ledger.sqlite")
    runtime = Runtime(store_path, ledger, "cpu", 1, 1, 60.0, None, None, None, str(HERE / "sources"), "disabled", "golden")
    composed = Composed.of(Composer(HERE.parents[1] / "conf").compose(OVERRIDES))
    spec = pin(composed.decode_run(), runtime)
    store, found = Store(runtime.store_path), {}
    for label, step in plan(spec, runtime).items():
        store.realize(step, body_of(step), runtime)
        found[label] = {"step": step.name, "version": step.version, "digest": store.record(step).digest}
        metrics = store.payload(step) / "metrics.jsonl"
        if metrics.exists():
            found[label]["losses"] = [json.loads(line)["loss"] for line in metrics.read_text().splitlines()]
    return found
