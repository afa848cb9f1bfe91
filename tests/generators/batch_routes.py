"""The files and batches of the faulty server: what OpenAI's Batch API says, in an order of its own, and sometimes less.

A batch moves on by one state whenever somebody looks. Faults, as shares of batches: `expire` (half of its lines are answered),
`fail` (refused as a whole), `garbage` (lines that are no JSON, that repeat an answer, or that nobody asked for).
"""

import json
import time
from collections.abc import Callable, Mapping
from email.parser import BytesParser
from typing import Any

STATES = ("validating", "in_progress", "finalizing")


class Batches:
    def __init__(
        self, answer: Callable[[dict], tuple[int, dict]], fraction: Callable[..., float], faults: Mapping[str, float]
    ) -> None:
        self._answer, self._fraction, self._faults = answer, fraction, faults
        self._contents: dict[str, bytes] = {}
        self._files: dict[str, dict[str, Any]] = {}
        self._batches: dict[str, dict[str, Any]] = {}
        self._looks: dict[str, int] = {}

    def answer(self, method: str, path: str, kind: str, body: bytes) -> bytes | None:
        """The body of a reply, or None for an unknown name."""
        parts = path.partition("?")[0].removeprefix("/v1/").split("/")
        held = self._files if parts[0] == "files" else self._batches
        if len(parts) == 1 and method == "GET":
            return json.dumps({"object": "list", "data": list(held.values())[::-1], "has_more": False}).encode()
        if len(parts) == 1:
            return json.dumps(self._upload(kind, body) if held is self._files else self._create(json.loads(body))).encode()
        if parts[1] not in held:
            return None
        if parts[-1] == "content":
            return self._contents[parts[1]]
        return json.dumps(self._look(parts[1]) if held is self._batches else held[parts[1]]).encode()

    def _upload(self, kind: str, body: bytes) -> dict[str, Any]:
        message = BytesParser().parsebytes(b"content-type: " + kind.encode() + b"\r\n\r\n" + body)
        part = next(part for part in message.walk() if part.get_filename())
        return self._file(str(part.get_filename()), part.get_payload(decode=True), "batch")  # type: ignore[arg-type]

    def _file(self, name: str, content: bytes, purpose: str) -> dict[str, Any]:
        key = f"file-{len(self._files)}"
        self._contents[key] = content
        self._files[key] = {
            "id": key, "object": "file", "bytes": len(content), "created_at": int(time.time()), "filename": name,
            "purpose": purpose, "status": "processed",
        }  # fmt: skip
        return self._files[key]

    def _create(self, asked: dict[str, Any]) -> dict[str, Any]:
        key = f"batch_{len(self._batches)}"
        self._batches[key] = {
            "id": key, "object": "batch", "endpoint": asked["endpoint"], "input_file_id": asked["input_file_id"],
            "completion_window": asked["completion_window"], "metadata": asked.get("metadata"), "status": "validating",
            "created_at": int(time.time()), "errors": None, "output_file_id": None, "error_file_id": None,
            "request_counts": {"total": 0, "completed": 0, "failed": 0},
        }  # fmt: skip
        self._looks[key] = 0
        return self._batches[key]

    def _look(self, key: str) -> dict[str, Any]:
        batch = self._batches[key]
        self._looks[key] += 1
        if self._looks[key] <= len(STATES):
            batch["status"] = STATES[self._looks[key] - 1]
        elif batch["status"] in STATES:
            self._end(key, batch)
        return batch

    def _end(self, key: str, batch: dict[str, Any]) -> None:
        rows = [json.loads(line) for line in self._contents[batch["input_file_id"]].splitlines()]
        place = self._fraction(batch["input_file_id"])
        if place < self._faults.get("fail", 0.0):
            error = {"code": "token_limit_exceeded", "message": "too many tokens wait", "line": None, "param": None}
            batch |= {"status": "failed", "errors": {"object": "list", "data": [error]}}
            return
        expired = place < self._faults.get("fail", 0.0) + self._faults.get("expire", 0.0)
        rows.sort(key=lambda row: self._fraction(key, row["custom_id"]))
        kept = rows[: len(rows) // 2] if expired else rows
        good, bad = [], []
        for row in kept:
            status, body = self._answer(row["body"])
            response = {"status_code": status, "request_id": "r", "body": body}
            line = {"id": "b", "custom_id": row["custom_id"], "response": response, "error": None}
            (good if status == 200 else bad).append(json.dumps(line))
        late = {"code": "batch_expired", "message": "This request could not be executed before the completion window expired."}
        bad += [
            json.dumps({"id": "b", "custom_id": row["custom_id"], "response": None, "error": late}) for row in rows[len(kept) :]
        ]
        if self._fraction("garbage", key) < self._faults.get("garbage", 0.0):
            good = [*good[:1], "{not json", '{"custom_id": 3}', *good]
        batch |= {
            "status": "expired" if expired else "completed",
            "output_file_id": self._file("out.jsonl", "\n".join(good).encode(), "batch_output")["id"] if good else None,
            "error_file_id": self._file("err.jsonl", "\n".join(bad).encode(), "batch_output")["id"] if bad else None,
            "request_counts": {"total": len(rows), "completed": len(good), "failed": len(bad)},
        }
