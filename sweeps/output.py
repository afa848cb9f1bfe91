"""What a worker prints: taken off it as fast as it comes, kept within bounds.

No flood blocks the worker, fills the disk, or grows the parent: a thread of the parent drains the pipe that stands for the
worker's standard output and error. On disk the newest output of a worker lies in `worker-N.log` and what came just before in
`worker-N.log.1`, each of at most `FILE_BYTES`; in memory only the end of it is held. A disk that takes no more ends the
files, never the worker.
"""

from __future__ import annotations

import os
import select
import threading
import time
from contextlib import suppress
from pathlib import Path

FILE_BYTES = 8 << 20  # of one log file; two are kept
TAIL_BYTES = 4000  # of output kept with a failure
CHUNK = 1 << 16  # what a pipe holds
LOOK = 500  # milliseconds between looks at whether anybody still wants the output
CATCH_UP = 1.0  # seconds that a reader of the tail waits for a flood to run dry


class Output:
    """Standard output and error of one worker process, as its parent keeps them."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = path.open("ab")
        self._reader, self.writer = os.pipe()
        os.set_blocking(self._reader, False)
        self._lock = threading.Lock()
        self._tail = b""
        self._open = True
        self._thread = threading.Thread(target=self._drain, name=path.name, daemon=True)

    def start(self) -> None:
        """Begin to drain; the worker has its copy of `writer` by now, and ours is closed so that its end is seen."""
        os.close(self.writer)
        self._thread.start()

    def begin(self, title: str) -> None:
        """What is printed from here on belongs to another step."""
        with self._lock:
            self._catch_up()
            self._tail = b""
            self._keep(f"--- {title}\n".encode())

    def tail(self) -> str:
        """The end of what was printed since the step began, also when the worker is gone."""
        with self._lock:
            self._catch_up()
            return self._tail.decode("utf-8", errors="replace")

    def close(self) -> None:
        """The worker has ended: take what it left in the pipe; the tail can still be read."""
        with self._lock:
            self._catch_up()
            self._open = False
        self._thread.join()

    def _drain(self) -> None:
        waiting = select.poll()
        waiting.register(self._reader, select.POLLIN)
        more = True
        while more:
            waiting.poll(LOOK)
            with self._lock:
                more = self._open and self._take() != b""
        with self._lock:
            self._open = False
            os.close(self._reader)
            with suppress(OSError):  # what a full disk did not take is lost, and that is all
                self._file.close()

    def _catch_up(self) -> None:
        """Take all there is; a flood that goes on all the same is cut off in the middle."""
        deadline = time.monotonic() + CATCH_UP
        while self._open and self._take() and time.monotonic() < deadline:
            pass

    def _take(self) -> bytes | None:
        """One piece out of the pipe; None if there is none now, nothing at its end."""
        try:
            data = os.read(self._reader, CHUNK)
        except BlockingIOError:
            return None
        self._tail = (self._tail + data)[-TAIL_BYTES:]
        self._keep(data)
        return data

    def _keep(self, data: bytes) -> None:
        if self._file.closed:
            return
        try:
            if self._file.tell() + len(data) > FILE_BYTES:
                self._file.close()
                self._path.replace(self._path.with_name(self._path.name + ".1"))
                self._file = self._path.open("ab")
            self._file.write(data)
            self._file.flush()  # people read it while the sweep runs
        except OSError:
            with suppress(OSError):
                self._file.close()
