"""Line 2.1: a clone in a new folder with an empty cache; `make sweep`, `make test`, and a second `make sweep`."""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
import tempfile
from pathlib import Path

from tests.acceptance.quickstart import REPOSITORY, data_folder, require

TRACE = "import sys, atexit; atexit.register(lambda: open({file!r}, 'a').write(' '.join(sorted(sys.modules)) + '\\n'))"


def files_of(store: Path) -> dict[str, str]:
    """Every file of a store but the sweep's own state, with its bytes' digest and time of change."""
    return {
        path.relative_to(store).as_posix(): f"{hashlib.sha256(path.read_bytes()).hexdigest()} {path.stat().st_mtime_ns}"
        for path in store.rglob("*")
        if path.is_file() and path.relative_to(store).parts[0] != "sweeps"
    }


def make(target: str, clone: Path, **environment: str) -> str:
    """`make TARGET` in the clone; everything it printed."""
    done = subprocess.run(
        ["make", target], cwd=clone, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False,
        env=os.environ | {"HARNESS_DATA": str(data_folder())} | environment,
    )  # fmt: skip
    print(done.stdout, flush=True)
    require(done.returncode == 0, f"make {target} in a fresh clone ends with 0")
    return done.stdout


def main() -> None:
    """Clone, sweep, sweep again, test."""
    with tempfile.TemporaryDirectory(prefix="fresh-") as folder:
        clone, home = Path(folder) / "clone", Path(folder) / "home"
        home.mkdir()
        subprocess.run(["git", "clone", "--quiet", str(REPOSITORY), str(clone)], check=True)
        cache = {"HF_HOME": str(home), "XDG_CACHE_HOME": str(home), "WANDB_DIR": str(home), "MTEB_CACHE": str(home)}
        first = make("sweep", clone, **cache)
        require(re.search(r"\d+ built, 0 reused", first) is not None, "the first sweep builds every step")
        before = files_of(clone / "store")
        trace = Path(folder) / "modules"
        site = next((clone / ".venv" / "lib").glob("python3*")) / "site-packages" / "zz_trace.pth"
        site.write_text(TRACE.format(file=str(trace)))
        second = make("sweep", clone, **cache)
        site.unlink()
        require(re.search(r"\b0 built, [1-9]\d* reused", second) is not None, "the second sweep builds nothing")
        modules = trace.read_text().splitlines()
        require(len(modules) >= 2, f"premise: {len(modules)} processes of the second sweep told what they imported")
        require(not any("torch" in line.split() for line in modules), "no process of the second sweep imported torch")
        require(files_of(clone / "store") == before, f"{len(before)} files of the store are untouched")
        make("test", clone, **cache)


if __name__ == "__main__":
    main()
