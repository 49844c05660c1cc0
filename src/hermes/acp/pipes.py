"""JSON-RPC messages over stdin and stdout, one a line. What is no message is answered, and ends nothing."""

from __future__ import annotations

import asyncio
import json
import os
import re
import stat
import sys
from contextlib import suppress
from typing import Any

from hermes.core.errors import ConfigError

LONGEST_LINE = 64 << 20
"""Bytes: images come in a line, too."""
PARSE_ERROR, INVALID_REQUEST = -32700, -32600
_HALF_A_PAIR = re.compile(rb"\\u[dD][89a-fA-F]")
"""Half of a character, perhaps: an editor that cuts its text between the two writes one, and nothing can keep it."""


class Pipes:
    """A transport of the protocol's library (`acp._transport.Transport`)."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._sending = asyncio.Lock()
        self._unanswered = 0
        self._is_settled = asyncio.Event()
        self._is_settled.set()

    async def send(self, message: dict[str, Any]) -> None:
        """Raises ConnectionError when nobody reads any more."""
        line = json.dumps(message, separators=(",", ":"), default=str)
        async with self._sending:
            self._writer.write(line.encode() + b"\n")
            await self._writer.drain()
        if "method" not in message and message.get("id") is not None:
            self._count(-1)

    async def receive(self) -> dict[str, Any] | None:
        """The next message; None when the other side closed."""
        while True:
            line = await self._line()
            if line is None:
                return None
            if not line.strip():
                continue
            message, problem = _parsed(line)
            if problem is None:
                self._count(+1 if "method" in message and message.get("id") is not None else 0)
                return message
            code, text = problem
            await self.send({"jsonrpc": "2.0", "id": None, "error": {"code": code, "message": text}})

    async def settled(self, seconds: float) -> None:
        """Every request that came has its answer, or so long was waited for it."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self._is_settled.wait(), seconds)

    async def close(self) -> None:
        self._writer.close()

    def _count(self, step: int) -> None:
        self._unanswered += step
        if self._unanswered:
            self._is_settled.clear()
        else:
            self._is_settled.set()

    async def _line(self) -> bytes | None:
        """One that is too long comes back as nothing that can be parsed."""
        is_too_long = False
        while True:
            try:
                line = await self._reader.readuntil(b"\n")
            except asyncio.LimitOverrunError as error:
                is_too_long = True
                await self._reader.readexactly(error.consumed)
            except asyncio.IncompleteReadError:  # a line that was not ended is of somebody who was cut off
                return None
            except OSError:
                return None
            else:
                return b"too long" if is_too_long else line


def _parsed(line: bytes) -> tuple[dict[str, Any], tuple[int, str] | None]:
    """The message, and what is wrong with it: the library takes its shape for granted."""
    try:
        message = json.loads(line)
        if _HALF_A_PAIR.search(line):
            message = json.loads(json.dumps(message, ensure_ascii=False).encode("utf-8", "replace"))
    except (ValueError, RecursionError):
        return {}, (PARSE_ERROR, "Parse error: each line is one JSON-RPC message")
    if not isinstance(message, dict):
        return {}, (INVALID_REQUEST, "Invalid request: a message is an object")
    message_id = message.get("id")
    is_id = message_id is None or (isinstance(message_id, int | str) and not isinstance(message_id, bool))
    if "method" in message:
        is_right = is_id and isinstance(message["method"], str)
    else:
        is_right = isinstance(message_id, int) and isinstance(message.get("error", {}), dict)
    if not is_right:
        return {}, (INVALID_REQUEST, "Invalid request: it has a method, or answers a request by its id")
    return message, None


def check_pipes() -> None:
    """Raises ConfigError where stdin or stdout is nothing that an editor could talk through."""
    for number, name in ((0, "stdin"), (1, "stdout")):
        try:
            mode = os.fstat(number).st_mode
        except OSError:
            mode = 0
        if not (stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode) or (stat.S_ISCHR(mode) and os.isatty(number))):
            raise ConfigError(
                f"hermes acp talks to an editor through pipes, and {name} is none: an editor starts it, see "
                "docs/howto/editors.md. To see what would work: hermes acp --check"
            )


async def open_pipes() -> Pipes:
    """This process's stdin and stdout, after `check_pipes`. From now on whatever else writes to stdout, or a child of
    it, writes to stderr: only the protocol may be there."""
    if sys.platform == "win32":
        from acp.stdio import stdio_streams

        return Pipes(*await stdio_streams(limit=LONGEST_LINE))
    loop = asyncio.get_running_loop()
    out = os.fdopen(os.dup(1), "wb", buffering=0)
    sys.stdout.flush()
    os.dup2(2, 1)
    reader = asyncio.StreamReader(limit=LONGEST_LINE)
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    transport, protocol = await loop.connect_write_pipe(asyncio.streams.FlowControlMixin, out)
    return Pipes(reader, asyncio.StreamWriter(transport, protocol, None, loop))
