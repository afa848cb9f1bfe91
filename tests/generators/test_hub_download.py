"""A labelled set from a hub on the loopback, through the hub's own client: asked for, fetched once, found in the cache."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
ID, REVISION = "us/own", "0123456789abcdef0123456789abcdef01234567"
FILES = {
    "train-0.jsonl": b'{"q": "a", "p": "b", "n": ["c"]}\n{"q": "d", "p": "e", "n": []}\n',
    "train-1.jsonl": b'{"q": "f", "p": "g", "n": ["h", "i"]}\n',
    "test.jsonl": b'{"q": "not", "p": "wanted", "n": []}\n',
    "load.py": b"raise SystemExit\n",
}
SCRIPT = f"""
import json, sys
from generators.hub_sets import HubSet
each = HubSet("hub", "own", {ID!r}, sys.argv[1], {{"English": "train-*.jsonl"}}, "q", "p", ("n",), 1.0, "Find it", "short_long")
problem = each.problem(None)
pairs = [] if problem else [[pair.query, pair.positive, *pair.negatives] for pair in each.read(None, 1)]
print(json.dumps([problem, pairs]))
"""


@dataclass
class Hub:
    """What was asked of it; `closed`: it knows us and lets us read nothing."""

    url: str = ""
    closed: bool = False
    asked: list[str] = field(default_factory=list)


def reply(path: str) -> tuple[int, bytes, dict[str, str]]:
    """What a hub answers: status, body, headers."""
    name = path.rsplit("/", 1)[-1]
    as_json = {"Content-Type": "application/json"}
    if path == f"/api/datasets/{ID}/revision/{REVISION}":
        told = {"id": ID, "sha": REVISION, "siblings": [{"rfilename": one} for one in FILES], "private": False, "downloads": 0}
        return 200, json.dumps(told).encode(), as_json
    if path == f"/api/datasets/{ID}/tree/{REVISION}":
        rows = [{"type": "file", "path": one, "size": len(data), "oid": "0" * 40} for one, data in FILES.items()]
        return 200, json.dumps(rows).encode(), as_json
    if path == f"/datasets/{ID}/resolve/{REVISION}/{name}" and name in FILES:
        etag = hashlib.sha256(FILES[name]).hexdigest()
        return 200, FILES[name], {"ETag": f'"{etag}"', "X-Repo-Commit": REVISION}
    return 404, b"{}", {"X-Error-Code": "RevisionNotFound"}


def handler(hub: Hub) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_: Any) -> None:
            """Silence."""

        def do_HEAD(self) -> None:
            self.serve(body=False)

        def do_GET(self) -> None:
            self.serve(body=True)

        def serve(self, *, body: bool) -> None:
            path = self.path.split("?")[0]
            hub.asked.append(f"{self.command} {path}")
            status, data, headers = (403, b"{}", {"X-Error-Code": "GatedRepo"}) if hub.closed else reply(path)
            self.send_response(status)
            for header, value in {"Content-Length": str(len(data)), **headers}.items():
                self.send_header(header, value)
            self.end_headers()
            if body:
                self.wfile.write(data)

    return Handler


@pytest.fixture
def hub() -> Iterator[Hub]:
    found = Hub()
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler(found))
    found.url = f"http://127.0.0.1:{server.server_address[1]}"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield found
    server.shutdown()
    server.server_close()


def ask(hub: Hub, home: Path, revision: str = REVISION, *, offline: bool = False) -> tuple[str | None, list[list[str]]]:
    """The problem a fresh process finds, and the pairs it reads."""
    environment = os.environ | {
        "HF_ENDPOINT": hub.url, "HF_HOME": str(home), "HF_HUB_OFFLINE": "1" if offline else "0", "NO_PROXY": "127.0.0.1",
        "HF_HUB_DISABLE_XET": "1", "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    }  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, revision], capture_output=True, text=True, cwd=REPOSITORY, env=environment, timeout=60,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    problem, pairs = json.loads(done.stdout)
    return problem, pairs


def test_a_set_is_fetched_once_its_own_files_alone_and_found_again_without_the_hub(hub: Hub, tmp_path: Path) -> None:
    first = ask(hub, tmp_path)
    fetched = {line.rsplit("/", 1)[-1] for line in hub.asked if line.startswith("GET /datasets")}
    hub.asked.clear()
    again = ask(hub, tmp_path, offline=True)

    assert first == again == (None, [["a", "b", "c"], ["d", "e"], ["f", "g", "h"]])
    assert fetched == {"train-0.jsonl", "train-1.jsonl"}
    assert hub.asked == []


def test_looking_downloads_nothing_and_names_what_is_refused(hub: Hub, tmp_path: Path) -> None:
    gone, _ = ask(hub, tmp_path, "f" * 40)
    hub.closed = True
    closed, _ = ask(hub, tmp_path)
    off, _ = ask(hub, tmp_path, offline=True)

    assert gone is not None
    assert "ffffffffffff is neither in runtime.sources/us/own" in gone
    assert "RevisionNotFoundError" in gone
    assert closed is not None
    assert "GatedRepoError" in closed
    assert off is not None
    assert "OfflineModeIsEnabled" in off
    assert not any(line.startswith("GET /datasets") for line in hub.asked)
