"""Data from a hub on the loopback: sizes first, resumed after a break, refused when it is not what was promised."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from harness.config import ConfigError
from harness.scores import read_scores
from harness.tasks import Mteb, plan_tasks
from harness.tasks.manifest import problems, read_manifest
from harness.tasks.prompts import MtebPrompts

ROOT = Path(__file__).resolve().parents[2]
REPOSITORY = "mteb/stsbenchmark-sts"
REVISION = "b0fddb56ed78048fa8b90373c8a3cfc37b684831"
ROWS = [{"sentence1": f"number {i}", "sentence2": f"number {i * i % 7}", "score": i % 6} for i in range(4000)]


@dataclass
class Hub:
    """Serves one repository; `break_after` cuts connections, `pause` slows them, `altered` lies about a file."""

    files: dict[str, bytes]
    break_after: int = 0
    pause: float = 0.0
    altered: str = ""
    ranges: list[str] = field(default_factory=list)
    served: list[str] = field(default_factory=list)
    sent: int = 0
    url: str = ""

    def describe(self) -> dict[str, Any]:
        rows = []
        for name, data in self.files.items():
            row: dict[str, Any] = {"rfilename": name, "size": len(data)}
            if name.endswith(".jsonl"):
                row["lfs"] = {"sha256": hashlib.sha256(data).hexdigest(), "size": len(data), "pointerSize": 130}
                row["blobId"] = "0" * 40
            else:
                row["blobId"] = hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()  # noqa: S324 - as git does
            rows.append(row)
        return {"id": REPOSITORY, "sha": REVISION, "siblings": rows, "private": False, "tags": [], "downloads": 0}

    def content(self, name: str) -> bytes:
        data = self.files[name]
        return data[:-2] + b"x\n" if name == self.altered else data


def handler(hub: Hub) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_: Any) -> None:
            """Silence."""

        def do_GET(self) -> None:
            path = self.path.split("?")[0]
            if path.startswith(f"/api/datasets/{REPOSITORY}/revision/{REVISION}"):
                self.answer(200, json.dumps(hub.describe()).encode(), "application/json")
            elif path.startswith(f"/datasets/{REPOSITORY}/resolve/{REVISION}/"):
                name = path.split(f"{REVISION}/")[1]
                hub.served.append(name)
                data = hub.content(name)
                wanted = self.headers.get("Range")
                start = int(wanted.removeprefix("bytes=").removesuffix("-")) if wanted else 0
                if wanted:
                    hub.ranges.append(wanted)
                self.answer(206 if wanted else 200, data[start:], "application/octet-stream")
            else:
                self.answer(404, b"{}", "application/json")

        def answer(self, status: int, data: bytes, kind: str) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(data)))
            self.send_header("Content-Type", kind)
            self.end_headers()
            breaking = hub.break_after and len(data) > hub.break_after
            for start in range(0, hub.break_after if breaking else len(data), 4096):
                self.wfile.write(data[start : start + 4096])
                hub.sent += 4096
                time.sleep(hub.pause)
            if breaking:
                hub.break_after = 0
                self.connection.close()

    return Handler


@pytest.fixture
def hub() -> Iterator[Hub]:
    data = "".join(json.dumps(row) + "\n" for row in ROWS).encode()
    hub = Hub({"test.jsonl": data, "README.md": b"# a benchmark\n", "load.py": b"raise SystemExit\n", ".gitattributes": b"x"})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler(hub))
    hub.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield hub
    server.shutdown()
    server.server_close()


def start(hub: Hub, folder: Path, *arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "harness.tasks.fetch", "local", str(folder), "--tasks", "STSBenchmark", *arguments]
    environment = {
        **os.environ,
        "HF_ENDPOINT": hub.url,
        "HF_HUB_OFFLINE": "0",
        "NO_PROXY": "127.0.0.1",
        "PYTHONPATH": str(ROOT),
    }
    return subprocess.Popen(
        command, cwd=folder.parent, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def run(hub: Hub, folder: Path, *arguments: str) -> tuple[int, str, str]:
    process = start(hub, folder, *arguments)
    out, err = process.communicate(timeout=60)
    return process.returncode, out, err


def local(*tasks: str) -> Mteb:
    return Mteb("mteb", None, tasks, (), (), {}, {}, "local", MtebPrompts("mteb"), "2.26.24")


def test_fetched_data_is_evaluated_with_the_network_off(hub: Hub, tmp_path: Path, words: Any, judge: Any) -> None:
    folder = tmp_path / "data"
    code, out, err = run(hub, folder, "--size")
    assert (code, err) == (0, "")
    assert "2 files" in out
    assert not folder.exists()

    code, out, err = run(hub, folder)
    assert (code, err) == (0, "")
    assert {path.name for path in (folder / REPOSITORY).rglob("*")} == {"test.jsonl", "README.md"}
    (spec,) = plan_tasks(local("STSBenchmark"), str(folder))
    (row,) = read_scores(judge(spec, words, data=str(folder)) / "scores.json").subsets
    assert row.n_items == len(ROWS)

    served = list(hub.served)
    assert sorted(served) == ["README.md", "test.jsonl"]
    code, out, err = run(hub, folder)
    assert code == 0
    assert "0.0 MB fetched" in out
    assert hub.served == served, "only the description was asked for again"


def test_a_broken_connection_is_continued(hub: Hub, tmp_path: Path) -> None:
    folder, hub.break_after = tmp_path / "data", 40_960
    code, _, err = run(hub, folder)

    assert code == 1
    assert "test.jsonl" in err
    assert "continues here" in err
    assert read_manifest(folder, REPOSITORY) is None
    assert run(hub, folder)[0] == 0
    assert len(hub.ranges) == 1
    assert int(hub.ranges[0].removeprefix("bytes=").removesuffix("-")) > 0
    assert (folder / REPOSITORY / "test.jsonl").read_bytes() == hub.files["test.jsonl"]


def test_a_killed_fetch_is_continued(hub: Hub, tmp_path: Path) -> None:
    folder, hub.pause = tmp_path / "data", 0.05
    process = start(hub, folder)
    partial = folder / REPOSITORY / "test.jsonl.part"
    for _ in range(400):
        if partial.exists() and hub.sent > 50_000:
            break
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert partial.exists()

    hub.pause = 0.0
    assert run(hub, folder)[0] == 0
    assert not partial.exists()
    assert (folder / REPOSITORY / "test.jsonl").read_bytes() == hub.files["test.jsonl"]


@pytest.mark.parametrize("name", ["test.jsonl", "README.md"])
def test_a_file_that_is_not_what_was_promised_is_refused(name: str, hub: Hub, tmp_path: Path) -> None:
    """Large files by their SHA-256, small ones by git's hash."""
    folder, hub.altered = tmp_path / "data", name
    code, _, err = run(hub, folder)

    assert code == 1
    assert f"{name} is not what the hub describes" in err
    assert not (folder / REPOSITORY / name).exists()
    assert read_manifest(folder, REPOSITORY) is None


def test_missing_files_and_other_revisions_are_named_before_evaluation(hub: Hub, tmp_path: Path) -> None:
    folder = tmp_path / "data"
    assert run(hub, folder)[0] == 0
    (folder / REPOSITORY / "test.jsonl").unlink()
    with pytest.raises(ConfigError, match=r"STSBenchmark.*test\.jsonl is missing; fetch"):
        plan_tasks(local("STSBenchmark"), str(folder))

    (message,) = problems(folder, REPOSITORY, "another")
    assert f"is at revision {REVISION}, mteb asks for another" in message
    assert run(hub, folder)[0] == 0
    (folder / REPOSITORY / "test.jsonl").write_bytes(b"{}\n")
    with pytest.raises(ConfigError, match=r"has 3 bytes, the hub's has \d+"):
        plan_tasks(local("STSBenchmark"), str(folder))


def test_what_cannot_be_planned_or_reached_says_so(hub: Hub, tmp_path: Path) -> None:
    folder = tmp_path / "data"
    command = [sys.executable, "-m", "harness.tasks.fetch"]
    unknown = subprocess.run([*command, "mteb_eng_v3", str(folder)], cwd=ROOT, capture_output=True, text=True, check=False)
    assert unknown.returncode == 2
    assert "did you mean 'mteb_eng_v" in unknown.stderr

    hub.url = "http://127.0.0.1:9"
    code, _, err = run(hub, folder)
    assert code == 1
    assert f"{REPOSITORY} at {REVISION}" in err
    assert "Traceback" not in err
