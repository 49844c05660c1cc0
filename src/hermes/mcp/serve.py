"""The process's side: messages over stdin and stdout, signals, and an end at once."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any

from mcp.server.stdio import stdio_server

from hermes.core.errors import ConfigError
from hermes.mcp.server import build_server
from hermes.mcp.services import Services

log = logging.getLogger(__name__)

LONGEST_LINE = 16 << 20


async def serve(services: Services) -> None:
    """Until the other side closes stdin, or SIGTERM or SIGINT comes."""
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        with suppress(NotImplementedError):  # Windows: Ctrl+C arrives as KeyboardInterrupt
            loop.add_signal_handler(number, stopped.set)
    reading, writing = await _pipes()
    serving = asyncio.create_task(_serve(services, reading, writing))
    waiting = asyncio.create_task(stopped.wait())
    try:
        await asyncio.wait({serving, waiting}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        waiting.cancel()
        serving.cancel()
        [ended, _] = await asyncio.gather(serving, waiting, return_exceptions=True)
        writing.close()
    if isinstance(ended, Exception):
        raise ended
    log.info("the client is gone")


async def _serve(services: Services, reading: Lines, writing: Out) -> None:
    server = build_server(services)
    stdin: Any = reading  # what the package wants is a file; it reads lines, and writes and flushes text
    stdout: Any = writing
    async with stdio_server(stdin, stdout) as (read, write):
        await server.run(read, write, server.create_initialization_options())


class Lines:
    """Lines of a pipe. The package's own way reads in a thread, which no signal ends."""

    def __init__(self, reader: asyncio.StreamReader) -> None:
        self._reader = reader

    def __aiter__(self) -> AsyncIterator[str]:
        return self._lines()

    async def _lines(self) -> AsyncIterator[str]:
        while True:
            try:
                line = await self._reader.readline()
            except ValueError:  # a line that is too long is no message
                yield "{"
                continue
            if not line:
                return
            if line.strip():
                yield line.decode("utf-8", "replace")


class Out:
    def __init__(self, writer: asyncio.StreamWriter) -> None:
        self._writer = writer

    async def write(self, text: str) -> None:
        self._writer.write(text.encode("utf-8", "replace"))

    def close(self) -> None:
        self._writer.close()

    async def flush(self) -> None:
        with suppress(ConnectionError):  # nobody reads any more; stdin says so too
            await self._writer.drain()


async def _pipes() -> tuple[Lines, Out]:
    """This process's stdin and stdout. From now on whatever else writes to stdout writes to stderr: only the protocol
    may be there. Raises ConfigError where they are no pipes."""
    loop = asyncio.get_running_loop()
    out = os.fdopen(os.dup(1), "wb", buffering=0)
    sys.stdout.flush()
    os.dup2(2, 1)
    reader = asyncio.StreamReader(limit=LONGEST_LINE)
    try:
        await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
        transport, protocol = await loop.connect_write_pipe(asyncio.streams.FlowControlMixin, out)
    except (ValueError, OSError) as error:
        raise ConfigError(
            f"hermes mcp serve talks to an MCP client through pipes, and stdin or stdout is none ({error}); the client "
            "starts it: docs/mcp.md"
        ) from error
    return Lines(reader), Out(asyncio.StreamWriter(transport, protocol, None, loop))
