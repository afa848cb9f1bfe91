"""Line 3.1: a hundred seeded runs, disturbed at uniform random moments, resumed until complete; nothing differs in the end.

    python -m tests.acceptance.chaos                ninety runs of small steps, ten of two real quickstart arms
    python -m tests.acceptance.chaos --seed 17      one of them again, alone

A disturbance strikes the parent or a worker: SIGKILL, SIGTERM, `os._exit`, an address-space limit, a file-size limit, a full
disk. A sweep without memory may stand still: seen was CPython itself, in the import of hydra, before any line of ours, asking
for memory again and again (py-spy, strace); it is killed then, as its user would, and counted as such.

A third of the small runs have a second sweep on the same store at the same time. After one to three disturbed sittings a calm
one must complete the run. Claims: payload digests equal the undisturbed run's; no step was built by two living processes;
what was finished is not touched again; no process and no half-built folder is left. Which run does what depends on its seed
alone; where exactly it is hit, on the machine.
"""

from __future__ import annotations

import argparse
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

from tests.acceptance.chaos_steps import FAULT, LOG
from tests.acceptance.quickstart import REPOSITORY, digests, require

RUNS, REAL = 100, 10
MARK = "CHAOS_RUN"  # in the environment of every process of a run
OUTSIDE = ("SIGKILL", "SIGTERM", "address_space", "file_size")
INSIDE = ("os_exit", "disk_full")
PATIENCE = 180  # seconds that a sitting which was hit may take
STILL = 3  # of about two hundred disturbances
STOOD_STILL = ", which then stood still"
TWO_ARMS = (
    "-m", "sweep=quickstart", "only=[synthetic_only]", "sweep.seeds=[0]", "pretrain.train.steps=3", "finetune.steps=3",
    "pretrain.train.warmup_steps=1", "finetune.warmup_steps=1", "eval.tasks=[QuickSTS,QuickClassification]",
)  # fmt: skip
"""Baseline and one arm of the quickstart with every kind of step, cut to seconds."""


@dataclass(frozen=True)
class Disturbance:
    """What strikes whom, at which share of the undisturbed run's wall time."""

    kind: str
    target: str
    moment: float


@dataclass
class Run:
    """One seeded run: how a sitting is started, and where it lies."""

    seed: int
    folder: Path
    command: Sequence[str]

    @property
    def store(self) -> Path:
        """Its own store."""
        return self.folder / "store"

    def start(self, fault: str | None = None) -> subprocess.Popen[bytes]:
        """A sitting."""
        environment = os.environ | {MARK: str(self.folder)} | ({FAULT: fault} if fault else {})
        with (self.folder / "output.txt").open("ab") as output:
            return subprocess.Popen(self.command, cwd=REPOSITORY, env=environment, stdout=output, stderr=output)

    def processes(self) -> list[psutil.Process]:
        """Every living process of this run, whoever its parent is now."""
        found = []
        for process in psutil.process_iter():
            with suppress(psutil.Error):
                if process.environ().get(MARK) == str(self.folder) and process.status() != psutil.STATUS_ZOMBIE:
                    found.append(process)
        return found


def small(seed: int, folder: Path) -> Run:
    """A run of small steps; its graph depends on the seed."""
    command = (sys.executable, "-m", "tests.acceptance.chaos_steps", "sweep", str(folder / "store"), str(seed))
    return Run(seed, folder, command)


def real(seed: int, folder: Path) -> Run:
    """A run of two arms of the quickstart."""
    settings = (f"runtime.store={folder / 'store'}", f"runtime.ledger={folder / 'ledger.sqlite'}", "runtime.tracker=disabled")
    return Run(seed, folder, (sys.executable, "-m", "harness", *TWO_ARMS, *settings))


def strike(run: Run, sitting: subprocess.Popen[bytes], disturbance: Disturbance, draw: random.Random) -> bool:
    """Hit the sitting from outside; False if it has nobody to hit any more."""
    with suppress(psutil.Error):
        workers = [child for child in psutil.Process(sitting.pid).children() if child.status() != psutil.STATUS_ZOMBIE]
        victims = workers if disturbance.target == "worker" else [psutil.Process(sitting.pid)]
        if sitting.poll() is not None or not victims:
            return False
        victim = draw.choice(victims)
        if disturbance.kind == "address_space":
            limit = victim.memory_info().vms + 2**20
            resource.prlimit(victim.pid, resource.RLIMIT_AS, (limit, limit))
        elif disturbance.kind == "file_size":
            resource.prlimit(victim.pid, resource.RLIMIT_FSIZE, (20_000, 20_000))
        else:
            victim.send_signal(signal.Signals[disturbance.kind])
        return True
    return False


def disturbed(run: Run, disturbance: Disturbance, wall: float, draw: random.Random) -> str:
    """One disturbed sitting; what hit it, or nothing."""
    what = f"{disturbance.kind} of a {disturbance.target}"
    moment = time.monotonic() + disturbance.moment * wall
    if disturbance.kind in INSIDE:
        token = run.folder / f"hit-{time.monotonic_ns()}"
        sitting = run.start(f"{disturbance.kind} {disturbance.target} {moment} {token}")
        sitting.wait(timeout=120)
        return what if token.exists() else ""
    sitting = run.start()
    while sitting.poll() is None and time.monotonic() < moment:
        time.sleep(0.005)
    hit = strike(run, sitting, disturbance, draw)
    try:
        sitting.wait(timeout=PATIENCE)
    except subprocess.TimeoutExpired:
        if (disturbance.kind, disturbance.target) != ("address_space", "sweep"):
            raise
        sitting.kill()
        sitting.wait()
        return what + STOOD_STILL
    return what if hit else ""


def moments(draw: random.Random, kinds: Sequence[str]) -> Iterator[Disturbance]:
    """Disturbances without end."""
    while True:
        yield Disturbance(draw.choice(kinds), draw.choice(("sweep", "worker")), draw.uniform(0, 1))


def finished(store: Path) -> dict[str, tuple[int, int]]:
    """Inode and time of every record: a step that is built again gets others. What lies in a `.partial` never was done."""
    records = [path for path in store.glob("*/*/record.json") if not path.parent.suffix]
    return {str(path): (path.stat().st_ino, path.stat().st_mtime_ns) for path in records}


def endure(run: Run, kinds: Sequence[str], wall: float, expected: dict[str, str]) -> tuple[list[str], Counter[str]]:
    """Disturb a run, resume it, complete it; the claims it breaks, and what hit it."""
    draw = random.Random(run.seed)
    wanted, crowded = draw.randint(1, 3), kinds is ALL and draw.random() < 1 / 3
    broken: list[str] = []
    hits: Counter[str] = Counter()
    before: dict[str, tuple[int, int]] = {}
    for disturbance, _ in zip(moments(draw, kinds), range(12), strict=False):
        if hits.total() == wanted:
            break
        companion = run.start() if crowded else None
        hit = disturbed(run, disturbance, wall, draw)
        if hit:
            hits[hit] += 1
        if companion is not None:
            companion.wait(timeout=PATIENCE)
        broken += [f"orphan {process}" for process in _left(run)]
        now = finished(run.store)
        broken += [f"{path} was built again" for path, identity in before.items() if now.get(path) != identity]
        before = now
        if not hit:  # it was complete before the moment came: another life
            shutil.rmtree(run.store)
            before = {}
    last = run.start()
    broken += [f"the calm sitting ended with {last.returncode}"] if last.wait(timeout=600) else []
    broken += [f"orphan {process}" for process in _left(run)]
    broken += [f"{path} was built again" for path, identity in before.items() if finished(run.store).get(path) != identity]
    found = digests(run.store)
    broken += [f"{key}: other bytes than undisturbed" for key in expected if found.get(key) != expected[key]]
    broken += [f"{path} is left" for path in run.store.glob("*/*.partial")]
    log = run.folder / LOG
    broken += [line for line in (log.read_text().splitlines() if log.exists() else []) if "overlap" in line]
    return broken, hits


def _left(run: Run) -> list[psutil.Process]:
    """Processes that are still there five seconds after their sitting ended; they are ended."""
    deadline = time.monotonic() + 5
    while (left := run.processes()) and time.monotonic() < deadline:
        time.sleep(0.1)
    for process in left:
        process.kill()
    return left


ALL = (*OUTSIDE, *INSIDE)


def calm(make: Callable[[int, Path], Run], seed: int, folder: Path) -> tuple[float, dict[str, str]]:
    """The undisturbed run: its wall time and its digests."""
    folder.mkdir(parents=True)
    run = make(seed, folder)
    started = time.monotonic()
    code = run.start().wait()
    require(code == 0, f"the undisturbed run of seed {seed} completes ({folder / 'output.txt'})") if code else None
    return time.monotonic() - started, digests(run.store)


def one(seed: int, root: Path, undisturbed: tuple[float, dict[str, str]] | None) -> tuple[list[str], Counter[str]]:
    """A run by its seed; the last ten are real."""
    make, kinds = (real, OUTSIDE) if seed >= RUNS - REAL else (small, ALL)
    wall, expected = undisturbed or calm(make, seed, root / f"calm{seed}")
    folder = root / f"run{seed}"
    folder.mkdir()
    broken, hits = endure(make(seed, folder), kinds, wall, expected)
    told = ", ".join(f"{count} {what}" for what, count in hits.items())
    print(f"seed {seed}: {len(expected)} steps, hit by {told}" + "".join(f"\n  BROKEN {claim}" for claim in broken), flush=True)
    return broken, hits


def main() -> None:
    """All seeds, or the one asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, help=f"one run: 0 to {RUNS - 1}, the last {REAL} of them real")
    parser.add_argument("--keep", type=Path, help="where the runs are left to be looked at")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="chaos-") as temporary:
        root = asked.keep or Path(temporary)
        seeds = range(RUNS) if asked.seed is None else [asked.seed]
        undisturbed = calm(real, RUNS, root / "calm") if max(seeds) >= RUNS - REAL else None
        with ThreadPoolExecutor(2) as pool:
            results = list(pool.map(lambda seed: one(seed, root, undisturbed if seed >= RUNS - REAL else None), seeds))
    hits = sum((found for _, found in results), Counter())
    for what in sorted(hits):
        print(f"{hits[what]:4} {what}")
    require(
        not any(broken for broken, _ in results),
        f"{len(results)} runs end as if undisturbed: the same bytes, nothing twice, nobody left",
    )
    require(all(found.total() for _, found in results), "every run was hit")
    require(sum(hits[what] for what in hits if what.endswith(STOOD_STILL)) <= STILL, f"at most {STILL} sittings stood still")
    if asked.seed is None:
        kinds = {f"{kind} of a {target}" for kind in ALL for target in ("sweep", "worker")}
        require(all(hits[kind] >= 3 for kind in kinds), f"each of the {len(kinds)} disturbances struck at least three times")


if __name__ == "__main__":
    main()
