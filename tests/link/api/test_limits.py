"""What a client may send: how much, how slowly, how deep. Over a limit it is refused, and memory stays as it was."""

from __future__ import annotations

import asyncio
import json
import tracemalloc
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import httpx
import pytest
from fastapi import APIRouter
from starlette.requests import Request

from hermes.http.body import MAX_NESTING
from hermes.http.protocol import HEAD_LIMIT_BYTES
from hermeslink.api.app import GROUPS, create_app
from hermeslink.api.bodies import Body
from hermeslink.api.limits import JSON_LIMIT_BYTES, UPLOAD_LIMIT_BYTES
from hermeslink.api.serving import HttpProtocol
from tests.support.link import LinkServer, listening, serving_link

pytestmark = pytest.mark.sqlite("Link keeps its data in SQLite")

JSON = {"Content-Type": "application/json"}


class Note(Body):
    title: str = ""


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[LinkServer]:
    router = APIRouter(prefix="/api/v1")

    @router.post("/notes")
    async def note(body: Note) -> dict[str, str]:
        return {"title": body.title}

    @router.post("/conversations/{conversation_id}/blobs")
    async def upload(conversation_id: str, request: Request) -> dict[str, int]:
        size = 0
        async for part in request.stream():
            size += len(part)
        return {"size": size}

    others = [group for group in GROUPS if "blobs" not in group.tags]
    async with serving_link(tmp_path, groups=[router, *others], body_timeout_seconds=0.5) as serving:
        yield serving


def code_of(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["error"]["code"]


def start(server: LinkServer, path: str, *lines: str) -> bytes:
    token = server.admin_device.access.token
    own = [f"POST {path} HTTP/1.1", "Host: localhost", f"Authorization: Bearer {token}", "Connection: close"]
    return "\r\n".join([*own, *lines, "", ""]).encode()


def parsed(answer: bytes) -> tuple[int, str]:
    head, _, body = answer.partition(b"\r\n\r\n")
    assert b"x-content-type-options: nosniff" in head
    return int(head.split()[1]), json.loads(body)["error"]["code"]


async def test_one_mebibyte_passes_and_one_more_byte_does_not(server: LinkServer) -> None:
    body = b'{"title":"' + b"x" * (JSON_LIMIT_BYTES - 12) + b'"}'
    assert len(body) == JSON_LIMIT_BYTES == 1 << 20
    assert (await server.admin.post("/api/v1/notes", content=body, headers=JSON)).status_code == 200
    answer = await server.admin.post("/api/v1/notes", content=body + b" ", headers=JSON)
    assert code_of(answer) == (413, "body_too_large")


async def test_a_declared_length_over_the_limit_is_refused_before_a_byte_is_read(server: LinkServer) -> None:
    for length in ("1048577", "99999999999999999999999999"):
        asked = start(server, "/api/v1/notes", "Content-Type: application/json", f"Content-Length: {length}")
        status = (await server.raw(asked)).split()[1]
        assert status in (b"413", b"400")


async def test_a_body_without_a_length_is_counted_as_it_comes(server: LinkServer) -> None:
    asked = start(server, "/api/v1/notes", "Content-Type: application/json", "Transfer-Encoding: chunked")
    chunk = b"10000\r\n" + b" " * 65536 + b"\r\n"
    assert parsed(await server.raw(asked + 17 * chunk)) == (413, "body_too_large")


async def test_an_upload_may_be_larger_and_has_a_code_of_its_own(server: LinkServer) -> None:
    path = "/api/v1/conversations/x/blobs"
    answer = await server.chat.post(path, content=b"x" * (JSON_LIMIT_BYTES + 1))
    assert answer.json() == {"size": JSON_LIMIT_BYTES + 1}
    asked = start(server, path, f"Content-Length: {UPLOAD_LIMIT_BYTES * 2}")
    assert parsed(await server.raw(asked)) == (413, "blob_too_large")


async def test_memory_is_flat_while_sixty_megabytes_come_without_a_length(server: LinkServer) -> None:
    async def body() -> AsyncIterator[bytes]:
        part = bytes(256 * 1024)
        for _ in range(240):
            yield part

    tracemalloc.start()
    try:
        with suppress(httpx.WriteError, httpx.ReadError):  # answered before the end, and the connection closed
            answer = await server.admin.post("/api/v1/conversations/x/blobs", content=body())
            assert code_of(answer) == (413, "blob_too_large")
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 8 << 20


async def test_without_a_token_nothing_of_a_body_is_read(server: LinkServer) -> None:
    answer = await server.head("POST /api/v1/notes HTTP/1.1", "Host: localhost", "Content-Length: 500")
    assert parsed(answer) == (401, "auth_required")


async def test_a_body_that_does_not_come_times_out(server: LinkServer) -> None:
    asked = start(server, "/api/v1/notes", "Content-Type: application/json", "Content-Length: 50")
    answer = await server.raw(asked + b'{"tit')
    assert parsed(answer) == (408, "request_timeout")
    assert b"connection: close" in answer


async def test_a_head_that_is_too_large_is_refused_in_the_envelope(server: LinkServer) -> None:
    filler = "".join(f"X-Filler-{number}: {'x' * 1000}\r\n" for number in range(HEAD_LIMIT_BYTES // 1000 + 1))
    answer = await server.raw(f"GET /api/v1/system/version HTTP/1.1\r\nHost: localhost\r\n{filler}".encode())
    assert parsed(answer) == (431, "head_too_large")


class Impatient(HttpProtocol):
    head_timeout_seconds = 0.1


async def test_a_head_that_does_not_come_is_told_so_and_silence_is_closed(server: LinkServer) -> None:
    async with listening(create_app(server.link), Impatient) as port:
        slow = replace(server, port=port)
        assert parsed(await slow.raw(b"GET /api/v1/system/version HTTP/1.1\r\nHost: loc")) == (408, "request_timeout")
        assert await slow.raw(b"") == b""


async def test_what_is_no_http_is_answered_in_the_envelope(server: LinkServer) -> None:
    assert parsed(await server.raw(b"\x16\x03\x01 hello\r\n\r\n")) == (400, "invalid_request")


@pytest.mark.parametrize(
    "body",
    [
        b"{",
        b"nope",
        b'{"title": NaN}',
        b'{"title": "\xff"}',
        b'{"title": "\\ud800"}',
        b"[" * 100_000,
        b'{"title":' + b"[" * (MAX_NESTING + 1) + b"]" * (MAX_NESTING + 1) + b"}",
    ],
)
async def test_what_is_no_json_is_named_so(server: LinkServer, body: bytes) -> None:
    assert code_of(await server.admin.post("/api/v1/notes", content=body, headers=JSON)) == (400, "invalid_json")


@pytest.mark.parametrize("headers", [{}, JSON, {"Content-Type": "text/plain"}])
async def test_no_body_is_an_empty_object(server: LinkServer, headers: dict[str, str]) -> None:
    answer = await server.admin.post("/api/v1/notes", headers=headers)
    assert (answer.status_code, answer.json()) == (200, {"title": ""})


async def test_a_compressed_body_is_refused(server: LinkServer) -> None:
    answer = await server.admin.post("/api/v1/notes", content=b"{}", headers=JSON | {"Content-Encoding": "gzip"})
    assert code_of(answer) == (415, "unsupported_media_type")


async def test_forty_slow_bodies_hold_up_nobody(server: LinkServer) -> None:
    asked = start(server, "/api/v1/notes", "Content-Type: application/json", "Content-Length: 50")
    slow = [asyncio.ensure_future(server.raw(asked + b"{")) for _ in range(40)]
    assert (await server.client.get("/api/v1/system/version")).status_code == 200
    assert {parsed(answer)[0] for answer in await asyncio.gather(*slow)} == {408}
