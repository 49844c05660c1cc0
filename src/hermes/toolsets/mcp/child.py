"""An MCP server that is a child process: messages over its standard streams, what it complains about in a log.

It stands under a `supervisor`, as commands of the terminal do: whatever it started goes with it, and all of it goes
with us, also when we are killed.
"""

from __future__ import annotations

import asyncio
import logging
import os
import sys
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hermes.core.ids import new_id
from hermes.core.reap import reap
from hermes.home.logs import LineFormatter, PrivateRotatingFile
from hermes.toolsets import supervisor
from hermes.toolsets.output import clean
from hermes.toolsets.processes import MARK, SUPERVISOR_DIR, kill_marked

if TYPE_CHECKING:
    from mcp.client._transport import ReadStream, WriteStream
    from mcp.shared.message import SessionMessage

    Streams = tuple[ReadStream[SessionMessage | Exception], WriteStream[SessionMessage]]

log = logging.getLogger(__name__)

LARGEST_MESSAGE = 8 << 20
"""Bytes of one message; a server that sends more is ended."""
LEAVE_SECONDS = 0.3
"""What a server gets to go by itself once its input is closed."""
END_SECONDS = 3.0
"""What its end may take: the supervisor gives it half a second, and kills."""
LOG_BYTES = 1 << 20
REMEMBERED_LINES = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """`environment` is all that the child gets. `records` is where `processes.reap` looks after a kill; None: there is
    no such place."""

    argv: tuple[str, ...]
    environment: Mapping[str, str]
    workdir: Path
    records: Path | None = None


class Complaints:
    """What a server writes to its standard error: into a file without secrets, the last lines in memory."""

    def __init__(self, path: Path | None, hide: Callable[[str], str]) -> None:
        self._hide = hide
        self._lines: deque[str] = deque(maxlen=REMEMBERED_LINES)
        self._file: PrivateRotatingFile | None = None
        if path is not None:
            from hermes.core.redact import Redactor

            self._file = PrivateRotatingFile(path, LOG_BYTES, 1)
            self._file.setFormatter(LineFormatter(Redactor()))

    @property
    def last(self) -> str:
        """The last words, on one line."""
        return " / ".join(self._lines)

    def forget(self) -> None:
        """Another process begins."""
        self._lines.clear()

    def add(self, text: str) -> None:
        """Blocks: it writes to disk."""
        for line in clean(text).splitlines():
            if line.strip():
                shown = self._hide(line)
                short = shown.strip()[:300]
                if short not in self._lines:
                    self._lines.append(short)
                if self._file is not None:
                    self._file.emit(logging.LogRecord("stderr", logging.INFO, "", 0, "%s", (shown,), None))

    def close(self) -> None:
        if self._file is not None:
            self._file.close()


class ServerGone(Exception):
    """The process ended or could not be started. The message says how, and what it said last."""


@asynccontextmanager
async def child_streams(command: Command, complaints: Complaints) -> AsyncIterator[Streams]:
    """Starts the process; leaving ends it and all that it started. Raises ServerGone when it cannot be started."""
    import anyio
    from mcp.shared.message import SessionMessage
    from mcp_types import jsonrpc_message_adapter

    child = await _start(command)
    process = child.process
    incoming, read_stream = anyio.create_memory_object_stream[Any](0)
    write_stream, outgoing = anyio.create_memory_object_stream[Any](0)
    assert process.stdin is not None and process.stdout is not None and process.stderr is not None
    stdin, stdout, stderr = process.stdin, process.stdout, process.stderr

    async def read() -> None:
        async with incoming:
            with suppress(anyio.BrokenResourceError, anyio.ClosedResourceError):
                while line := await _line(stdout, complaints):
                    try:
                        message = jsonrpc_message_adapter.validate_json(line, by_name=False)
                    except ValueError:
                        text = line[:2_000].decode("utf-8", "replace")
                        await asyncio.to_thread(complaints.add, f"not a message: {text}")
                        continue
                    await incoming.send(SessionMessage(message))

    async def write() -> None:
        async with outgoing:
            with suppress(ConnectionError, RuntimeError):  # it is gone: the reader says so
                async for item in outgoing:
                    text = item.message.model_dump_json(by_alias=True, exclude_unset=True)
                    stdin.write(text.encode("utf-8", "replace") + b"\n")
                    await stdin.drain()

    async def complain() -> None:
        rest = b""
        while data := await stderr.read(1 << 16):
            *lines, rest = (rest + data).split(b"\n")
            rest = rest[-(1 << 16) :]
            await asyncio.to_thread(complaints.add, b"\n".join(lines).decode("utf-8", "replace"))
        await asyncio.to_thread(complaints.add, rest.decode("utf-8", "replace"))

    async def watch() -> None:
        """Something that the server started may hold its output open when it has ended."""
        await child.ended.wait()
        await anyio.sleep(LEAVE_SECONDS)
        await incoming.aclose()

    try:
        async with anyio.create_task_group() as group:
            for task in (read, write, complain, watch):
                group.start_soon(task)
            try:
                yield read_stream, write_stream
            finally:
                group.cancel_scope.cancel()
    finally:
        for stream in (incoming, read_stream, write_stream, outgoing):
            stream.close()
        await _end(child)


class _Child(asyncio.Protocol):
    """The process of the supervisor, and what that tells. `ended`: the server itself; `gone`: the supervisor, which
    is `is_clean` when nothing is left of what it held. Closing `control` ends all."""

    def __init__(self, process_id: str, record: str, control: int) -> None:
        self.id = process_id
        self.record = record
        self.control = control
        self.ended = asyncio.Event()
        self.gone = asyncio.Event()
        self.is_clean = False
        self.process: asyncio.subprocess.Process
        self._heard = b""

    def data_received(self, data: bytes) -> None:
        self._heard = (self._heard + data)[-1_000:]
        if b"exit " in self._heard:
            self.ended.set()
        self.is_clean = b"gone\n" in self._heard

    def connection_lost(self, exc: Exception | None) -> None:
        self.ended.set()
        self.gone.set()


async def _start(command: Command) -> _Child:
    process_id = new_id("proc")[:21]
    record = ""
    if command.records is not None:
        await asyncio.to_thread(command.records.mkdir, mode=0o700, parents=True, exist_ok=True)
        record = str(command.records / process_id)
    listens, control = os.pipe()
    told, tells = os.pipe()
    child = _Child(process_id, record, control)
    hearing, _ = await asyncio.get_running_loop().connect_read_pipe(lambda: child, os.fdopen(told, "rb", buffering=0))
    try:
        child.process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-I", "-S", "-c", supervisor.STUB, SUPERVISOR_DIR),
            *(record, os.devnull, str(1 << 20), f"own:{listens},{tells}", *command.argv),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            limit=LARGEST_MESSAGE,
            pass_fds=(listens, tells),
            cwd=command.workdir,
            env={**command.environment, MARK: process_id},
            start_new_session=True,
        )
    except BaseException as error:
        os.close(control)
        hearing.close()
        if isinstance(error, OSError):
            raise ServerGone(f"it cannot be started in {command.workdir}: {error.strerror or error}") from error
        raise
    finally:
        os.close(listens)
        os.close(tells)
    return child


async def _line(stdout: asyncio.StreamReader, complaints: Complaints) -> bytes:
    """The next line with something in it; empty at the end, and for one that is too long."""
    try:
        while line := await stdout.readline():
            if line.strip():
                return line
            await asyncio.sleep(0)  # a flood of empty ones would leave nobody else a turn
    except ValueError:
        await asyncio.to_thread(complaints.add, f"sent a message of more than {LARGEST_MESSAGE >> 20} MB")
    return b""


async def _end(child: _Child) -> None:
    """Let it go by itself, then end it. Also where this is interrupted: closing `control` is enough."""
    process = child.process
    try:
        if process.stdin is not None:
            process.stdin.close()
        with suppress(TimeoutError):
            await asyncio.wait_for(child.gone.wait(), LEAVE_SECONDS)
    finally:
        os.close(child.control)
    with suppress(TimeoutError):
        await asyncio.wait_for(child.gone.wait(), END_SECONDS)
    if not child.is_clean:  # the supervisor was killed itself, or is stuck
        with suppress(ProcessLookupError):
            process.kill()
        await asyncio.to_thread(_kill_left, child)
    with suppress(TimeoutError):
        await asyncio.wait_for(reap(process), LEAVE_SECONDS)


def _kill_left(child: _Child) -> None:
    kill_marked({child.id})
    if child.record:
        Path(child.record).unlink(missing_ok=True)
