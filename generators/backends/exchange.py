"""One exchange with a server: a request goes out, whatever comes back is an outcome.

The official client does the transport, with its own retries off: they would neither be booked nor paced. Not here: when a
request may go and what is done about a failure (`sending.py`), and what a body means (`openai.py`).
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
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


@contextmanager
def wrong_setups(server: Server) -> Iterator[None]:
    """Around a question for the list of models: a refused key and a server that is not there become a ServerError.

    Anything else ends the block: many servers have no such list, and the first request will tell.
    """
    import openai

    try:
        yield
    except (openai.AuthenticationError, openai.PermissionDeniedError):
        raise ServerError(f"{server.base_url} refuses the key; set {server.key_variable or 'key_variable'}") from None
    except openai.APIConnectionError as error:
        raise ServerError(f"no server answers at {server.base_url} ({error}); set runtime.server.base_url") from None
    except (openai.APIError, TypeError, AttributeError):
        return


def require_models(server: Server, models: Sequence[str], known: Sequence[str]) -> None:
    """Raise ServerError for a model that a server with a list does not have; names the nearest."""
    for name in models if known else ():
        if name not in known:
            raise ServerError(f"generator.backend.models: {server.base_url} has no model {name!r}{nearest(name, known)}")


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
        with wrong_setups(self.server):
            require_models(self.server, models, [model.id async for model in self._client.models.list()])

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
        self.pace.learn(error.response.headers)
        outcome = refusal(error.status_code, getattr(error, "code", None), self._scrub(error.message))
        return replace(outcome, wait=retry_after(error.response.headers, time.time()))

    def _scrub(self, text: str) -> str:
        return scrub(self.server, self.key, text)


def refusal(status: int, code: str | None, message: str) -> Outcome:
    """What an error status means: an answer of its own kind, a failure that may pass, or one that will not. None is billed."""
    message = f"status {status}: {message}"[:500]
    if status == 400 and code in FILTERED:
        return Outcome(Completion("", "content_filter", "", 0, 0), "", billed=False, body=message)
    if status == 429 and code == "insufficient_quota":
        return Outcome(None, f"{message} (no money left on the account)", billed=False, fatal=True)
    if status in FATAL:
        return Outcome(None, message, billed=False, fatal=True)
    if status in RETRIED or status >= 500:
        return Outcome(None, message, billed=False)
    return Outcome(Completion("", "failed", "", 0, 0), message, billed=False, body=message)


def scrub(server: Server, key: str, text: str) -> str:
    """No key leaves this process, even if a server echoes it."""
    return text.replace(key, "***") if server.key_variable else text
