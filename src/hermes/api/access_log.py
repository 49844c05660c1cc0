"""One line a request: when, what, how it went, whose key, which id. No query, no header, no body: nothing to redact.

A line through the ordinary log costs 130 µs, most of it looking for secrets, which is more than many a request; here
it costs 3. Lines gather for a moment and are written together.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import orjson

from hermes.home.disk import refusal
from hermes.home.files import ends_within_a_line, open_private

log = logging.getLogger(__name__)
access_log = logging.getLogger("hermes.access")

MAX_BYTES = 10 << 20
FLUSH_SECONDS = 0.25
MAX_PATH = 300


@dataclass(frozen=True, slots=True)
class AccessLine:
    """`path` as it was sent, still percent-encoded; `key` is the name of the key, None without one."""

    method: str
    path: str
    status: int
    seconds: float
    key: str | None
    request_id: str


AccessSink = Callable[[AccessLine], None]


def to_log(line: AccessLine) -> None:
    """The ordinary log, where no file of its own is wanted."""
    if access_log.isEnabledFor(logging.INFO):
        milliseconds = line.seconds * 1000
        access_log.info(
            "%s %s %d %.1fms %s", line.method, line.path[:MAX_PATH], line.status, milliseconds, line.key or "-"
        )


class AccessFile:
    """JSON lines in a file that only the owner reads; beyond `MAX_BYTES` it becomes `….1`, and a new one begins.

    `redact` sees the path of what was refused: a key that was pasted into an address is in one of those.
    """

    def __init__(self, path: Path, redact: Callable[[str], str] = str) -> None:
        self._path = path
        self._redact = redact
        self._lines: list[bytes] = []
        self._file: BinaryIO | None = None
        self._has_failed = False
        self._is_torn = False
        self._second = (0, "")

    def __call__(self, line: AccessLine) -> None:
        path = line.path[:MAX_PATH]
        told = {
            "time": self._now(),
            "method": line.method,
            "path": path if line.status < 400 else self._redact(path),
            "status": line.status,
            "ms": round(line.seconds * 1000, 1),
            "key": line.key,
            "request_id": line.request_id,
        }
        self._lines.append(orjson.dumps(told, option=orjson.OPT_APPEND_NEWLINE))
        if len(self._lines) == 1:
            asyncio.get_running_loop().call_later(FLUSH_SECONDS, self.flush)

    def flush(self) -> None:
        """Writes what has gathered. A full disk is told once, and the server goes on."""
        lines, self._lines = self._lines, []
        try:
            if lines:
                self._write(b"".join(lines))
                self._has_failed = False
        except OSError as error:
            if not self._has_failed:
                self._has_failed = True
                log.error("requests are not logged: %s", refusal(error, self._path))

    def close(self) -> None:
        self.flush()
        if self._file is not None:
            self._file.close()
            self._file = None

    def _write(self, data: bytes) -> None:
        if self._file is not None and self._file.tell() > MAX_BYTES:
            self._file.close()
            self._path.replace(self._path.with_name(f"{self._path.name}.1"))
            self._file = None
        if self._file is None:
            self._file = open(self._path, "ab", buffering=0, opener=open_private)  # noqa: SIM115 closed by `close`
            self._is_torn = ends_within_a_line(self._path)
        if self._is_torn:
            data = b"\n" + data
        self._is_torn = True  # a full disk may take a part of it
        self._is_torn = self._file.write(data) < len(data)

    def _now(self) -> str:
        now = int(time.time())
        if self._second[0] != now:
            self._second = (now, time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(now)))
        return self._second[1]
