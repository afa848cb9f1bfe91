"""Exact top-1000 over a corpus of vectors: our streamed search against mteb's, interleaved, one thread, CPU seconds.

    python tests/benchmarks/search.py [--documents 100000] [--queries 300] [--dimensions 384]

Both are given ready vectors, so that nothing but searching is timed. The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import time
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np

from harness.search import nearest_rows
from harness.tasks.isolate import isolated

BLOCK, TOP = 50_000, 1000


def theirs(queries: Any, corpus: Any, names: Any) -> dict[str, list[tuple[float, str]]]:
    """Search of mteb without its encoder: the chunk's vectors are looked up by the rows of the loader's data set."""
    from mteb.models.search_wrappers import chunked_full_corpus_search
    from mteb.similarity_functions import cos_sim

    def rows(loader: Any, **_: Any) -> Any:
        start = int(loader.dataset[0]["id"])
        return corpus[start : start + len(loader.dataset)]

    import mteb

    found: dict[str, list[tuple[float, str]]] = chunked_full_corpus_search(
        task_corpus=names, corpus_chunk_size=BLOCK, query_idx_to_id={i: str(i) for i in range(len(queries))},
        query_embeddings=queries, task_metadata=mteb.get_task("SciFact").metadata, hf_subset="default", hf_split="test",
        top_k=TOP, encode_kwargs={"show_progress_bar": False}, encode_fn=rows, similarity_fn=cos_sim, search_k_offset=1,
    )  # fmt: skip
    return found


def main() -> None:
    """Time both three times, one after the other, and compare what they found."""
    parser = argparse.ArgumentParser()
    for name, value in (("documents", 100_000), ("queries", 300), ("dimensions", 384), ("rounds", 3)):
        parser.add_argument(f"--{name}", type=int, default=value)
    options = parser.parse_args()
    generator = np.random.default_rng(0)
    corpus = generator.normal(size=(options.documents, options.dimensions)).astype(np.float32)
    queries = generator.normal(size=(options.queries, options.dimensions)).astype(np.float32)
    ours_times, their_times = [], []
    with isolated("2.26.24", offline=True):
        import torch
        from datasets import Dataset

        torch.set_num_threads(1)
        names = Dataset.from_dict({"id": [str(i) for i in range(options.documents)], "text": ["x"] * options.documents})
        for _ in range(options.rounds):
            start = time.process_time()
            found = nearest_rows(queries, (corpus[i : i + BLOCK] for i in range(0, len(corpus), BLOCK)), TOP)
            middle = time.process_time()
            peer = theirs(queries, corpus, names)
            ours_times.append(middle - start)
            their_times.append(time.process_time() - middle)
    same = [len({str(row) for row in rows} & {name for _, name in peer[str(i)]}) / TOP for i, rows in enumerate(found.rows)]
    ours, theirs_ = statistics.median(ours_times), statistics.median(their_times)
    print(f"documents in common: {100 * statistics.mean(same):.3f} %")
    row = {"name": "search", "ours": ours, "peer": theirs_, "ratio": theirs_ / ours, "unit": "CPU s", **vars(options)}
    print(json.dumps(row))


if __name__ == "__main__":
    main()
