"""A served model scores as the local one; a server that errs is retried or named, never turned into a number."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import numpy as np
import pytest

from harness import server
from harness.runtime import Endpoint
from harness.scores import read_scores
from harness.server import ServerEncoder, ServerError, ServerSpec
from harness.tasks import TaskSpec

SPEC = ServerSpec("server", "words", "1", None)


def at(url: str) -> Endpoint:
    return Endpoint("words", url, "OPENAI_API_KEY")


@dataclass
class Service:
    """An embeddings server on the loopback, its faults by request number."""

    encoder: Any
    encoding: str = "base64"
    faults: dict[int, tuple[int, dict[str, str]]] = field(default_factory=dict)
    twist: str = ""
    bodies: list[dict[str, Any]] = field(default_factory=list)
    keys: list[str | None] = field(default_factory=list)
    address: str = ""

    def answer(self, texts: list[str]) -> dict[str, Any]:
        vectors = self.encoder.encode(texts)
        if self.twist == "nan":
            vectors[0, 0] = np.nan
        rows = [{"object": "embedding", "index": i, "embedding": self.coded(row)} for i, row in enumerate(vectors)]
        rows = rows[:-1] if self.twist == "short" else rows[::-1]
        usage = {"prompt_tokens": 3 * len(texts), "total_tokens": 3 * len(texts)}
        return {"object": "list", "model": "words", "data": rows, "usage": usage}

    def coded(self, row: np.ndarray) -> Any:
        return base64.b64encode(row.astype("<f4").tobytes()).decode() if self.encoding == "base64" else row.tolist()


def handler(service: Service) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_: Any) -> None:
            """Silence."""

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            number = len(service.bodies)
            service.bodies.append(body)
            service.keys.append(self.headers.get("Authorization"))
            status, headers = service.faults.get(number, (200, {}))
            data = json.dumps(service.answer(body["input"])).encode() if status == 200 else b'{"error": "busy"}'
            data = b"<html>" if service.twist == "html" else data
            self.send_response(status)
            for name, value in {**headers, "Content-Length": str(len(data))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(data)

    return Handler


@pytest.fixture
def service(words: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Service]:
    monkeypatch.setattr(server, "FIRST_WAIT", 0.001)
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    service = Service(words)
    http = ThreadingHTTPServer(("127.0.0.1", 0), handler(service))
    service.address = f"http://127.0.0.1:{http.server_address[1]}/v1"
    threading.Thread(target=http.serve_forever, daemon=True).start()
    yield service
    http.shutdown()
    http.server_close()


@pytest.mark.parametrize("encoding", ["base64", "float"])
@pytest.mark.parametrize("name", ["QuickSTS", "QuickReranking", "QuickClassification"])
def test_a_served_model_scores_as_the_local_one(
    name: str, encoding: str, service: Service, words: Any, quick_specs: dict[str, TaskSpec], judge: Any
) -> None:
    service.encoding = encoding
    remote = ServerEncoder(SPEC, at(service.address), batch=7)
    served = read_scores(judge(quick_specs[name], remote) / "scores.json")

    assert served == read_scores(judge(quick_specs[name], words) / "scores.json")
    assert len(service.bodies) > 10
    assert remote.counts.tokens > 0


def test_responses_of_this_server_are_openai_s(service: Service, words: Any) -> None:
    """Premise: the loopback server speaks the protocol. Base64 is decoded by openai's client before its types see it."""
    types = pytest.importorskip("openai.types")
    service.encoding = "float"
    plain = types.CreateEmbeddingResponse.model_validate(service.answer(["a", "b"]))
    service.encoding = "base64"
    coded = service.answer(["a", "b"])["data"]
    decoded = [np.frombuffer(base64.b64decode(row["embedding"]), dtype="float32") for row in coded]

    assert [row.index for row in plain.data] == [1, 0]
    assert np.allclose(np.stack(decoded), [row.embedding for row in plain.data], atol=1e-7)
    assert np.array_equal(np.stack(decoded), words.encode(["b", "a"]))


def test_rows_keep_their_order_and_texts_are_sent_once(service: Service, words: Any) -> None:
    texts = [f"text {i % 10}" for i in range(35)]
    found = ServerEncoder(SPEC, at(service.address + "/"), batch=3, parallel=5).encode(texts)

    assert np.array_equal(found, words.encode(texts))
    assert sorted(text for body in service.bodies for text in body["input"]) == sorted(set(texts))


def test_busy_servers_are_asked_again(service: Service, words: Any) -> None:
    service.faults = {0: (429, {"Retry-After": "0.01"}), 1: (503, {}), 2: (500, {})}
    found = ServerEncoder(SPEC, at(service.address), parallel=1).encode(["a"])

    assert np.array_equal(found, words.encode(["a"]))
    assert len(service.bodies) == 4


@pytest.mark.parametrize(
    ("twist", "message"),
    [("short", "1 vectors for 2 texts"), ("nan", "not finite"), ("html", "not JSON")],
)
def test_wrong_answers_are_refused(twist: str, message: str, service: Service) -> None:
    service.twist = twist
    with pytest.raises(ServerError, match=message):
        ServerEncoder(SPEC, at(service.address)).encode(["a", "b"])


def test_refusals_and_absence_name_the_address_and_never_the_key(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-very-secret")
    service.faults = {0: (401, {})}
    with pytest.raises(ServerError, match=r"/v1/embeddings: 401") as refused:
        ServerEncoder(SPEC, at(service.address)).encode(["a"])
    with pytest.raises(ServerError, match="is the server running") as absent:
        ServerEncoder(SPEC, at("http://127.0.0.1:9/v1")).encode(["a"])

    assert service.keys == ["Bearer sk-very-secret"]
    assert "secret" not in str(refused.value) + str(absent.value)


def test_what_is_believed_of_the_server_is_its_identity(service: Service) -> None:
    specs = [SPEC, ServerSpec("server", "words", "2", None), ServerSpec("server", "words", "1", 16)]

    assert len({ServerEncoder(spec, at(service.address)).identity for spec in specs}) == 3
    assert ServerEncoder(SPEC, at(service.address)).identity == ServerEncoder(SPEC, at("http://elsewhere/v1")).identity
    ServerEncoder(specs[2], at(service.address)).encode(["a"])
    assert service.bodies[-1]["dimensions"] == 16
