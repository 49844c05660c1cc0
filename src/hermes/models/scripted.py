"""An OpenAI-compatible server that plays a script: for tests, demos and measurements.

    async with ScriptedModelServer([Step(tool_calls=(Call("terminal", {"command": "ls"}),)), "Done"]) as server:
        server.base_url, server.requests

`python -m hermes.models.scripted --port 0 [--script FILE]` does the same from a file; docs/models.md has its format.
The server is a bare protocol on httptools: a turn of 20 tokens costs it under 60 µs, aiohttp.web needs 150.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import threading
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, cast

import httptools
import orjson

from .script import DEFAULT_SCRIPT, Call, Plan, Player, Script, Step, load_script, tokens_script

__all__ = ["Call", "Received", "ScriptedModelServer", "Step", "load_script", "main"]


@dataclass(frozen=True, slots=True)
class Received:
    """One HTTP request as it came in. Header names are lower case."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return orjson.loads(self.body)


class ScriptedModelServer:
    """Serves `script` on `base_url` while its `async with` block lasts, or, from code without a loop, its `with` block.

    `requests` are the bodies of the chat completions asked so far, `received` everything with headers and path.
    `disconnects` counts answers that the client did not wait for. `records=False` keeps nothing, for long runs.
    `api_key`: what a client must send; None takes anything.
    """

    def __init__(
        self,
        script: Script = DEFAULT_SCRIPT,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        model: str = "scripted",
        api_key: str | None = None,
        delay_ms: float = 0,
        first_delay_ms: float = 0,
        records: bool = True,
    ) -> None:
        self.player = Player(script, model=model, delay_ms=delay_ms, first_delay_ms=first_delay_ms)
        self.model = model
        self.host = host
        self.port = port
        self.requests: list[dict[str, Any]] = []
        self.received: list[Received] = []
        self.disconnects = 0
        self.records = records
        self.connections: set[_Connection] = set()
        self._authorization = None if api_key is None else f"Bearer {api_key}".encode()
        self._changed = asyncio.Event()
        self._server: asyncio.Server | None = None
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    @property
    def base_url(self) -> str:
        return f"http://{self.host}:{self.port}/v1"

    async def start(self) -> None:
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: _Connection(self), self.host, self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def close(self) -> None:
        if self._server is not None:
            self._server.close()
            for connection in list(self.connections):
                connection.abort()
            await self._server.wait_closed()
            self._server = None

    async def wait_for_requests(self, count: int) -> None:
        """Until so many chat completions were asked in all."""
        while len(self.requests) < count:
            await self._wait()

    async def wait_for_disconnects(self, count: int) -> None:
        """Until the client left so many answers before their end."""
        while self.disconnects < count:
            await self._wait()

    def add(self, *steps: Step | str) -> None:
        """More of the script, behind what is left of it."""
        self.player.add(steps)

    async def __aenter__(self) -> ScriptedModelServer:
        await self.start()
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.close()

    def __enter__(self) -> ScriptedModelServer:
        self._loop = asyncio.new_event_loop()
        self._loop.run_until_complete(self.start())
        self._thread = threading.Thread(target=self._loop.run_forever, name="scripted-model", daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._loop is not None and self._thread is not None
        asyncio.run_coroutine_threadsafe(self.close(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _wait(self) -> None:
        self._changed.clear()
        await self._changed.wait()

    def _keep(self, received: Received, request: dict[str, Any] | None) -> None:
        self.received.append(received)
        if request is not None:
            self.requests.append(request)
        self._changed.set()

    def _count_disconnect(self) -> None:
        self.disconnects += 1
        self._changed.set()


class _Connection(asyncio.Protocol):
    """One client. Requests of one connection are answered one after the other, as HTTP/1.1 has it."""

    def __init__(self, server: ScriptedModelServer) -> None:
        self._server = server
        self._transport: asyncio.Transport | None = None
        self._parser = httptools.HttpRequestParser(self)
        self._path = b""
        self._headers: list[tuple[bytes, bytes]] = []
        self._body: list[bytes] = []
        self._playing: asyncio.Task[None] | None = None
        self._waiting: list[tuple[str, bytes, list[tuple[bytes, bytes]], bytes]] = []

    def abort(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is none by class
        self._server.connections.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._server.connections.discard(self)
        self._transport = None
        if self._playing is not None:
            self._playing.cancel()
            self._server._count_disconnect()

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            self.abort()

    def on_message_begin(self) -> None:
        self._headers = []
        self._body = []

    def on_url(self, url: bytes) -> None:
        self._path = url

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers.append((name, value))

    def on_body(self, body: bytes) -> None:
        self._body.append(body)

    def on_message_complete(self) -> None:
        method = self._parser.get_method().decode()
        body = self._body[0] if len(self._body) == 1 else b"".join(self._body)
        if self._playing is not None:
            self._waiting.append((method, self._path, self._headers, body))
        else:
            self._answer(method, self._path, self._headers, body)

    def _answer(self, method: str, path: bytes, headers: list[tuple[bytes, bytes]], body: bytes) -> None:
        server = self._server
        is_chat = method == "POST" and path.partition(b"?")[0].endswith(b"/chat/completions")
        if not server.records and is_chat and server._authorization is None:
            fixed = server.player.fixed(body)
            if fixed is not None:
                self._write(fixed)
                return
        names = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in headers}
        request: dict[str, Any] | None = None
        plan: Plan
        if server._authorization is not None and names.get("authorization", "").encode() != server._authorization:
            plan = Plan.error(401, "Incorrect API key provided", "invalid_api_key")
        elif is_chat:
            try:
                value = orjson.loads(body)
                request = value if isinstance(value, dict) else None
            except orjson.JSONDecodeError:
                request = None
            plan = server.player.plan(request) if request is not None else Plan.error(400, "the body is no JSON object")
        elif method == "GET" and path.endswith(b"/models"):
            plan = Plan.json({"object": "list", "data": [server.player.model_object]})
        else:
            plan = Plan.error(404, f"nothing at {method} {path.decode('latin-1')}")
        if server.records:
            server._keep(Received(method, path.decode("latin-1"), names, body), request)
        if plan.is_immediate:
            self._write(plan.head + b"".join(plan.pieces))
            if plan.closes:
                self._close()
        else:
            self._playing = asyncio.get_running_loop().create_task(self._play(plan))

    async def _play(self, plan: Plan) -> None:
        if plan.first_delay:
            await asyncio.sleep(plan.first_delay)
        self._write(plan.head)
        for number, piece in enumerate(plan.pieces):
            if number and plan.delay:
                await asyncio.sleep(plan.delay)
            self._write(piece)
        if plan.hangs:
            await asyncio.Event().wait()
        self._playing = None
        if plan.closes:
            self._close()
        elif self._waiting:
            self._answer(*self._waiting.pop(0))

    def _write(self, data: bytes) -> None:
        if self._transport is not None and data:
            self._transport.write(data)

    def _close(self) -> None:
        if self._transport is not None:
            self._transport.close()


async def serve(server: ScriptedModelServer) -> None:
    async with server:
        print(f"scripted model listening on {server.base_url}", flush=True)  # noqa: T201
        await asyncio.Event().wait()


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="hermes models scripted", description="A model server that plays a script.")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0, help="0 takes a free one and prints it")
    parser.add_argument("--script", type=Path, help="YAML or JSON; without one it echoes, and `run: ls` calls a tool")
    parser.add_argument("--tokens", type=int, help="always answer with so many tokens")
    parser.add_argument("--delay-ms", type=float, default=0, help="between two tokens")
    parser.add_argument("--first-delay-ms", type=float, default=0, help="before the first byte")
    parser.add_argument("--model", default="scripted")
    options = parser.parse_args(arguments)
    script: Iterable[Step | str] = DEFAULT_SCRIPT
    if options.script is not None:
        try:
            script = load_script(options.script)
        except (OSError, ValueError) as exc:
            print(f"{options.script}: {exc}", file=sys.stderr)  # noqa: T201
            return 2
    elif options.tokens is not None:
        script = tokens_script(options.tokens)
    server = ScriptedModelServer(
        tuple(script),
        host=options.host,
        port=options.port,
        model=options.model,
        delay_ms=options.delay_ms,
        first_delay_ms=options.first_delay_ms,
        records=False,
    )
    try:
        _run(server)
    except KeyboardInterrupt:
        return 0
    return 0


def _run(server: ScriptedModelServer) -> None:
    try:
        import uvloop
    except ImportError:
        asyncio.run(serve(server))
    else:
        uvloop.run(serve(server))


if __name__ == "__main__":
    sys.exit(main())
