"""Streams of events: what is on the wire, where one goes on, and what ends it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from hermes.core.errors import HermesError
from hermeslink.api import dependencies, sse
from hermeslink.api.app import GROUPS
from tests.support.clock import FakeClock
from tests.support.link import LinkServer, serving_link

pytestmark = pytest.mark.sqlite("Link keeps its data in SQLite")


class Told:
    """Events that a test puts in by hand. `closed`: its reader was let go."""

    def __init__(self) -> None:
        self.queue: asyncio.Queue[sse.Event | Exception | None] = asyncio.Queue()
        self.after: list[int] = []
        self.closed = asyncio.Event()

    def tell(self, *events: sse.Event | Exception | None) -> None:
        for event in events:
            self.queue.put_nowait(event)

    async def follow(self, after: int) -> AsyncIterator[sse.Event]:
        self.after.append(after)
        try:
            while (event := await self.queue.get()) is not None:
                if isinstance(event, Exception):
                    raise event
                yield event
        finally:
            self.closed.set()


@pytest.fixture
def told() -> Told:
    return Told()


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
async def server(tmp_path: Path, told: Told, clock: FakeClock) -> AsyncIterator[LinkServer]:
    router = APIRouter(prefix="/api/v1")

    @router.get("/stream")
    async def stream(
        request: Request, link: dependencies.TheLink, caller: dependencies.TheCaller, after: dependencies.After
    ) -> Response:
        return sse.events_response(request, told.follow(after), link.devices.revoked(caller.device_id))

    async with serving_link(tmp_path, groups=[*GROUPS, router], clock=clock, body_timeout_seconds=0.5) as serving:
        yield serving


def event(number: int, text: str = "x") -> sse.Event:
    return number, "message.delta", {"text": text}


async def test_an_event_is_its_id_its_type_and_json(server: LinkServer, told: Told) -> None:
    told.tell((7, "message.delta", {"text": "süß\n"}), (None, "note", b'{"made":1}'), None)
    answer = await server.admin.get("/api/v1/stream")
    assert answer.content == (
        'id: 7\nevent: message.delta\ndata: {"text":"süß\\n"}\n\nevent: note\ndata: {"made":1}\n\n'.encode()
    )
    assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert answer.headers["cache-control"] == "no-cache"
    assert answer.headers["x-accel-buffering"] == "no"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert told.closed.is_set()


@pytest.mark.parametrize(
    ("query", "header", "after"), [("", None, 0), ("?after=4", None, 4), ("?after=4", "9", 9), ("?after=12", "9", 12)]
)
async def test_it_goes_on_after_the_greater_of_both(
    server: LinkServer, told: Told, query: str, header: str | None, after: int
) -> None:
    told.tell(None)
    await server.admin.get(f"/api/v1/stream{query}", headers={"Last-Event-ID": header} if header else {})
    assert told.after == [after]


@pytest.mark.parametrize("text", ["x", "-1", "1.5", "9" * 30, "٣"])
async def test_an_id_that_is_none_is_refused(server: LinkServer, text: str) -> None:
    answer = await server.admin.get("/api/v1/stream", params={"after": text})
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "invalid_cursor")


async def test_silence_is_filled_with_comments(server: LinkServer, told: Told, clock: FakeClock) -> None:
    async with server.admin.stream("GET", "/api/v1/stream") as answer:
        lines = answer.aiter_lines()
        for _ in range(2):
            await clock.someone_sleeps(sse.SILENCE_SECONDS)
            clock.advance(sse.SILENCE_SECONDS)
            assert (await anext(lines), await anext(lines)) == (": keep-alive", "")
        told.tell(event(1))
        assert await anext(lines) == "id: 1"


async def test_what_is_ready_goes_out_together_and_in_order(server: LinkServer, told: Told) -> None:
    told.tell(*(event(number) for number in range(1, 5001)), None)
    answer = await server.admin.get("/api/v1/stream")
    ids = [int(line.removeprefix("id: ")) for line in answer.text.splitlines() if line.startswith("id: ")]
    assert ids == list(range(1, 5001))


async def test_a_client_that_leaves_lets_its_reader_go(server: LinkServer, told: Told) -> None:
    async with server.admin.stream("GET", "/api/v1/stream") as answer:
        told.tell(event(1))
        await anext(answer.aiter_lines())
    async with asyncio.timeout(5):
        await told.closed.wait()


async def test_revoking_the_device_ends_its_stream_within_a_second(server: LinkServer, told: Told) -> None:
    async with server.admin.stream("GET", "/api/v1/stream") as answer:
        told.tell(event(1))
        lines = answer.aiter_lines()
        await anext(lines)
        async with asyncio.timeout(1):
            await server.link.devices.revoke(None, server.admin_device.device.id)
            rest = [line async for line in lines]
    assert rest[:2] == ["event: message.delta", 'data: {"text":"x"}']
    told.tell(event(2))
    again = await server.admin.get("/api/v1/stream")
    assert (again.status_code, again.json()["error"]["code"]) == (401, "device_access_token_invalid")


async def test_a_stopping_service_ends_streams(server: LinkServer, told: Told) -> None:
    async with server.admin.stream("GET", "/api/v1/stream") as answer:
        told.tell(event(1))
        lines = answer.aiter_lines()
        await anext(lines)
        async with asyncio.timeout(1):
            server.link.stopping.set()
            async for _ in lines:
                pass
    assert told.closed.is_set()


@pytest.mark.parametrize("error", [HermesError("gone"), RuntimeError("a bug")])
async def test_a_stream_that_fails_breaks_off_after_what_came_before(
    server: LinkServer, told: Told, error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    told.tell(event(1), error)
    seen: list[str] = []
    with pytest.raises(httpx.RemoteProtocolError):
        async with server.admin.stream("GET", "/api/v1/stream") as answer:
            async for line in answer.aiter_lines():
                seen.append(line)
    assert "id: 1" in seen
    told_with_its_place = [record for record in caplog.records if record.exc_info]
    assert bool(told_with_its_place) is isinstance(error, RuntimeError)
    assert (await server.admin.get("/api/v1/system/version")).status_code == 200


async def test_a_body_that_was_promised_and_does_not_come_ends_the_stream_as_leaving_does(
    server: LinkServer, told: Told
) -> None:
    own = f"Host: localhost\r\nAuthorization: Bearer {server.admin_device.access.token}\r\nContent-Length: 5\r\n\r\n"
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    writer.write(f"GET /api/v1/stream HTTP/1.1\r\n{own}".encode())
    told.tell(event(1))
    async with asyncio.timeout(5):
        await reader.readuntil(b"id: 1\n")
        await told.closed.wait()
    writer.close()
    await writer.wait_closed()


async def test_a_head_of_a_stream_has_its_headers_and_follows_nothing(server: LinkServer, told: Told) -> None:
    async with asyncio.timeout(2):
        answer = await server.admin.head("/api/v1/stream")
    assert (answer.status_code, answer.content) == (200, b"")
    assert answer.headers["content-type"].startswith("text/event-stream")
    assert told.after == []


async def test_a_client_that_reads_nothing_holds_back_its_own_stream_only(server: LinkServer, told: Told) -> None:
    token = server.admin_device.access.token
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port, limit=1024)
    writer.write(f"GET /api/v1/stream HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\n\r\n".encode())
    await reader.readuntil(b"\r\n")
    told.tell(*(event(number, "x" * 20_000) for number in range(1, 3001)))
    async with asyncio.timeout(5):
        while told.queue.qsize() == 3000:
            await asyncio.sleep(0)
    for _ in range(1000):
        await asyncio.sleep(0)
    assert told.queue.qsize() > 1000, "what it does not read stays where it is kept"
    async with asyncio.timeout(1):
        await server.link.devices.revoke(None, server.admin_device.device.id)
        await told.closed.wait()
    writer.close()
    with contextlib.suppress(ConnectionError):
        await writer.wait_closed()
