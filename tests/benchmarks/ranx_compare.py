"""What ranx needs to compare 12 runs of one task: run by `reports_table.py` with a Python that has ranx (its own environment).

Every run ranks ten documents for each query; the second comparison is timed, when everything is compiled. Prints one JSON
line: seconds with ranx's randomisation test (its default) and with its t test.

    python -m venv /tmp/ranx && /tmp/ranx/bin/pip install ranx
    /tmp/ranx/bin/python tests/benchmarks/ranx_compare.py 12 2000
"""

from __future__ import annotations

import json
import random
import sys
import time

from ranx import Qrels, Run, compare  # type: ignore[import-not-found]


def timed(arms: int, queries: int, test: str) -> float:
    """Seconds of one comparison of runs whose relevant document stands at a random place."""
    rng = random.Random(0)
    qrels = Qrels({f"q{q}": {"d0": 1} for q in range(queries)})
    seconds = 0.0
    for _ in range(2):
        runs = [
            Run({f"q{q}": {f"d{d}": rng.random() for d in range(10)} for q in range(queries)}, name=f"arm{arm}")
            for arm in range(arms)
        ]
        started = time.perf_counter()
        compare(qrels, runs=runs, metrics=["ndcg@10"], stat_test=test, max_p=0.05)
        seconds = time.perf_counter() - started
    return seconds


if __name__ == "__main__":
    shape = int(sys.argv[1]), int(sys.argv[2])
    print(json.dumps({test: timed(*shape, test) for test in ("fisher", "student")}))
