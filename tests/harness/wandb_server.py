"""A stand-in for a W&B server on loopback: takes what `wandb sync` and online runs send, and gives summaries back.

It speaks as much GraphQL as wandb 0.31 asks for. `lossy` drops one value of every summary, as a server that lost it would;
`silent` answers the first question and nothing after it.
"""

from __future__ import annotations

import gzip
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class FakeServer(ThreadingHTTPServer):
    """Runs by id, as received."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.runs: dict[str, dict[str, Any]] = {}
        self.summaries: dict[str, dict[str, Any]] = {}
        self.history: dict[str, list[dict[str, Any]]] = {}
        self.reports: list[dict[str, Any]] = []
        self.probes = 0
        self.lossy = ""
        self.silent = False

    @property
    def address(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.server_address[1]}"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that hangs up is no event."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: FakeServer

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the name is http.server's
        """Quiet."""

    def do_GET(self) -> None:
        """The probe, and whatever else is asked."""
        self.server.probes += self.path == "/healthz"
        self._reply({})

    def do_PUT(self) -> None:
        """Files of a run: not kept."""
        self._body()
        self._reply({})

    def do_POST(self) -> None:
        """File streams and GraphQL."""
        body = self._body()
        if self.server.silent:
            threading.Event().wait(60)
        stream = re.fullmatch(r"/files/[^/]+/[^/]+/([^/]+)/file_stream", self.path)
        if stream:
            self._stream(stream.group(1), json.loads(body)["files"] if b'"files"' in body else {})
            self._reply({})
        elif self.path == "/graphql":
            asked = json.loads(body)
            self._reply({"data": self._answer(asked["query"], asked.get("variables") or {})})
        else:
            self._reply({})

    def _stream(self, run: str, files: dict[str, Any]) -> None:
        for row in files.get("wandb-history.jsonl", {}).get("content", []):
            self.server.history.setdefault(run, []).append(json.loads(row))
        for text in files.get("wandb-summary.json", {}).get("content", []):
            self.server.summaries[run] = json.loads(text)

    def _answer(self, query: str, asked: dict[str, Any]) -> dict[str, Any]:
        """By the name of the operation, as wandb writes it."""
        known = {
            "UpsertBucket": self._upsert, "CreateRunFiles": self._files, "Run": self._run_asked, "upsertView": self._report,
            "ProjectInternalId": lambda _: {"project": {"id": "P", "internalId": "1"}}, "GetProjects": self._projects,
        }  # fmt: skip
        operation = re.search(r"(?:query|mutation)\s+(\w+)", query)
        if operation and operation.group(1) in known:
            return known[operation.group(1)](asked)
        if "viewer" in query:
            return {"viewer": {"id": "V", "entity": "team", "username": "u", "flags": "{}", "teams": {"edges": []}}}
        return {"serverInfo": {"cliVersionInfo": {"max_cli_version": "9"}, "features": []}}

    def _upsert(self, asked: dict[str, Any]) -> dict[str, Any]:
        run = asked["name"]
        self.server.runs.setdefault(run, {}).update({key: value for key, value in asked.items() if value is not None})
        project = {"id": "P", "name": asked.get("project") or "p", "entity": {"id": "E", "name": "team"}}
        bucket = {"id": run, "name": run, "displayName": asked.get("displayName"), "config": "{}", "project": project}
        return {"upsertBucket": {"bucket": bucket | {"historyLineCount": 0}, "inserted": True}}

    def _files(self, asked: dict[str, Any]) -> dict[str, Any]:
        files = [{"name": name, "uploadUrl": f"{self.server.address}/upload"} for name in asked["files"]]
        return {"createRunFiles": {"runID": asked["run"], "uploadHeaders": [], "files": files}}

    def _run_asked(self, asked: dict[str, Any]) -> dict[str, Any]:
        return {"project": {"internalId": "1", "run": self._run(asked["name"])}}

    def _projects(self, asked: dict[str, Any]) -> dict[str, Any]:
        node = {"__typename": "Project", "id": "P", "name": "test", "entityName": "team", "isBenchmark": False}
        page = {"__typename": "PageInfo", "endCursor": None, "hasNextPage": False}
        edges = [{"node": node | {"createdAt": "2026-01-01T00:00:00", "user": None}}]
        return {"models": {"pageInfo": page, "edges": edges}}

    def _report(self, asked: dict[str, Any]) -> dict[str, Any]:
        self.server.reports.append(asked)
        view = {"id": "Vmlldzox", "type": "runs/draft", "name": "r", "displayName": asked.get("displayName"), "spec": "{}"}
        return {"upsertView": {"view": view, "inserted": True}}

    def _run(self, run: str) -> dict[str, Any]:
        summary = {name: value for name, value in self.server.summaries.get(run, {}).items() if name != self.server.lossy}
        names = ("sweepName", "group", "jobType", "commit", "description", "notes", "historyKeys")
        return dict.fromkeys(names) | {
            "id": run, "name": run, "displayName": run, "tags": [], "state": "finished", "config": "{}", "readOnly": False,
            "createdAt": "2026-01-01T00:00:00", "heartbeatAt": "2026-01-01T00:00:00", "systemMetrics": "{}",
            "summaryMetrics": json.dumps(summary), "historyLineCount": 1, "user": {"name": "u", "username": "u"},
            "projectId": "1",
        }  # fmt: skip

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") == "chunked":
            data = b""
            while size := int(self.rfile.readline().strip() or b"0", 16):
                data += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
        else:
            data = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        return gzip.decompress(data) if self.headers.get("Content-Encoding") == "gzip" else data

    def _reply(self, answer: Any) -> None:
        data = json.dumps(answer).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


@contextmanager
def fake_server() -> Iterator[FakeServer]:
    """A server that runs as long as the block."""
    with FakeServer() as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield server
        finally:
            server.shutdown()
