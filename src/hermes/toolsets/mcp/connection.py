"""One MCP server: connected in the background, listed, called; connected again when it went away."""

from __future__ import annotations

import asyncio
import importlib
import logging
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from hermes.core.clock import Clock, pause
from hermes.core.errors import HermesError, ToolFailed
from hermes.toolsets.mcp.child import ServerGone
from hermes.toolsets.mcp.lenient import LenientStream
from hermes.toolsets.mcp.server import McpServer, Transport

if TYPE_CHECKING:
    from mcp import Client
    from mcp_types import CallToolResult
    from mcp_types import Tool as McpToolInfo

    from hermes.toolsets.mcp.child import Streams

log = logging.getLogger(__name__)

MOST_PAGES = 50
FIRST_WAIT_SECONDS, LONGEST_WAIT_SECONDS = 1.0, 120.0
"""Between two attempts to connect; each is twice the one before."""
LEAST_BETWEEN_LISTS_SECONDS = 1.0
STEADY_SECONDS = 60.0
"""A connection that held so long was a good one: the next attempt comes soon."""
PATIENCE = 3
"""Attempts that may fail after a connection was lost until its tools are no longer offered."""
CALL_WAITS_SECONDS = 10.0
"""What a call waits for a server that is being connected."""

OpenStreams = Callable[[], AbstractAsyncContextManager["Streams"]]


class State(StrEnum):
    OFF = "off"
    CONNECTING = "connecting"
    CONNECTED = "connected"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Found:
    """What a server said on connecting. `seconds`: how long that took."""

    tools: Sequence[McpToolInfo]
    server: str
    protocol: str
    seconds: float


class Connection:
    """`changed` hears of each new state and list of tools. `last_words` is what the server complained of last.

    `run` is its life, a task of its own; `call` is for any other task, as many at once as like.
    """

    def __init__(
        self,
        server: McpServer,
        streams: OpenStreams,
        *,
        clock: Clock,
        changed: Callable[[], None],
        last_words: Callable[[], str] = str,
        hide: Callable[[str], str] = str,
    ) -> None:
        self.server = server
        self.state = State.CONNECTING if server.is_enabled and not server.problem else State.OFF
        self.problem = server.problem if server.is_enabled else "it is switched off in the settings (mcp_servers)"
        self.found: Found | None = None
        self.tried = asyncio.Event()
        """Set once the first attempt is over, however it went."""
        self._streams = streams
        self._clock = clock
        self._changed = changed
        self._last_words = last_words
        self._hide = hide
        self._client: Client | None = None
        self._attempt = asyncio.Event()
        self._hurry = asyncio.Event()
        self._doubt = asyncio.Event()
        self._is_old_fashioned = False
        self._failures = 0
        if self.state is State.OFF:
            self.tried.set()

    @property
    def is_usable(self) -> bool:
        """It is connected, or was, and may be again by the time that a tool is called."""
        return self.found is not None and self._failures < PATIENCE

    async def run(self) -> None:
        """Until it is cancelled. No failure of the server ends it."""
        if self.state is State.OFF:
            return
        try:
            await self._keep()
        finally:
            self._end_attempt()

    async def _keep(self) -> None:
        wait = FIRST_WAIT_SECONDS
        while True:
            began = self._clock.monotonic()
            try:
                await self._live()
            except Exception as error:  # noqa: BLE001 whatever a server makes of us, the others go on
                self._fail(error)
            if self._clock.monotonic() - began > STEADY_SECONDS:
                wait = FIRST_WAIT_SECONDS
            self._hurry.clear()
            await pause(self._clock, wait, self._hurry)
            wait = min(wait * 2, LONGEST_WAIT_SECONDS)
            self.state = State.CONNECTING

    async def call(self, tool: str, arguments: dict[str, Any]) -> CallToolResult:
        """Raises ToolFailed where there is no result. Cancelling it tells the server."""
        from mcp import MCPError
        from mcp_types import CONNECTION_CLOSED, REQUEST_TIMEOUT
        from pydantic import ValidationError

        client = await self._connected()
        name, seconds = self.server.name, self.server.timeout_seconds
        try:
            async with asyncio.timeout(seconds + 2):  # the package's own limit, which tells the server, comes first
                return await client.call_tool(tool, arguments, read_timeout_seconds=seconds)
        except MCPError as error:
            if error.code == CONNECTION_CLOSED:
                raise ToolFailed(
                    f"The MCP server {name!r} went away during the call; whether it took effect is not known."
                ) from error
            if error.code == REQUEST_TIMEOUT:
                self._doubt.set()
                raise self._too_late() from error
            if error.code == INTERNAL or error.message in _LOST_SESSIONS:
                self._doubt.set()
            raise ToolFailed(
                f"The MCP server {name!r} refused the call: {self._hide(error.message)[:2_000]}"
            ) from error
        except TimeoutError as error:
            self._doubt.set()
            raise self._too_late() from error
        except (ValidationError, RuntimeError) as error:
            log.info("mcp server %s gave no tool result: %s", name, type(error).__name__)
            raise ToolFailed(f"The MCP server {name!r} answered with something that is no result of a tool.") from error

    async def _live(self) -> None:
        """One connection, from its opening to its loss, which is raised."""
        await asyncio.to_thread(importlib.import_module, "mcp")  # a second's work, while others are answered
        began = self._clock.monotonic()
        lost, listed = asyncio.Event(), asyncio.Event()
        async with AsyncExitStack() as stack:
            async with asyncio.timeout(self.server.connect_timeout_seconds):
                client = await self._open(stack, lost, listed)
                tools = await _all_tools(client)
            about = client.server_info
            self.found = Found(
                tools,
                f"{about.name} {about.version}".strip() if about is not None else "",
                client.protocol_version,
                self._clock.monotonic() - began,
            )
            self._client = client
            self._failures = 0
            self._become(State.CONNECTED, "")
            self._end_attempt()
            log.info("mcp server %s is connected, with %d tools", self.server.name, len(tools))
            try:
                async with asyncio.TaskGroup() as group:
                    follower = group.create_task(_follow_changes(client, listed, self._clock))
                    await self._attend(client, lost, listed)
                    follower.cancel()
            finally:
                self._client = None
        raise ServerGone("the connection ended")

    async def _open(self, stack: AsyncExitStack, lost: asyncio.Event, listed: asyncio.Event) -> Client:
        """Raises what opening it raises. A server that cannot bear the question which protocol it speaks is asked in
        the old way from then on."""
        from mcp import MCPError

        is_old = self._is_old_fashioned
        try:
            return await stack.enter_async_context(self._client_for(lost, listed))
        except Exception as error:
            if is_old or self.server.transport is not Transport.STDIO or not isinstance(_cause(error), MCPError):
                raise
            self._is_old_fashioned = True
            lost.clear()
            return await stack.enter_async_context(self._client_for(lost, listed))

    def _client_for(self, lost: asyncio.Event, listed: asyncio.Event) -> Client:
        from mcp import Client
        from mcp_types import Implementation, ToolListChangedNotification

        from hermes import __version__

        async def heard(message: object) -> None:
            if isinstance(message, ToolListChangedNotification):
                listed.set()

        def ended() -> None:
            lost.set()
            self._client = None  # the next call waits for the next connection

        @asynccontextmanager
        async def streams() -> AsyncIterator[Any]:
            async with self._streams() as (read, write):
                yield LenientStream(read, ended), write

        return Client(
            streams(),
            mode="legacy" if self._is_old_fashioned else "auto",
            message_handler=heard,
            read_timeout_seconds=self.server.timeout_seconds,
            client_info=Implementation(name="hermes-server", version=__version__),
            cache=None,
        )

    async def _attend(self, client: Client, lost: asyncio.Event, listed: asyncio.Event) -> None:
        """Returns when the connection is lost; until then, keeps the list of tools."""
        assert self.found is not None
        while True:
            await _first(lost, listed, self._doubt)
            if lost.is_set():
                return
            listed.clear()
            self._doubt.clear()
            async with asyncio.timeout(self.server.connect_timeout_seconds):
                tools = await _all_tools(client)
            if tools != self.found.tools:
                self.found = Found(tools, self.found.server, self.found.protocol, self.found.seconds)
                self._changed()
            await pause(self._clock, LEAST_BETWEEN_LISTS_SECONDS, lost)  # a server may say so without end

    async def _connected(self) -> Client:
        if self._client is None and self.state is not State.OFF:
            self._hurry.set()
            with suppress(TimeoutError):
                await asyncio.wait_for(self._attempt.wait(), CALL_WAITS_SECONDS)
        if self._client is None:
            raise ToolFailed(
                f"The MCP server {self.server.name!r} is not connected: {self.problem or 'it does not answer'}. "
                "Go on without it, or try again later."
            )
        return self._client

    def _fail(self, error: BaseException) -> None:
        why = self._hide(reason(error))
        words = self._last_words()
        said = f"{why}; it said last: {words}" if words else why
        if self.problem != said:
            log.warning("mcp server %s: %s", self.server.name, said)
        was_connected = self.state is State.CONNECTED
        self._failures += not was_connected
        self._become(State.FAILED, said)
        if not was_connected:
            self._end_attempt()

    def _become(self, state: State, problem: str) -> None:
        self.state, self.problem = state, problem
        self._changed()

    def _end_attempt(self) -> None:
        """Whoever waits for this one to connect, or not, goes on; later ones wait for the next."""
        self.tried.set()
        self._attempt.set()
        self._attempt = asyncio.Event()

    def _too_late(self) -> ToolFailed:
        return ToolFailed(
            f"The MCP server {self.server.name!r} did not answer within {self.server.timeout_seconds:g} s (setting "
            f"mcp_servers.{self.server.name}.timeout); whether the call took effect is not known."
        )


INTERNAL = -32603
_LOST_SESSIONS = frozenset({"Session terminated", "Not Found"})


def reason(error: BaseException) -> str:
    """Why a connection failed, in words; of several causes, the first that says something."""
    error = _cause(error)
    if isinstance(error, HermesError):
        return error.message
    if isinstance(error, TimeoutError):
        return "it did not answer in time"
    text = " ".join(str(error).split())[:500]
    if text == "Connection closed":
        return "it ended before it answered"
    return text or type(error).__name__


def _cause(error: BaseException) -> BaseException:
    """The first of several."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


async def _all_tools(client: Client) -> list[McpToolInfo]:
    tools: list[McpToolInfo] = []
    cursor: str | None = None
    if client.server_capabilities.tools is None and client.session.initialize_result is not None:
        return tools
    for _ in range(MOST_PAGES):
        page = await client.list_tools(cursor=cursor)
        tools += page.tools
        cursor = page.next_cursor
        if cursor is None:
            break
    return tools


async def _follow_changes(client: Client, listed: asyncio.Event, clock: Clock) -> None:
    """Servers of the newest protocol tell of changes only where they are asked to. Those of older ones come by
    themselves."""
    from mcp import MCPError
    from mcp.client.subscriptions import ListenNotSupportedError, SubscriptionLost

    capabilities = client.server_capabilities.tools
    if capabilities is None or not capabilities.list_changed:
        return
    while True:
        try:
            async with client.listen(tools_list_changed=True) as subscription:
                listed.set()  # what changed before it listened for us
                async for _ in subscription:
                    listed.set()
        except (ListenNotSupportedError, MCPError):
            return
        except (SubscriptionLost, TimeoutError):
            listed.set()
        await clock.sleep(LONGEST_WAIT_SECONDS)


async def _first(*events: asyncio.Event) -> None:
    waiting = [asyncio.ensure_future(event.wait()) for event in events]
    try:
        await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for one in waiting:
            one.cancel()
