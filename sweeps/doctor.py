"""`python -m sweeps doctor`: whether this machine can run the shipped questions, and what each would still need.

Everything is looked at, nothing is changed, downloaded or paid: ablations are planned with the hub switched off. Keys are
present or not; their values are read by nobody here. torch is asked only with `--deep`, because importing it takes seconds.

Not here: repairing. Every finding names its remedy. What shipped ablations need is found in `readiness.py`.
"""

from __future__ import annotations

import json
import os
import platform
import shutil
import subprocess
import threading
import tomllib
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from packaging.requirements import Requirement

from harness.inventory import inventory
from harness.runtime import Runtime
from harness.terminal import show, size
from harness.upkeep import readable, unfinished, unreadable_sweeps

REPOSITORY = Path(__file__).resolve().parent.parent
KEYS = {
    "OPENAI_API_KEY": "a live generator (runtime/server=openai)",
    "WANDB_API_KEY": "runtime.tracker=online",
    "HF_TOKEN": "gated models and data sets of the hub",
}
HUB_PATIENCE = 2.0  # seconds; offline is a state, not an error, and nobody waits for it
GPU_PATIENCE = 10.0  # seconds nvidia-smi may take; it hangs when a driver does
FULL = 1e9  # bytes: the quickstart's store holds a third of it
LOW = 20e9  # bytes: one adapter of a 7B model per run, and the hub's cache of the model itself

Verdict = Literal["ok", "note", "needs", "broken"]


@dataclass(frozen=True)
class Check:
    """One thing that was looked at. Only `broken` makes the doctor's exit code 1."""

    area: str
    name: str
    verdict: Verdict
    message: str


def examine(store: Path, overrides: Sequence[str], *, deep: bool) -> list[Check]:
    """Look at everything; leaves with exit code 4 if an override is wrong."""
    from sweeps.readiness import readiness, runtime_of
    from sweeps.run import reported

    root = store.expanduser().resolve()
    with reported():
        runtime = runtime_of(REPOSITORY / "conf", overrides)
    checks = [*installed(REPOSITORY / "pyproject.toml"), *gpus(), *keys(runtime), hub(), disk(root), *health(root)]
    checks += [torch_sees()] if deep else []
    checks += [
        Check("ablation", one.name, one.verdict, one.message)
        for one in readiness(REPOSITORY / "conf", overrides, root / "composed" if root.is_dir() else None)
    ]
    return checks


def report(checks: Sequence[Check], *, as_json: bool) -> int:
    """Print what was found; returns the exit code."""
    broken = [check for check in checks if check.verdict == "broken"]
    if as_json:
        print(json.dumps([asdict(check) for check in checks], indent=1))
    else:
        show(["what", "name", "verdict", ""], [[check.area, check.name, check.verdict, check.message] for check in checks])
        count = {verdict: sum(check.verdict == verdict for check in checks) for verdict in ("ok", "note", "needs", "broken")}
        print(", ".join(f"{number} {verdict}" for verdict, number in count.items() if number))
    return 1 if broken else 0


def installed(pyproject: Path) -> Iterator[Check]:
    """Python and every requirement of the project against what is installed."""
    project = tomllib.loads(pyproject.read_text(encoding="utf-8"))["project"]
    wanted = Requirement(f"python{project['requires-python']}")
    fits = wanted.specifier.contains(platform.python_version(), prereleases=True)
    yield Check("installed", "python", "ok" if fits else "broken", f"{platform.python_version()} ({wanted.specifier})")
    for text in project["dependencies"]:
        yield _package(Requirement(text), "broken")
    for extra, texts in project.get("optional-dependencies", {}).items():
        checks = [_package(Requirement(text), "note") for text in texts]
        lacking = [f"{check.name} {check.message}" for check in checks if check.verdict != "ok"]
        yield Check("installed", f"[{extra}]", "note" if lacking else "ok", "; ".join(lacking) or f"{len(checks)} packages")


def _package(wanted: Requirement, otherwise: Verdict) -> Check:
    try:
        version = metadata.version(wanted.name)
    except metadata.PackageNotFoundError:
        return Check("installed", wanted.name, otherwise, f"is not installed ({wanted.specifier or 'any'}); run make setup")
    if wanted.specifier.contains(version, prereleases=True):
        return Check("installed", wanted.name, "ok", f"{version} ({wanted.specifier or 'any'})")
    return Check("installed", wanted.name, otherwise, f"{version} is not {wanted.specifier}; run make setup")


def gpus(devices: Path = Path("/dev")) -> Iterator[Check]:
    """Graphics processors by their driver, without torch."""
    present = sorted(path.name for path in devices.glob("nvidia[0-9]*"))
    chosen = os.environ.get("CUDA_VISIBLE_DEVICES")
    limited = "" if chosen is None else f"; CUDA_VISIBLE_DEVICES={chosen!r}"
    if shutil.which("nvidia-smi") is None:
        what = f"{', '.join(present)} without nvidia-smi" if present else "none; steps run on the processor"
        yield Check("gpu", "devices", "note", what + limited)
        return
    query = ["nvidia-smi", "--query-gpu=name,memory.total,driver_version", "--format=csv,noheader"]
    try:
        done = subprocess.run(query, capture_output=True, text=True, timeout=GPU_PATIENCE, check=True)
    except (OSError, subprocess.SubprocessError) as error:
        problem = f"nvidia-smi failed ({type(error).__name__}); is the driver loaded?"
        yield Check("gpu", "devices", "needs" if present else "note", problem + limited)
        return
    for index, line in enumerate(done.stdout.strip().splitlines()):
        yield Check("gpu", f"cuda:{index}", "ok", line + limited)


def torch_sees() -> Check:
    """What torch itself says of the GPUs."""
    import torch

    if not torch.cuda.is_available():
        return Check("gpu", "torch", "note", f"torch {torch.__version__} sees none")
    names = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
    kind = "with" if torch.cuda.is_bf16_supported() else "without"
    return Check(
        "gpu", "torch", "ok", f"torch {torch.__version__}, CUDA {torch.version.cuda}: {', '.join(names)}, {kind} bfloat16"
    )


def keys(runtime: Runtime) -> Iterator[Check]:
    """Whether keys are in the environment; never what they are."""
    asked = dict(KEYS)
    if runtime.server is not None and runtime.server.key_variable:
        asked.setdefault(runtime.server.key_variable, "the server of runtime.server")
    for name, purpose in asked.items():
        yield Check("key", name, "ok" if os.environ.get(name) else "note", f"{_present(name)}; for {purpose}")


def _present(name: str) -> str:
    return "present" if os.environ.get(name) else "not set"


def hub() -> Check:
    """Whether the hub answers within two seconds, through whatever proxy is configured."""
    endpoint = os.environ.get("HF_ENDPOINT", "https://huggingface.co")
    host = urlsplit(endpoint).hostname or "unknown host"  # only the name: an address may carry a password
    if os.environ.get("HF_HUB_OFFLINE", "0").upper() in ("1", "ON", "YES", "TRUE"):
        return Check("hub", host, "note", "switched off by HF_HUB_OFFLINE")
    answers: list[str] = []
    # A thread, because looking up a name has no timeout of its own; it ends with the process.
    asking = threading.Thread(target=lambda: answers.append(_ask(endpoint)), daemon=True)
    asking.start()
    asking.join(HUB_PATIENCE)
    answer = answers[0] if answers else f"no answer within {HUB_PATIENCE:.0f} s"
    return Check("hub", host, "ok" if answer == "reachable" else "note", answer)


def _ask(endpoint: str) -> str:
    if urlsplit(endpoint).scheme not in ("http", "https"):
        return "not reachable (HF_ENDPOINT is no http address)"
    try:
        with urllib.request.urlopen(urllib.request.Request(endpoint, method="HEAD"), timeout=HUB_PATIENCE):  # noqa: S310 - checked
            return "reachable"
    except urllib.error.HTTPError:
        return "reachable"  # it answered
    except (OSError, ValueError) as error:
        return f"not reachable ({type(getattr(error, 'reason', error)).__name__})"


def disk(root: Path) -> Check:
    """Space for the store, and whether it can be written."""
    place = next(path for path in (root, *root.parents) if path.exists())
    free = shutil.disk_usage(place).free
    if not (place.is_dir() and os.access(place, os.W_OK | os.X_OK)):
        return Check("disk", str(root), "broken", f"{place} cannot be written; choose another with runtime.store=DIR")
    if free < FULL:
        return Check("disk", str(root), "broken", f"{size(free)} free; `python -m harness.store gc` shows what nobody needs")
    return Check("disk", str(root), "ok" if free >= LOW else "note", f"{size(free)} free")


def health(root: Path) -> Iterator[Check]:
    """Records, left-overs and sweeps of the store; payloads are not hashed (`python -m harness.store verify` does)."""
    if not root.is_dir():
        yield Check("store", str(root), "note", "not there yet; the first run makes it")
        return
    found = inventory(root)
    records, findings = readable(found)
    findings = [*findings, *unfinished(root, found), *unreadable_sweeps(root)]
    for finding in findings:
        verdict: Verdict = "note" if finding.kind == "left over" else "broken"
        yield Check("store", finding.what, verdict, f"{finding.kind}: {finding.message}")
    if not findings:
        yield Check("store", str(root), "ok", f"{len(records)} finished steps, every record readable")
