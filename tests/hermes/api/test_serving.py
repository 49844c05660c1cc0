"""What comes before a request is one: its head, too slow, too large, or no HTTP at all."""

from __future__ import annotations

import asyncio
import json

import pytest

from hermes.api.serving import HttpProtocol
from hermes.http.protocol import HEAD_LIMIT_BYTES
from tests.support.api import Server


def parse(answer: bytes) -> tuple[bytes, dict[str, str]]:
    head, _, body = answer.partition(b"\r\n\r\n")
    assert b"x-content-type-options: nosniff" in head
    assert b"connection: close" in head
    assert b"server:" not in head.lower()
    return head.split(b"\r\n")[0], json.loads(body)["error"]


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(HttpProtocol, "head_timeout_seconds", 0.05)


@pytest.mark.usefixtures("impatient")
async def test_a_head_that_does_not_end_times_out(server: Server) -> None:
    answer = await asyncio.wait_for(server.raw(b"GET /health HTTP/1.1\r\nHost: localhost\r\n"), 10)
    line, error = parse(answer)
    assert (line, error["code"]) == (b"HTTP/1.1 408 Request Timeout", "request_timeout")


@pytest.mark.usefixtures("impatient")
async def test_a_connection_that_says_nothing_is_closed(server: Server) -> None:
    assert await asyncio.wait_for(server.raw(b""), 10) == b""


@pytest.mark.usefixtures("impatient")
async def test_the_second_request_of_a_connection_has_the_same_time_limit(server: Server) -> None:
    whole = b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n"
    answer = await asyncio.wait_for(server.raw(whole + b"GET /health HTTP/1.1\r\nHost: loc"), 10)
    assert answer.startswith(b"HTTP/1.1 200 OK")
    assert b"HTTP/1.1 408 Request Timeout" in answer


async def test_a_head_without_end_is_cut_off_at_the_limit(server: Server) -> None:
    head = b"GET /health HTTP/1.1\r\nHost: localhost\r\n" + b"X-Filler: " + b"x" * (HEAD_LIMIT_BYTES + 4096)
    line, error = parse(await asyncio.wait_for(server.raw(head), 10))
    assert line == b"HTTP/1.1 431 Request Header Fields Too Large"
    assert error["code"] == "head_too_large"


async def test_a_large_body_is_not_taken_for_a_large_head(server: Server) -> None:
    assert (await server.chat("x" * (4 * HEAD_LIMIT_BYTES))).status_code == 200


@pytest.mark.parametrize("sent", [b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", b"HELO\r\n\r\n", b"GET\r\n\r\n"])
async def test_what_is_no_http_gets_the_envelope_and_a_closed_connection(server: Server, sent: bytes) -> None:
    line, error = parse(await asyncio.wait_for(server.raw(sent), 10))
    assert (line, error["code"]) == (b"HTTP/1.1 400 Bad Request", "invalid_request")


async def test_an_upgrade_that_is_not_served_is_answered_like_any_request(server: Server) -> None:
    head = (
        b"GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: eHh4eHh4eHh4eHh4eHh4eA==\r\n\r\n"
    )
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    writer.write(head)
    assert await asyncio.wait_for(reader.readline(), 10) == b"HTTP/1.1 200 OK\r\n"
    writer.close()


async def test_a_websocket_that_is_refused_is_no_error_of_the_server(
    server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    head = (
        b"GET /v1/responses HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: eHh4eHh4eHh4eHh4eHh4eA==\r\n\r\n"
    )
    answer = await asyncio.wait_for(server.raw(head), 10)
    assert answer.startswith(b"HTTP/1.1 401 Unauthorized")
    assert json.loads(answer.partition(b"\r\n\r\n")[2])["error"]["code"] == "invalid_api_key"
    assert [record.message for record in caplog.records if record.levelname == "ERROR"] == []
