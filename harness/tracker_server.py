"""The W&B server's side of the tracker: is it there, upload a run, read a run's values back; each with a bound on its time.

wandb's own calls block for minutes when a server is silent (a sync retries forever), so a plain HTTP request asks first and
everything that could hang runs as a program of its own. Nothing here knows what a run is.
"""

from __future__ import annotations

import json
import math
import os
import re
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path

HOSTED = "https://api.wandb.ai"
PROBE_SECONDS = 5.0
REQUEST_SECONDS = 20  # of one request inside wandb


class ServerError(RuntimeError):
    """The server is not there, refused, or did not answer in time; says which, and nothing was lost."""


def probe(seconds: float = PROBE_SECONDS) -> None:
    """Raise ServerError unless the server answers anything at all within `seconds`; asked once for all runs of a sweep."""
    address = os.environ.get("WANDB_BASE_URL", HOSTED).rstrip("/")
    if not address.startswith(("http://", "https://")):
        raise ServerError(f"WANDB_BASE_URL={address} is no http address")
    try:
        urllib.request.urlopen(f"{address}/healthz", timeout=seconds).close()  # noqa: S310 - the scheme was checked above
    except urllib.error.HTTPError as answer:
        if answer.code in (401, 403, 407) or answer.code >= 500:
            raise ServerError(f"{address} refuses ({answer.code} {answer.reason})") from answer
    except (OSError, ValueError) as error:
        raise ServerError(f"{address} does not answer ({getattr(error, 'reason', error)})") from error


def upload(folder: Path, seconds: float) -> str:
    """Upload an offline run's folder; returns `entity/project/run` as the server calls it, or raises ServerError."""
    command = [sys.executable, "-m", "wandb", "sync", "--yes", str(folder)]
    said = bounded(command, seconds, f"upload of {folder.name}")
    run = folder.name.rpartition("-")[2]
    where = re.search(rf"/([^/\s]+)/([^/\s]+)/runs/{re.escape(run)}", said)
    if where is None or not list(folder.glob("*.synced")):
        raise ServerError(f"upload of {folder.name}: wandb did not say that it finished ({said.strip()[-200:]})")
    return f"{where.group(1)}/{where.group(2)}/{run}"


def values(path: str, seconds: float) -> dict[str, float]:
    """The numbers in a run's summary as the server has them; raises ServerError."""
    said = bounded([sys.executable, "-m", "harness.tracker_server", path], seconds, f"reading {path} back")
    found: dict[str, float] = json.loads(said.strip().splitlines()[-1])
    return found


def unequal(expected: Mapping[str, float], found: Mapping[str, float]) -> list[str]:
    """Every expected value that the server lacks or has otherwise, one line each."""
    return [
        f"{name}: {value!r} was sent, the server has {found.get(name, 'nothing')!r}"
        for name, value in expected.items()
        if name not in found or not math.isclose(value, found[name], rel_tol=1e-12)
    ]


def bounded(command: list[str], seconds: float, what: str) -> str:
    """What a program printed, or ServerError if it fails or takes longer; its children end with it."""
    program = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True,
        env={**os.environ, "WANDB_SILENT": "false"},  # it says where the run is only if it may speak
    )  # fmt: skip
    try:
        said, _ = program.communicate(timeout=max(seconds, 0.1))
    except subprocess.TimeoutExpired:
        os.killpg(program.pid, signal.SIGKILL)  # wandb's service would keep the pipe open, and us waiting
        program.communicate()
        raise ServerError(f"{what}: not done within {seconds:.0f} s") from None
    if program.returncode:
        raise ServerError(f"{what}: {' '.join(said.strip().splitlines()[-1:])[:300]}")
    return said


def main() -> None:
    """`python -m harness.tracker_server ENTITY/PROJECT/RUN`: a run's numbers as JSON; what `values` starts and bounds."""
    import wandb

    run = wandb.Api(timeout=REQUEST_SECONDS).run(sys.argv[1])
    print(json.dumps({name: value for name, value in dict(run.summary).items() if isinstance(value, (int, float))}))


if __name__ == "__main__":
    main()
