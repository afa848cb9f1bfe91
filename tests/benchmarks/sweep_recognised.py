"""How fast a finished sweep of 1,000 runs is recognised: `python -m harness -m ...` until it has said that nothing is to build.

    python tests/benchmarks/sweep_recognised.py          about a minute, most of it writing the store

200 learning rates x 5 seeds of the shipped baseline on the quick benchmark. The store is synthetic but true: every step that
the plan asks for has its folder, with a record of its own spec and of the digests of its inputs. The command composes (from
the store's cache), decodes, pins, plans, reads every record, looks for equal results; the table that it shows next is
measured by `reports_table.py`. Peer: Hydra's own composition, which its launchers do for every one of the 1,000 jobs before it
starts, measured on 20 and scaled. The last line is JSON; `ratio` is peer / ours.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict
from pathlib import Path

import psutil

REPOSITORY = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(REPOSITORY))

from harness.identity import combine_digests, fingerprint, plain  # noqa: E402 - runs as a script from any folder
from harness.record import InputRead, Record, json_text  # noqa: E402
from harness.step import Step  # noqa: E402
from harness.store import Store  # noqa: E402
from sweeps.ablation import grid  # noqa: E402
from sweeps.compose import Composer, composing  # noqa: E402
from sweeps.run import Planned, plan_sweep  # noqa: E402
from sweeps.spec import Composed  # noqa: E402

CONF = REPOSITORY / "conf"
ARMS, SEEDS = 200, 5
TIMES = 3
SAMPLE = 20  # compositions that the peer is scaled from
GOAL = 3.0  # seconds


def arguments(root: Path) -> list[str]:
    """The sweep, as people would write it."""
    rates = ",".join(f"{1e-4 + 1e-6 * number:.6f}" for number in range(ARMS))
    seeds = ",".join(str(seed) for seed in range(SEEDS))
    settings = [f"runtime.store={root}", f"runtime.ledger={root / 'ledger.sqlite'}", "runtime.tracker=disabled"]
    return [f"finetune.learning_rate={rates}", f"seed={seeds}", *settings]


def planned(root: Path) -> Planned:
    """The same sweep, planned here."""
    name, ablation = grid(arguments(root))
    runtime = Composed.of(Composer(CONF).compose(ablation.baseline)).decode_runtime()
    sys.modules["sweeps.run"]._conf = CONF  # type: ignore[attr-defined]  # where the command line keeps it
    return plan_sweep(name, ablation, runtime)


def finish(store: Store, step: Step, records: dict[str, Record]) -> None:
    """Make a step done, and what it reads before it."""
    if step.key in records:
        return
    for source in step.inputs.values():
        finish(store, source, records)
    names = ("scores.json", "items.parquet") if step.name == "evaluate" else ("adapter_model.safetensors",)
    files = {name: fingerprint([name, step.key]) for name in names}
    reads = {
        role: InputRead(source.name, source.fingerprint, records[source.key].digest) for role, source in step.inputs.items()
    }
    record = Record(step.name, step.version, step.fingerprint, plain(step.spec), reads, files, combine_digests(files))
    folder = store.folder(step)
    (folder / "payload").mkdir(parents=True)
    for name in names:
        (folder / "payload" / name).touch()
    (folder / "measured.json").write_text(json_text({"seconds": 1.0, "cpu_seconds": 1.0}))
    (folder / "record.json").write_text(json_text(asdict(record)))
    records[step.key] = record


def recognised(root: Path) -> tuple[float, float, str]:
    """Seconds of the command until it has said what there is to build, its processor seconds, and what it said."""
    command = [sys.executable, "-m", "harness", "-m", *arguments(root)]
    started = time.perf_counter()
    with subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.PIPE, text=True, start_new_session=True) as process:
        assert process.stdout is not None
        said = next((line for line in process.stdout if " reused" in line), "")
        seconds, used = time.perf_counter() - started, psutil.Process(process.pid).cpu_times()
        os.killpg(process.pid, signal.SIGKILL)  # with the table it has begun
    return seconds, used.user + used.system, said.strip()


def composed_by_hydra(root: Path) -> float:
    """Seconds that Hydra needs to compose every job."""
    from hydra import compose

    fixed = [text for text in arguments(root) if "," not in text]
    with composing(CONF):
        started = time.perf_counter()
        for number in range(SAMPLE):
            compose(config_name="run", overrides=[*fixed, f"finetune.learning_rate={1e-4 + 1e-6 * number:.6f}", "seed=1"])
    return (time.perf_counter() - started) / SAMPLE * ARMS * SEEDS


def main() -> None:
    """Fill, time, print."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "store"
        asked = planned(root)
        records: dict[str, Record] = {}
        for _, steps, _ in asked.runs:
            for step in steps.values():
                finish(asked.store, step, records)
        ours, processor, peer = [], [], []
        for _ in range(TIMES):
            seconds, cpu, said = recognised(root)
            ours.append(seconds)
            processor.append(cpu)
            peer.append(composed_by_hydra(root))
            assert said.startswith(f"0 built, {len(records)} reused"), said
    print(f"{len(asked.runs)} runs, {len(records)} unique steps: recognised in {min(ours):.2f} to {max(ours):.2f} s")
    print(f"of that {min(processor):.2f} to {max(processor):.2f} s of the processor")
    print(f"Hydra composes {len(asked.runs)} jobs in {min(peer):.1f} s")
    print(f"goal {GOAL:.0f} s: {'met' if min(ours) <= GOAL else 'missed'}")
    figures = {"ours": round(min(ours), 3), "peer": round(min(peer), 3), "ratio": round(min(peer) / min(ours), 3)}
    print(json.dumps({"name": "sweep_recognised", **figures}))


if __name__ == "__main__":
    main()
