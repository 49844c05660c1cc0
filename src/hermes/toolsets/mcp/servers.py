"""All MCP servers of one process: the owner's, for every run, and those that one session brought."""

from __future__ import annotations

import asyncio
import contextvars
import shutil
from collections.abc import AsyncIterator, Callable, Collection, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from hermes.core.clock import Clock, SystemClock
from hermes.core.redact import Redactor
from hermes.toolsets.mcp.child import Command, Complaints, ServerGone, child_streams
from hermes.toolsets.mcp.connection import Connection, State
from hermes.toolsets.mcp.http import http_streams
from hermes.toolsets.mcp.server import McpServer, Transport
from hermes.toolsets.mcp.tool import toolset_of
from hermes.toolsets.toolset import Toolset

if TYPE_CHECKING:
    from hermes.toolsets.mcp.child import Streams

READY_SECONDS = 10.0
"""What a run waits for servers that were never tried yet; counted from the start."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What children get: their environment (without secrets) and directory; `run_dir` and `logs_dir` of the home."""

    environment: Mapping[str, str]
    workdir: Path
    run_dir: Path | None = None
    logs_dir: Path | None = None


@dataclass(frozen=True, slots=True)
class ServerState:
    """`tools` counts what the agent is offered. `detail` says why it is not connected."""

    name: str
    state: State
    tools: int
    detail: str


class _Held:
    """A connection that lives, and where its toolset goes."""

    def __init__(self, connection: Connection, task: asyncio.Task[None], complaints: Complaints) -> None:
        self.connection = connection
        self.task = task
        self.complaints = complaints


class McpServers:
    """`offer(toolset, session_id)` puts a toolset in place, for all runs or for those of one session; `redactor` learns
    of the secrets of servers that come later. `start` connects in the background and returns at once; a process that
    runs, runs what the owner configured, whether or not a server answers.
    """

    def __init__(
        self,
        servers: Iterable[McpServer],
        surroundings: Surroundings,
        *,
        offer: Callable[[Toolset, str | None], None],
        redactor: Redactor | None = None,
        clock: Clock | None = None,
    ) -> None:
        self._servers = tuple(servers)
        self._surroundings = surroundings
        self._offer = offer
        self._redactor = redactor or Redactor()
        self._clock = clock or SystemClock()
        self._held: dict[str, _Held] = {}
        self._names: dict[str, frozenset[str]] = {}
        self._of_sessions: dict[str, dict[str, _Held]] = {}
        self._started_at = 0.0

    def start(self) -> None:
        self._started_at = self._clock.monotonic()
        for server in self._servers:
            self._held[server.name] = self._hold(server, None)

    async def change(self, servers: Iterable[McpServer], surroundings: Surroundings) -> tuple[str, ...]:
        """These are the owner's from now on: what is new is connected, what is gone or another is ended, and the rest
        stays as it is. The toolsets of those that are gone. Called again, it goes on where it was cancelled."""
        wanted = {server.name: server for server in servers}
        ending = {
            name: held
            for name, held in self._held.items()
            if held.connection.server != wanted.get(name) or held.task.cancelling()
        }
        self._servers, self._surroundings = tuple(wanted.values()), surroundings
        for name in ending:
            self._names.pop(name, None)
        await _end(ending.values())
        for name in ending:
            del self._held[name]
        self._started_at = self._clock.monotonic()
        for name, server in wanted.items():
            if name not in self._held:
                self._redactor.add(server.secrets)
                self._held[name] = self._hold(server, None)
        self._held = {name: self._held[name] for name in wanted}  # in the order of the settings
        return tuple(held.connection.server.toolset for name, held in ending.items() if name not in wanted)

    async def ready(self, names: Iterable[str] | None = None) -> None:
        """Wait for the owner's servers of these toolsets (None: all) that were not tried yet, a few seconds after the
        start at most."""
        wanted = None if names is None else set(names)
        left = self._started_at + READY_SECONDS - self._clock.monotonic()
        with suppress(TimeoutError):
            async with asyncio.timeout(max(left, 0)):
                for held in tuple(self._held.values()):
                    if wanted is None or held.connection.server.toolset in wanted:
                        await held.connection.tried.wait()

    async def try_once(self, server: McpServer) -> Connection:
        """The connection after its first attempt; it lives until `close`."""
        held = self._held[server.name] = self._hold(server, None)
        await held.connection.tried.wait()
        return held.connection

    async def connect_session(self, session_id: str, servers: Sequence[McpServer]) -> list[ServerState]:
        """Connect what a session brought, in place of what it had; returns when each answered or failed.

        Their tools are offered to runs of this session alone, until `close_session`.
        """
        await self.close_session(session_id)
        held = self._of_sessions[session_id] = {}
        for server in servers:
            self._redactor.add(server.secrets)
            held[server.name] = self._hold(server, session_id, [other.name for other in servers])
        await asyncio.gather(*(one.connection.tried.wait() for one in held.values()))
        return [_state(one.connection) for one in held.values()]

    async def close_session(self, session_id: str) -> None:
        """Nothing of what the session brought is offered any more."""
        held = self._of_sessions.pop(session_id, {}).values()
        await _end(held)
        for one in held:
            one.connection.found = None
            self._offer(toolset_of(one.connection), session_id)

    def states(self) -> list[ServerState]:
        """Of the owner's servers, in the order of the settings."""
        return [_state(held.connection) for held in self._held.values()]

    async def close(self) -> None:
        """All processes are gone and all connections closed when it returns."""
        held = [*self._held.values(), *(one for session in self._of_sessions.values() for one in session.values())]
        self._held, self._of_sessions = {}, {}
        await _end(held)

    def _hold(self, server: McpServer, session_id: str | None, beside: Collection[str] = ()) -> _Held:
        logs = self._surroundings.logs_dir
        complaints = Complaints(logs / f"mcp-{server.name}.log" if logs is not None else None, self._redactor)
        streams = open_streams(server, self._surroundings, complaints)

        others = {*(other.name for other in self._servers), *beside} - {server.name}

        def changed() -> None:
            taken = {name for other, names in self._names.items() if other != server.name for name in names}
            toolset = toolset_of(connection, taken, others)
            if session_id is None:
                self._names[server.name] = frozenset(tool.spec.name for tool in toolset.tools)
            self._offer(toolset, session_id)

        connection = Connection(
            server,
            streams,
            clock=self._clock,
            changed=changed,
            last_words=lambda: complaints.last,
            hide=self._redactor,
        )
        changed()
        own = contextvars.Context()  # what a request bound to the log is not the connection's
        task = asyncio.create_task(connection.run(), name=f"mcp-{server.name}", context=own)
        return _Held(connection, task, complaints)


def open_streams(
    server: McpServer, surroundings: Surroundings, complaints: Complaints
) -> Callable[[], AbstractAsyncContextManager[Streams]]:
    """What opens a connection's streams, each time anew."""

    @asynccontextmanager
    async def streams() -> AsyncIterator[Streams]:
        complaints.forget()
        if server.transport is not Transport.STDIO:
            async with http_streams(server, complaints.add) as streams:
                yield streams
            return
        command = await asyncio.to_thread(_command, server, surroundings)
        async with child_streams(command, complaints) as streams:
            yield streams

    return streams


def _command(server: McpServer, surroundings: Surroundings) -> Command:
    """Raises ServerGone where there is no such program."""
    environment = {**surroundings.environment, **server.env}
    name = str(Path(server.command).expanduser()) if server.command.startswith("~") else server.command
    program = shutil.which(name, path=environment.get("PATH"))
    if program is None:
        raise ServerGone(f"there is no program {server.command!r} on this machine")
    return Command(
        argv=(program, *server.args),
        environment=environment,
        workdir=Path(server.cwd).expanduser() if server.cwd else surroundings.workdir,
        records=surroundings.run_dir / "processes" if surroundings.run_dir is not None else None,
    )


def _state(connection: Connection) -> ServerState:
    tools = len(toolset_of(connection).tools) if connection.state is State.CONNECTED else 0
    return ServerState(connection.server.name, connection.state, tools, connection.problem)


async def _end(held: Iterable[_Held]) -> None:
    ending = list(held)
    for one in ending:
        one.task.cancel()
    await asyncio.gather(*(one.task for one in ending), return_exceptions=True)
    for one in ending:
        one.complaints.close()
