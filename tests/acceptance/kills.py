"""Line 2.2: ten `kill -9` at seeded uniform moments, each followed by a rerun; nothing differs in the end.

Moments are drawn uniformly over the undisturbed run's wall time, counted over the sittings. If a kind of step was missed by
the ten, further kills wait for one of that kind. What was killed is read from the folders that were being built.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil

from tests.acceptance.quickstart import REPOSITORY, SMALL, digests, harness, require

KINDS = ("synthesize", "pretrain", "finetune", "evaluate")
KILLS = 10


def start(store: Path) -> subprocess.Popen[bytes]:
    """A sitting of the sweep, in its own process group, quiet."""
    command = [sys.executable, "-m", "harness", *SMALL, f"runtime.store={store}", "runtime.tracker=disabled"]
    return subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def building(store: Path) -> list[str]:
    """Steps that are being built right now, by the folders they are built in."""
    return sorted(path.parent.name for path in store.glob("*/*.partial"))


def kill(process: subprocess.Popen[bytes]) -> None:
    """SIGKILL to the parent and all its workers, and wait until they are gone."""
    family = [process, *psutil.Process(process.pid).children(recursive=True)]
    for member in family:
        with_pid = member.pid
        try:
            os.kill(with_pid, signal.SIGKILL)
        except ProcessLookupError:
            continue
    process.wait()
    psutil.wait_procs([member for member in family if isinstance(member, psutil.Process)], timeout=10)


def killed_after(store: Path, seconds: float) -> list[str] | None:
    """Run for so long, then kill; the steps that were hit, or None if the sweep ended first."""
    process, started = start(store), time.monotonic()
    while time.monotonic() - started < seconds:
        if process.poll() is not None:
            return None
        time.sleep(0.01)
    hit = building(store)
    kill(process)
    return hit


def killed_inside(store: Path, kind: str, delay: float) -> list[str]:
    """Run until a step of this kind is being built, a little longer, then kill."""
    process = start(store)
    while kind not in building(store):
        if process.poll() is not None:
            require(False, f"the sweep is still running while a {kind} step is awaited")
        time.sleep(0.002)
    time.sleep(delay)
    hit = building(store)
    kill(process)
    return hit


def main() -> None:
    """Undisturbed, disturbed, compared."""
    generator = random.Random(20240131)
    with tempfile.TemporaryDirectory(prefix="kills-") as folder:
        calm, rough = Path(folder) / "calm", Path(folder) / "rough"
        started = time.monotonic()
        harness(*SMALL, store=calm)
        wall = time.monotonic() - started
        expected = digests(calm)
        hits: list[str] = []
        count = 0
        # The rare kinds first: they are early in the graph and short, and once built they cannot be hit any more.
        for kind, delay in (("synthesize", 0.0), ("pretrain", generator.uniform(0, 5))):
            hit = killed_inside(rough, kind, delay)
            hits += hit
            count += 1
            print(f"kill {count}: inside {', '.join(hit) or 'no step'}", flush=True)
        while count < KILLS or not set(KINDS) <= set(hits):
            missing = [kind for kind in KINDS if kind not in hits]
            last = count >= KILLS - len(missing)
            found = (
                killed_inside(rough, missing[0], 0.0)
                if last and missing
                else killed_after(rough, generator.uniform(0, wall / 2))
            )
            if found is None:  # it ended before the moment came: a new life for the late steps
                for path in rough.glob("evaluate/*"):
                    subprocess.run(["rm", "-r", str(path)], check=True)
                continue
            hits += found
            count += 1
            print(f"kill {count}: inside {', '.join(found) or 'no step'}", flush=True)
        require(count >= KILLS, f"{count} kills")
        require(set(KINDS) <= set(hits), f"at least one inside each of {', '.join(KINDS)}")
        harness(*SMALL, store=rough)
        found_digests = digests(rough)
        require(set(found_digests) == set(expected), f"the same {len(expected)} steps are there")
        different = [key for key in expected if found_digests[key] != expected[key]]
        require(not different, f"all payload digests equal the undisturbed run's {different}")
        require(not building(rough), "no half-built step is left")


if __name__ == "__main__":
    main()
