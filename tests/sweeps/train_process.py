"""A process that trains, to be killed: `python -m tests.sweeps.train_process STORE [evaluate]` builds one fine-tuning step.

Everything the step reads is built first if it is missing. With `evaluate`, an untrained encoder is judged in the same process
before training goes on. Prints `step N` after every training step, so that whoever kills it knows where it was.
"""

from __future__ import annotations

import sys
from pathlib import Path

from harness.runtime import Runtime
from harness.step import Step
from harness.store import Store
from sweeps.compose import Composer
from sweeps.plan import pin, plan
from sweeps.spec import Composed
from sweeps.steps import body_of
from tests.golden.run import HERE, OVERRIDES

STEPS = 24
TRAINED = (*OVERRIDES, f"finetune.steps={STEPS}", "finetune.batch_size=6", "data.size=24")
UNTRAINED = ("eval.tasks=[QuickSTS]", "pretrain=none", "finetune=none")


def runtime_of(folder: Path) -> Runtime:
    """One thread, a state after every step."""
    return Runtime(str(folder / "store"), str(folder / "ledger.sqlite"), "cpu", 1, 1, 60.0, None, None, None,
                   str(HERE / "sources"), "disabled", "test", checkpoint_every=0.0)  # fmt: skip


def steps_of(runtime: Runtime, *overrides: str) -> dict[str, Step]:
    """The plan of a composed run."""
    composed = Composed.of(Composer(HERE.parents[1] / "conf").compose([*overrides]))
    return plan(pin(composed.decode_run(), runtime), runtime)


def told(done: int, total: int, note: str = "") -> None:
    """A Report on standard output."""
    print(f"step {done} of {total} {note}", flush=True)


def main() -> None:
    """Build what is missing, the fine-tuning last."""
    import torch

    torch.set_num_threads(1)
    runtime = runtime_of(Path(sys.argv[1]))
    store = Store(runtime.store_path)
    steps = steps_of(runtime, *TRAINED)
    for label in ("weak", "pretrain", "synthetic", "natural", "mix"):
        store.realize(steps[label], body_of(steps[label]), runtime)
    if "evaluate" in sys.argv:
        judged = steps_of(runtime, *UNTRAINED)["evaluate/QuickSTS"]
        assert store.realize(judged, body_of(judged), runtime), "the premise: it really runs"
    store.realize(steps["finetune"], body_of(steps["finetune"]), runtime, told)


if __name__ == "__main__":
    main()
