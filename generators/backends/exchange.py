"""One exchange with a server: a request goes out, whatever comes back is an outcome.

The official client does the transport, with its own retries off: they would neither be booked nor paced. Not here: when a
request may go and what is done about a failure (`sending.py`), and what a body means (`openai.py`).
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

from generators.backends.openai import Call, Completion, read_completion
from generators.pace import Pace, retry_after
from harness.config import nearest
from harness.runtime import Server

if TYPE_CHECKING:
    from openai import AsyncOpenAI

MAX_BODY = 4_000_000
"""Bytes of a reply that are read; no completion of ours comes near."""
RETRIED = frozenset({408, 409, 429, 500, 502, 503, 504, 520, 522, 524, 529})
FATAL = frozenset({401, 403, 404})
FILTERED = frozenset({"content_filter", "content_policy_violation"})


class ServerError(RuntimeError):
    """The server cannot be used, or did not answer every request; names what to set or to do."""


@dataclass(frozen=True)
class Outcome:
    """One try of one request."""

    completion: Completion | None
    error: str
    wait: float | None = None
    """Seconds the server asked to wait."""
    billed: bool = True
    """Whether a failed try may have cost its reserve."""
    fatal: bool = False
    """Whether no request has a chance."""
    body: str = ""


def key_of(server: Server) -> str:
    """The key out of the environment; raises ServerError naming the variable."""
    if not server.key_variable:
        return "none"
    key = os.environ.get(server.key_variable, "")
    if not key:
        raise ServerError(f"no key for {server.base_url}: set the environment variable {server.key_variable}")
    return key


@dataclass
class Line:
    """A connection to a server, open while its `with` block runs."""

    server: Server
    key: str
    pace: Pace

    async def __aenter__(self) -> Self:
        """Connect lazily."""
        from openai import AsyncOpenAI

        self._client: AsyncOpenAI = AsyncOpenAI(
            base_url=self.server.base_url, api_key=self.key, max_retries=0, timeout=self.server.timeout
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._client.close()

    async def check(self, models: Sequence[str]) -> None:
        """Ask for the list of models: reaches the server, tries the key, knows the names. Costs nothing."""
        import openai

        url = self.server.base_url
        try:
            known = [model.id async for model in await self._client.models.list()]
        except (openai.AuthenticationError, openai.PermissionDeniedError):
            raise ServerError(f"{url} refuses the key; set {self.server.key_variable or 'key_variable'}") from None
        except openai.APIConnectionError as error:
            raise ServerError(f"no server answers at {url} ({error}); set runtime.server.base_url") from None
        except (openai.APIError, TypeError, AttributeError):
            return  # many servers have no such list; the first request will tell
        for name in models if known else ():
            if name not in known:
                raise ServerError(f"generator.backend.models: {url} has no model {name!r}{nearest(name, known)}")

    async def ask(self, call: Call) -> Outcome:
        """One exchange; never raises for what a server does."""
        import openai

        try:
            async with asyncio.timeout(self.server.timeout):
                content = await self._read(call)
        except openai.APIStatusError as error:
            return self._refused(error)
        except (TimeoutError, openai.APITimeoutError):
            return Outcome(None, f"no reply within {self.server.timeout:g} s")
        except openai.APIConnectionError as error:
            return Outcome(None, self._scrub(f"connection failed: {error.__cause__ or error}"))
        except Exception as error:  # noqa: BLE001  a body cut off mid-way surfaces as an error of whichever transport is in use
            return Outcome(None, self._scrub(f"connection lost: {type(error).__name__}: {error}"))
        completion = f"a body of more than {MAX_BODY} bytes" if content is None else read_completion(content)
        if content is None or isinstance(completion, str):
            return Outcome(None, str(completion))
        return Outcome(completion, "", body=self._scrub(content.decode("utf-8", "replace")))

    async def _read(self, call: Call) -> bytes | None:
        """The body of a good status; None if it is far too long."""
        content = b""
        async with self._client.chat.completions.with_streaming_response.create(**call.body) as response:
            self.pace.learn(response.headers)
            async for chunk in response.iter_bytes():
                content += chunk
                if len(content) > MAX_BODY:
                    return None
        return content

    def _refused(self, error: Any) -> Outcome:
        """A reply with an error status."""
        status, code = error.status_code, getattr(error, "code", None)
        message = self._scrub(f"status {status}: {error.message}")[:500]
        if status == 400 and code in FILTERED:
            return Outcome(Completion("", "content_filter", "", 0, 0), "", billed=False, body=message)
        if status == 429 and code == "insufficient_quota":
            return Outcome(None, f"{message} (no money left on the account)", billed=False, fatal=True)
        if status in RETRIED or status >= 500:
            self.pace.learn(error.response.headers)
            return Outcome(None, message, retry_after(error.response.headers, time.time()), billed=False)
        if status in FATAL:
            return Outcome(None, message, billed=False, fatal=True)
        return Outcome(Completion("", "failed", "", 0, 0), message, billed=False, body=message)

    def _scrub(self, text: str) -> str:
        """No key leaves this process, even if a server echoes it."""
        return text.replace(self.key, "***") if self.server.key_variable else text
