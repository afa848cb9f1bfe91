"""Line 5.6: a loopback /embeddings server of ours as an arm beside the local model it serves: equal scores."""

from __future__ import annotations

import base64
import csv
import io
import json
import subprocess
import sys
import tempfile
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from openai.types import CreateEmbeddingResponse

from harness.config import decode
from models.encoder import ModelSpec, load_encoder
from sweeps.compose import Composer
from tests.acceptance.quickstart import REPOSITORY, harness, require

ALARM = "different evaluations and equal scores on every task, item by item"  # what a sweep says of two such arms
served = 0


def handler(encoder: Any) -> type[BaseHTTPRequestHandler]:
    """An OpenAI-compatible endpoint over an encoder; every response is read by openai's own types before it leaves."""
    lock = threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_: Any) -> None:
            """Silence."""

        def do_POST(self) -> None:
            global served  # noqa: PLW0603 - counted for the premise
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            with lock:
                vectors = encoder.encode(body["input"])
                served += len(vectors)
            usage = {"prompt_tokens": len(vectors), "total_tokens": len(vectors)}
            rows = [{"object": "embedding", "index": i, "embedding": row.tolist()} for i, row in enumerate(vectors)]
            answer = {"object": "list", "model": body["model"], "data": rows, "usage": usage}
            CreateEmbeddingResponse.model_validate(answer, strict=True)
            if body["encoding_format"] == "base64":
                for row, vector in zip(rows, vectors, strict=True):
                    row["embedding"] = base64.b64encode(vector.astype("<f4").tobytes()).decode()
            data = json.dumps(answer).encode()
            self.send_response(200 if self.path == "/v1/embeddings" else 404)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

    return Handler


def main() -> None:
    """Serve the shipped decoder, run both arms, compare."""
    fields = Composer(REPOSITORY / "conf").compose(["model=tiny", "model/instruction=none"])["model"]
    http = ThreadingHTTPServer(("127.0.0.1", 0), handler(load_encoder(decode(ModelSpec, fields).encoder(), [], None, "cpu")))
    threading.Thread(target=http.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{http.server_address[1]}/v1"
    with tempfile.TemporaryDirectory(prefix="served-") as folder:
        store = Path(folder) / "store"
        done = harness(
            "-m", "model=tiny,server", "model/instruction=none", "pretrain=none", "finetune=none",
            f"runtime.endpoints=[{{model:text-embedding-3-small,url:'{url}',key_variable:null}}]", store=store, check=False,
        )  # fmt: skip
        require(done.returncode == 1 and ALARM in done.stdout, "the sweep finished, and noticed two arms with equal results")
        command = [sys.executable, "-m", "reports", "scores", str(next(store.glob("sweeps/*/*"))), "--store", str(store)]
        rows = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=True).stdout
    http.shutdown()
    scores: dict[str, dict[str, float]] = {}
    for row in csv.DictReader(io.StringIO(rows)):
        scores.setdefault(row["task"], {})[row["arm"]] = float(row["score"])
    require(served > 500 and len(scores) == 8, f"{served} texts were served for {len(scores)} tasks")
    for task, by_arm in scores.items():
        require(len(by_arm) == 2 and len(set(by_arm.values())) == 1, f"{task}: {by_arm}")


if __name__ == "__main__":
    main()
