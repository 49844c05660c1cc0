"""The WebSocket of /v1/responses: who gets in, what goes on on it, and how it ends."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from hermes.api.auth import OwnerKey, Principal, Scope
from hermes.api.responses.socket import MAX_WAITING
from hermes.api.services import ApiSettings
from hermes.core.errors import UpstreamError
from hermes.core.key import OWNER
from hermes.core.model import ModelDone, TextDelta
from hermes.runs.runner import RunnerSettings
from tests.support.api import AUTH, KEY
from tests.support.clock import FakeClock
from tests.support.models import ScriptedModel, calls, says
from tests.support.openresponses import check, check_stream
from tests.support.responses import Responses, open_responses, text_of
from tests.support.tools import EchoTool

TERMINAL = ("response.completed", "response.failed", "response.incomplete", "error")


class ReadKey:
    """A key that may only read."""

    async def find(self, digest: bytes) -> Principal | None:
        return Principal("reader", "reader", frozenset({Scope.READ}))


@asynccontextmanager
async def opened(api: Responses, headers: Mapping[str, str] | None = None) -> AsyncIterator[ClientConnection]:
    url = f"ws://127.0.0.1:{api.server.port}/v1/responses"
    async with connect(url, additional_headers=AUTH if headers is None else headers, proxy=None) as connection:
        yield connection


async def ask(connection: ClientConnection, **body: Any) -> None:
    await connection.send(json.dumps({"type": "response.create", "input": "Hi", **body}))


async def hear(connection: ClientConnection) -> list[dict[str, Any]]:
    """The events of one response, checked."""
    events: list[dict[str, Any]] = []
    while not events or events[-1]["type"] not in TERMINAL:
        events.append(json.loads(await connection.recv()))
    if events[-1]["type"] == "error":
        check("WebSocketErrorEvent", events[-1])
        check_stream(events[:-1])
    else:
        check_stream(events)
    return events


def error_of(events: list[dict[str, Any]]) -> tuple[int, str, str | None]:
    error = events[-1]
    return error["status"], error["error"]["code"], error["error"]["param"]


@pytest.mark.parametrize(
    ("headers", "status", "code"),
    [
        ({}, 401, "invalid_api_key"),
        ({"Authorization": "Bearer wrong"}, 401, "invalid_api_key"),
        ({**AUTH, "Origin": "https://evil.example"}, 403, "origin_not_allowed"),
        ({**AUTH, "Sec-Fetch-Site": "cross-site"}, 403, "origin_not_allowed"),
        ({**AUTH, "Host": "rebound.example"}, 421, "host_not_allowed"),
    ],
)
async def test_who_would_not_get_in_by_http_does_not_get_in(headers: dict[str, str], status: int, code: str) -> None:
    async with open_responses(ScriptedModel([])) as api:
        if "Host" in headers:  # the client would add its own beside it
            raw = await api.server.raw(handshake(Host="rebound.example"))
            assert raw.startswith(b"HTTP/1.1 421 ")
            assert code.encode() in raw
            return
        with pytest.raises(InvalidStatus) as refused:
            async with opened(api, headers):
                pass
        response = refused.value.response
        assert response.status_code == status
        assert json.loads(response.body or b"")["error"]["code"] == code
        assert response.headers["X-Content-Type-Options"] == "nosniff"
        assert response.headers["X-Request-Id"].startswith("req_")


async def test_a_key_without_the_scope_does_not_get_in() -> None:
    async with open_responses(ScriptedModel([]), keys=ReadKey()) as api:
        with pytest.raises(InvalidStatus) as refused:
            async with opened(api):
                pass
        assert refused.value.response.status_code == 403
        assert b"insufficient_scope" in (refused.value.response.body or b"")


async def test_a_page_of_the_servers_own_origin_gets_in() -> None:
    async with open_responses(ScriptedModel([says("Hello")])) as api:
        own = {**AUTH, "Origin": f"http://127.0.0.1:{api.server.port}"}
        async with opened(api, own) as connection:
            await ask(connection)
            assert (await hear(connection))[-1]["type"] == "response.completed"


def handshake(path: str = "/v1/responses", **changed: str | None) -> bytes:
    headers: dict[str, str | None] = {
        "Host": "127.0.0.1",
        "Authorization": f"Bearer {KEY}",
        "Connection": "Upgrade, close",
        "Upgrade": "websocket",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
    }
    headers |= {name.replace("_", "-"): value for name, value in changed.items()}
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items() if value is not None)
    return f"GET {path} HTTP/1.1\r\n{lines}\r\n".encode()


@pytest.mark.parametrize(
    ("path", "changed", "status"),
    [
        ("/v1/responses", {"Sec_WebSocket_Key": None}, b"405"),
        ("/v1/responses", {"Sec_WebSocket_Key": "short"}, b"405"),
        ("/v1/responses", {"Sec_WebSocket_Key": "!"}, b"405"),
        ("/v1/responses", {"Sec_WebSocket_Version": "8"}, b"405"),
        ("/health", {}, b"200"),
        ("/v1/nothing", {}, b"404"),
    ],
)
async def test_what_is_no_websocket_of_ours_is_answered_like_any_request(
    path: str, changed: dict[str, str | None], status: bytes
) -> None:
    async with open_responses(ScriptedModel([])) as api:
        answer = await api.server.raw(handshake(path, **changed))
        assert answer.startswith(b"HTTP/1.1 " + status)
        assert b"x-content-type-options: nosniff" in answer.lower()


@pytest.mark.parametrize(
    ("message", "code", "param"),
    [
        ("no json", "invalid_json", None),
        ("[]", "invalid_request", None),
        ("{}", "invalid_request", "type"),
        ('{"type": "response.cancel"}', "invalid_request", "type"),
        ('{"type": "response.create"}', "invalid_request", "input"),
        ('{"type": "response.create", "input": "x", "stream": true}', "invalid_request", "stream"),
        ('{"type": "response.create", "input": "x", "background": true}', "invalid_request", "background"),
        ("[" * 200 + "]" * 200, "invalid_json", None),
    ],
)
async def test_a_bad_message_is_told_and_the_connection_goes_on(message: str, code: str, param: str | None) -> None:
    async with open_responses(ScriptedModel([says("Hello")])) as api, opened(api) as connection:
        for sent in (message, message.encode()):
            await connection.send(sent)
            assert error_of(await hear(connection)) == (400, code, param)
        await ask(connection)
        assert text_of((await hear(connection))[-1]["response"]) == "Hello"


async def test_its_events_are_those_of_the_stream() -> None:
    model = ScriptedModel([calls(("c", "echo", '{"text": "abc"}')), says("Done")])
    async with open_responses(model, EchoTool()) as api, opened(api) as connection:
        await ask(connection)
        events = await hear(connection)
        assert await api.resume(events[0]["response"]["id"]) == events
        assert set(events[0]["hermes"]) == {"event", "run_id", "session_id"}


async def test_messages_that_come_at_once_are_answered_in_turn() -> None:
    model = ScriptedModel([says(str(number)) for number in range(10)])
    async with open_responses(model) as api, opened(api) as connection:
        for _ in range(10):
            await ask(connection)
        told = [text_of((await hear(connection))[-1]["response"]) for _ in range(10)]
        assert told == [str(number) for number in range(10)]


async def test_the_headers_of_the_connection_hold_for_each_response_but_the_idempotency_key() -> None:
    model = ScriptedModel([says("one"), says("two")])
    headers = {**AUTH, "X-Hermes-Session-Id": "mine", "Idempotency-Key": "k", "X-Hermes-Tool-Items": "mcp_call"}
    async with open_responses(model) as api, opened(api, headers) as connection:
        for _ in range(2):
            await ask(connection)
            assert (await hear(connection))[0]["hermes"]["session_id"] == "mine"
        assert len(model.requests[-1].messages) == 4


async def test_a_stored_response_is_gone_on_with_on_any_connection() -> None:
    model = ScriptedModel([says("one"), says("two"), says("three")])
    async with open_responses(model) as api:
        async with opened(api) as connection:
            await ask(connection)
            first = (await hear(connection))[-1]["response"]
        async with opened(api) as connection:
            await ask(connection, previous_response_id=first["id"], store=False)
            second = (await hear(connection))[-1]["response"]
            await ask(connection, previous_response_id=second["id"], store=False)
            await hear(connection)
        assert [m.text for m in model.requests[-1].messages[1:]] == ["Hi", "one", "Hi", "two", "Hi"]


async def test_a_run_that_fails_is_told_and_forgotten() -> None:
    model = ScriptedModel([says("one"), [TextDelta("Ha"), UpstreamError("down")], says("two")])
    async with open_responses(model) as api, opened(api) as connection:
        await ask(connection, store=False)
        first = (await hear(connection))[-1]["response"]
        await ask(connection, previous_response_id=first["id"], store=False)
        assert (await hear(connection))[-1]["type"] == "response.failed"
        await ask(connection, previous_response_id=first["id"], store=False)
        assert error_of(await hear(connection)) == (404, "previous_response_not_found", "previous_response_id")


async def test_a_run_that_gets_no_place_is_an_error_with_its_status() -> None:
    never = asyncio.Event()
    model = ScriptedModel([[never, ModelDone("stop")]])
    settings = RunnerSettings(max_running=1, queue_timeout_seconds=0.05)
    async with (
        open_responses(model, runner_settings=settings, settings=ApiSettings(queue_timeout_seconds=0.05)) as api,
        opened(api) as connection,
    ):
        await api.create(background=True)
        await ask(connection)
        assert error_of(await hear(connection))[:2] == (429, "rate_limit_exceeded")
        never.set()


async def test_a_client_that_leaves_ends_its_run_after_the_grace() -> None:
    clock = FakeClock()
    model = ScriptedModel([[TextDelta("Half"), asyncio.Event()]])
    async with open_responses(model, clock=clock) as api:
        async with opened(api) as connection:
            await ask(connection)
            run_id = json.loads(await connection.recv())["hermes"]["run_id"]
            while "Half" not in str(await connection.recv()):
                pass
        await clock.someone_sleeps(2)
        clock.advance(2.1)
        ended = [one.event.name async for one in api.runner.follow(run_id)]
        assert ended[-1] == "run.cancelled"


async def test_a_connection_that_breaks_while_it_is_written_to_ends_its_run_too() -> None:
    clock, is_broken = FakeClock(), asyncio.Event()
    more = [TextDelta("x" * 100_000) for _ in range(50)]
    model = ScriptedModel([[TextDelta("Half"), is_broken, *more, asyncio.Event()]])
    async with open_responses(model, clock=clock) as api:
        async with opened(api) as connection:
            await ask(connection)
            run_id = json.loads(await connection.recv())["hermes"]["run_id"]
            while "Half" not in str(await connection.recv()):
                pass
            is_broken.set()
            connection.transport.abort()
        await clock.someone_sleeps(2)
        clock.advance(2.1)
        ended = [one.event.name async for one in api.runner.follow(run_id)]
        assert ended[-1] == "run.cancelled"


async def test_a_server_that_stops_says_so_and_closes() -> None:
    model = ScriptedModel([[TextDelta("Half"), asyncio.Event()]])
    async with open_responses(model) as api, opened(api) as idle, opened(api) as busy:
        await ask(busy)
        while "Half" not in str(await busy.recv()):
            pass
        api.server.services.stop.set()
        told = json.loads(await busy.recv())
        assert (told["type"], told["status"], told["error"]["code"]) == ("error", 503, "gateway_draining")
        for connection in (idle, busy):
            with pytest.raises(ConnectionClosed) as closed:
                await connection.recv()
            assert closed.value.rcvd is not None
            assert closed.value.rcvd.code == 1001


async def test_a_message_that_is_too_large_closes_the_connection() -> None:
    async with open_responses(ScriptedModel([])) as api, opened(api) as connection:
        with pytest.raises(ConnectionClosed) as closed:
            await ask(connection, input="x" * (10 * 1024 * 1024 + 1))
            await connection.recv()
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 1009


async def test_a_revoked_key_ends_the_connection() -> None:
    keys = OwnerKey(KEY)
    async with open_responses(ScriptedModel([]), keys=keys) as api, opened(api) as connection:
        keys.replace("another key of thirty-two characters")
        told = json.loads(await connection.recv())
        assert (told["status"], told["error"]["code"]) == (401, "invalid_api_key")
        with pytest.raises(ConnectionClosed):
            await connection.recv()


async def test_what_waits_on_the_connection_of_a_revoked_key_is_not_begun() -> None:
    keys, hold = OwnerKey(KEY), asyncio.Event()
    model = ScriptedModel([[TextDelta("I think"), hold, ModelDone("stop")]])
    async with open_responses(model, keys=keys) as api, opened(api) as connection:
        for _ in range(1 + MAX_WAITING):
            await ask(connection)
        while json.loads(await connection.recv())["type"] != "response.output_text.delta":
            pass
        keys.replace("another key of thirty-two characters")
        with pytest.raises(ConnectionClosed):
            while True:
                await connection.recv()
        hold.set()
        [run] = await api.runner.list_runs(OWNER)
        assert [one async for one in api.runner.follow(run.id)]
        assert len(await api.runner.list_runs(OWNER)) == 1


@pytest.mark.parametrize(("count", "size"), [(2 + MAX_WAITING, 1), (3, 600)])
async def test_a_client_that_does_not_wait_for_answers_is_cut_off_and_its_leaving_is_heard(
    count: int, size: int
) -> None:
    model = ScriptedModel([[TextDelta("I think"), asyncio.Event()]])
    settings = ApiSettings(json_limit_bytes=1000, disconnect_grace_seconds=0.0)
    async with open_responses(model, settings=settings) as api, opened(api) as connection:
        await ask(connection)
        while json.loads(await connection.recv())["type"] != "response.output_text.delta":
            pass
        for _ in range(count - 1):
            await ask(connection, input="x" * size)
        assert error_of([json.loads(await connection.recv())]) == (429, "rate_limit_exceeded", None)
        with pytest.raises(ConnectionClosed) as closed:
            await connection.recv()
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 1013
        [run] = await api.runner.list_runs(OWNER)
        assert [one async for one in api.runner.follow(run.id)][-1].event.name == "run.cancelled"
