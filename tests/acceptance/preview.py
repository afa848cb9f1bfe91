"""Line 3.4: what a preview foretold against the records of the finished quickstart.

    python -m tests.acceptance.preview [STORE]

From an empty store: requests, texts, training steps and numbers of steps must come out equal. After the baseline alone, whose
runs measure this machine and build the pools: tokens within 10 %, the time of all other arms within 30 %. With a STORE
it is used and kept; one that holds a finished baseline is taken up there.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from sweeps import run as engine
from sweeps.ablation import named
from sweeps.compose import Composer
from sweeps.cost import Cost
from sweeps.preview import Foretold, foretell
from sweeps.run import Planned, plan_sweep
from sweeps.spec import Composed
from tests.acceptance.quickstart import REPOSITORY, harness, require

TOKENS, TIME = 0.10, 0.30
COUNTED = ("requests", "training_steps", "texts")


def planned(store: Path, *control: str) -> Planned:
    """The quickstart on a store, as the front door plans it."""
    engine._conf = REPOSITORY / "conf"
    runtime = [f"runtime.store={store}", "runtime.tracker=disabled"]
    composer = Composer(REPOSITORY / "conf")
    ablation = named(composer.compose(["sweep=quickstart"])["sweep"], runtime)
    if control:
        ablation = ablation.only(control)
    return plan_sweep("quickstart", ablation, Composed.of(composer.compose(runtime)).decode_runtime())


def recorded(store: Path, keys: set[str]) -> dict[str, float]:
    """The same figures out of the records of these steps."""
    found: Counter[str] = Counter()
    for key in sorted(keys):
        payload, measured = store / key / "payload", json.loads((store / key / "measured.json").read_text())
        kind = key.split("/", 1)[0]
        if kind == "synthesize":
            found["requests"] += len((payload / "answers.jsonl").read_text().splitlines())
        elif kind in ("pretrain", "finetune"):
            training = json.loads((payload / "training.json").read_text())
            found["training_steps"] += training["steps"]
            found["training_tokens"] += training["tokens"]
        elif kind == "evaluate":
            found["texts"] += measured["texts_asked"]
    return dict(found)


def counts(cost: Cost) -> dict[str, float]:
    """What must be equal."""
    return {name: getattr(cost, name).known for name in COUNTED}


def told(store: Path, arguments: tuple[str, ...]) -> str:
    """What the command prints."""
    return harness("-m", "sweep=quickstart", "preview=true", *arguments, store=store).stdout


def near(name: str, foretold: float, found: float, tolerance: float) -> None:
    """Print both and hold them to a relative tolerance."""
    off = foretold / found - 1
    require(
        abs(off) <= tolerance, f"{name}: foretold {foretold:,.0f}, recorded {found:,.0f} ({off:+.1%}, at most {tolerance:.0%})"
    )


def main() -> None:
    """Preview, build, compare."""
    with tempfile.TemporaryDirectory(prefix="preview-") as folder:
        store = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(folder) / "store"
        compare(store, Path(folder) / "empty")


def compare(store: Path, nothing: Path) -> None:
    """The claims, on one store; `nothing` is a place without any step."""
    printed = told(nothing, ())
    empty = foretell(planned(nothing))
    require(
        "1,164" in printed and empty.total.requests.known == 1164, "the preview's table shows the request count it computed"
    )
    require(empty.total.seconds.unknown == len(empty.missing), "on an empty store every time is unknown, and said so")
    harness("-m", "sweep=quickstart", "only=[baseline]", store=store)
    told(store, ())
    rest = foretell(planned(store))
    wall = build(store)
    check(store, empty, rest, wall)


def build(store: Path) -> float:
    """Run the rest; seconds from the first step's start to the last one's end, as the records have it."""
    before = {path.parent for path in store.glob("*/*/measured.json")}
    started = time.time()
    harness("-m", "sweep=quickstart", store=store)
    fresh = [json.loads(path.read_text()) for path in store.glob("*/*/measured.json") if path.parent not in before]
    require(bool(fresh), "the second sitting built the other arms")
    spans = [(row["started"], row["started"] + row["seconds"]) for row in fresh]
    first, last = min(span[0] for span in spans), max(span[1] for span in spans)
    print(f"{time.time() - started:.0f} s for the command, {last - first:.0f} s of them from the first step to the last")
    return float(last - first)


def check(store: Path, empty: Foretold, rest: Foretold, wall: float) -> None:
    """Foretold against recorded."""
    keys = set(empty.graph.nodes)
    found = recorded(store, keys)
    for name, value in counts(empty.total).items():
        require(value == found[name], f"{name}: foretold {value:,.0f} from an empty store, recorded {found[name]:,.0f}")
    kinds = Counter(key.split("/", 1)[0] for key in empty.missing)
    require(kinds == Counter(key.split("/", 1)[0] for key in keys if (store / key / "record.json").is_file()),
            f"steps by kind: {dict(kinds)}")  # fmt: skip
    built = recorded(store, set(rest.missing))
    near("training tokens", rest.total.training_tokens.known, built["training_tokens"], TOKENS)
    require(rest.total.seconds.unknown == 0, "after the baseline nothing is unknown")
    near("seconds", rest.wall, wall, TIME)


if __name__ == "__main__":
    main()
