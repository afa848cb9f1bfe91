"""A chat-completions server in a process of its own that misbehaves on purpose.

    python faulty_server.py LOG SEED LATENCY FAULT=SHARE ...

Prints its port. Good replies depend on the prompt alone. Which request meets which fault depends on SEED, the prompt and
how often it was asked.

LOG gets one line a request: what was asked, what was done, what it costs and when. It is billed when it is asked, whoever
hears the answer, in billionths, at 2 and 8 a million tokens.
"""

import asyncio
import hashlib
import json
import re
import sys
import time
from collections import Counter
from pathlib import Path

from batch_routes import Batches

LOG, SEED, LATENCY = Path(sys.argv[1]).open("a", buffering=1), sys.argv[2], float(sys.argv[3])  # noqa: SIM115
FAULTS = {name: float(share) for name, share in (word.split("=") for word in sys.argv[4:])}
ASKED: Counter[str] = Counter()
BATCH_FAULTS = {name: FAULTS.pop(name) for name in ("expire", "fail", "garbage") if name in FAULTS}


def fraction(*parts: object) -> float:
    return int.from_bytes(hashlib.sha256(repr(parts).encode()).digest()[:8], "big") / 2**64


def content(prompt: str) -> str:
    name = hashlib.sha256(prompt.encode()).hexdigest()[:8]
    if "JSON list" in prompt:
        return json.dumps([f"Given a matter of {name}, find remark number {n}." for n in range(20)])
    keys = re.findall(r'^- "(\w+)": a string', prompt, re.MULTILINE)
    return json.dumps(
        {key: " ".join(hashlib.sha256(f"{name}{key}{i}".encode()).hexdigest()[:7] for i in range(30)) for key in keys}
    )


def completion(request: dict, usage: dict | None) -> dict:
    prompt = request["messages"][-1]["content"]
    text = content(prompt)
    tokens = {"prompt_tokens": len(prompt) // 4, "completion_tokens": len(text) // 4}
    tokens["total_tokens"] = sum(tokens.values())
    return {
        "id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": request["model"] + "-0101",
        "choices": [{"index": 0, "finish_reason": "stop", "logprobs": None,
                     "message": {"role": "assistant", "content": text, "refusal": None}}],
        "usage": tokens if usage is None else usage,
    }  # fmt: skip


def head(status: str, length: int, extra: str = "") -> bytes:
    return f"HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n{extra}\r\n".encode()


def error(status: str, message: str, code: str | None, extra: str = "") -> bytes:
    body = json.dumps({"error": {"message": message, "type": "error", "param": None, "code": code}}).encode()
    return head(status, len(body), extra) + body


def reply(fault: str, request: dict, key: str) -> bytes:
    """The bytes of an answer; `reset`, `stall` and `huge` are completed by the caller."""
    good = completion(request, None)
    if fault == "wrong_usage":
        good["usage"] = {"prompt_tokens": 10**9, "completion_tokens": -5, "total_tokens": 1}
    if fault == "no_usage":
        good["usage"] = None
    if fault == "refusal":
        good["choices"][0]["message"] |= {"content": None, "refusal": "I will not write that."}
    if fault == "length":
        good["choices"][0] |= {"finish_reason": "length"}
        good["choices"][0]["message"]["content"] = '{"S1": "cut'
    special = {
        "limit": error("429 Too Many Requests", "slow down", "rate_limit_exceeded"),
        "limit_after": error("429 Too Many Requests", "slow down", None, "retry-after: 0.2\r\n"),
        "quota": error("429 Too Many Requests", "no money", "insufficient_quota"),
        "error500": error("500 Internal Server Error", "oops", None),
        "filter": error("400 Bad Request", "filtered", "content_filter"),
        "key": error("401 Unauthorized", f"Incorrect API key provided: {key}", "invalid_api_key"),
        "unknown_model": error("404 Not Found", "no such model", "model_not_found"),
        "echo500": error("500 Internal Server Error", f"failed with {key}", None),
    }
    if fault in special:
        return special[fault]
    body = json.dumps(good).encode()
    body = {"truncated": body[: len(body) // 2], "string": b'"I am a text"', "empty": b"{}"}.get(fault, body)
    return head("200 OK", len(body), "x-ratelimit-limit-requests: 1000000\r\n") + body


REFUSED = {"limit", "limit_after", "quota", "error500", "echo500", "key", "unknown_model"}


def bill(fault: str, request: dict) -> int:
    if fault in REFUSED:
        return 0
    usage = completion(request, None)["usage"]
    return usage["prompt_tokens"] * 2000 + usage["completion_tokens"] * 8000


def draw(request: dict) -> str:
    """Which fault a request meets this time; it is logged and billed."""
    asked = hashlib.sha256(json.dumps(request, sort_keys=True).encode()).hexdigest()
    ASKED[asked] += 1
    place, fault = fraction(SEED, asked, ASKED[asked]), ""
    for name, share in FAULTS.items():
        if place < share:
            fault = name
            break
        place -= share
    LOG.write(json.dumps({"asked": asked, "fault": fault, "cost": bill(fault, request), "time": time.time()}) + "\n")
    return fault


def answer_line(request: dict) -> tuple[int, dict]:
    """Status and body of one line of a batch."""
    fault = draw(request)
    status, _, body = reply(fault, request, "").partition(b"\r\n\r\n")
    return int(status.split()[1]), json.loads(body)


async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while line := await reader.readline():
            headers = {}
            while (field := (await reader.readline()).decode().strip()) != "":
                name, _, value = field.partition(":")
                headers[name.lower()] = value.strip()
            body = await reader.readexactly(int(headers.get("content-length", 0)))
            method, path, _ = line.decode().split()
            if "/files" in path or "/batches" in path:
                found = BATCHES.answer(method, path, headers.get("content-type", ""), body)
                writer.write(head("404 Not Found" if found is None else "200 OK", len(found or b"")) + (found or b""))
                await writer.drain()
            elif not await answer(path, headers.get("authorization", "").removeprefix("Bearer "), body, writer):
                break
    except (ConnectionError, asyncio.IncompleteReadError):
        pass
    finally:
        writer.close()


async def answer(path: str, key: str, body: bytes, writer: asyncio.StreamWriter) -> bool:
    """Whether the connection stays open."""
    if not path.endswith("/chat/completions"):
        fault = next((name for name in ("key", "unknown_model") if FAULTS.get(name) == 1), "")
        models = json.dumps({"object": "list", "data": [
            {"id": name, "object": "model", "created": 1, "owned_by": "us"} for name in ("good", "better", "gpt-4o-mini")
        ]}).encode()  # fmt: skip
        writer.write(
            reply(fault, {"model": "", "messages": [{"content": ""}]}, key)
            if fault == "key"
            else head("200 OK", len(models)) + models
        )
        await writer.drain()
        return True
    request = json.loads(body)
    fault = draw(request)
    await asyncio.sleep(LATENCY)
    data = reply(fault, request, key)
    if fault == "stall":
        await asyncio.sleep(30)
    if fault == "huge":
        writer.write(head("200 OK", 50_000_000))
        for _ in range(500):
            writer.write(b" " * 100_000)
            await writer.drain()
        return True
    writer.write(data[: len(data) - 20] if fault == "reset" else data)
    await writer.drain()
    if fault == "reset":
        writer.transport.abort()
        return False
    return True


BATCHES = Batches(answer_line, lambda *parts: fraction(SEED, *parts), BATCH_FAULTS)


async def main() -> None:
    server = await asyncio.start_server(serve, "127.0.0.1", 0, limit=2**20)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


asyncio.run(main())
