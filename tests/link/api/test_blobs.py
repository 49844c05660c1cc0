"""Attachments over a socket: both ways to send one, ranges, what a browser may show, and whose they are."""

from __future__ import annotations

import asyncio
import hashlib
import resource
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from hermeslink.core.ids import new_id
from hermeslink.store import blobs as blob_store
from tests.support.clock import FakeClock
from tests.support.link import LinkServer, serving_link
from tests.support.link_conversations import add_conversation, add_message
from tests.support.waiting import eventually

pytestmark = pytest.mark.sqlite("Link keeps its data in SQLite")

MIB = 1 << 20
PNG = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\1"


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[LinkServer]:
    async with serving_link(tmp_path, clock=FakeClock()) as serving:
        yield serving


@pytest.fixture
async def there(server: LinkServer) -> str:
    return f"/api/v1/conversations/{await add_conversation(server.link.database)}/blobs"


async def send(server: LinkServer, there: str, data: bytes, disposition: str = "", kind: str = "image/png") -> Any:
    headers = {b"Content-Type": kind.encode()}
    if disposition:
        headers[b"Content-Disposition"] = disposition.encode()
    answer = await server.chat.post(there, content=data, headers=headers)
    assert answer.status_code == 201, answer.text
    return answer.json()


def code_of(answer: httpx.Response, status: int) -> str:
    assert answer.status_code == status, answer.text
    assert answer.json()["ok"] is False
    return str(answer.json()["error"]["code"])


def on_disk(server: LinkServer) -> list[str]:
    return sorted(path.name for path in server.link.home.blobs_dir.iterdir())


async def test_a_raw_body_is_the_file_and_its_name_is_in_the_disposition(server: LinkServer, there: str) -> None:
    told = await send(server, there, PNG, 'attachment; filename="a b.png"', kind="text/plain")
    sha256 = hashlib.sha256(PNG).hexdigest()
    assert told == {
        "ok": True,
        "blob": {
            "id": told["blob_id"],
            "size": len(PNG),
            "mime": "image/png",
            "filename": "a b.png",
            "sha256": sha256,
            "created_at": "2023-11-14T22:13:20.000Z",
            "conversation_ids": [there.split("/")[4]],
        },
        "blob_id": told["blob_id"],
    }
    assert on_disk(server) == [sha256]


@pytest.mark.parametrize(
    ("disposition", "name"),
    [
        ("attachment; filename*=UTF-8''%E5%8F%91%E7%A5%A8.pdf", "发票.pdf"),
        ('attachment; filename="../../link.db"', "link.db"),
        ("attachment; filename=plain.txt", "plain.txt"),
        ("attachment; filename*=nonsense''%FF.txt", "ÿ.txt"),
        ("attachment", "file"),
        ("", "file"),
    ],
)
async def test_names_come_in_every_form(server: LinkServer, there: str, disposition: str, name: str) -> None:
    told = await send(server, there, PNG, disposition)
    assert told["blob"]["filename"] == name


async def test_a_form_holds_the_file_in_one_of_its_parts(server: LinkServer, there: str) -> None:
    data = bytes(range(256)) * 5000
    fields = {"note": "x", "filename": "filename=no.txt"}
    answer = await server.chat.post(there, data=fields, files={"upload": ("发票 2.bin", data, "text/html")})
    blob = answer.json()["blob"]
    assert (answer.status_code, blob["size"], blob["filename"]) == (201, len(data), "发票 2.bin")
    assert blob["mime"] == "application/octet-stream"
    assert (await server.chat.get(f"{there}/{blob['id']}")).content == data


@pytest.mark.parametrize(
    ("body", "boundary", "code"),
    [
        (b'--b\r\nContent-Disposition: form-data; name="a"\r\n\r\n1\r\n--b--\r\n', "; boundary=b", "blob_empty"),
        (b'--b\r\nContent-Disposition: form-data; filename="a"\r\n\r\n\r\n--b--\r\n', "; boundary=b", "blob_empty"),
        (b'--b\r\nContent-Disposition: form-data; filename="a"\r\n\r\n1', "; boundary=b", "invalid_request"),
        (b"nonsense", "; boundary=b", "invalid_request"),
        (b"nonsense", "", "invalid_request"),
        (b'--b\r\nContent-Disposition: form-data; filename="a"\r\n\r\n1\r\n' * 2, "; boundary=b", "invalid_request"),
        (b"--b\r\n\r\n1\r\n" * 40, "; boundary=b", "invalid_request"),
    ],
)
async def test_a_form_that_is_none_leaves_nothing(
    server: LinkServer, there: str, body: bytes, boundary: str, code: str
) -> None:
    answer = await server.chat.post(there, content=body, headers={"Content-Type": f"multipart/form-data{boundary}"})
    assert code_of(answer, 400) == code
    assert on_disk(server) == []


async def test_an_empty_file_and_a_compressed_one_are_refused(server: LinkServer, there: str) -> None:
    assert code_of(await server.chat.post(there, content=b""), 400) == "blob_empty"
    packed = await server.chat.post(there, content=b"x", headers={"Content-Encoding": "gzip"})
    assert code_of(packed, 415) == "unsupported_media_type"
    assert on_disk(server) == []


async def test_more_than_fifty_mebibytes_are_refused_announced_or_not(server: LinkServer, there: str) -> None:
    async def pieces(count: int) -> AsyncIterator[bytes]:
        for _ in range(count):
            yield bytes(MIB)
        yield b"1"

    announced = await server.chat.post(there, content=bytes(50 * MIB + 1))
    assert code_of(announced, 413) == "blob_too_large"
    for form in ({}, {"Content-Type": "application/pdf"}):
        assert code_of(await server.chat.post(there, content=pieces(50), headers=form), 413) == "blob_too_large"
    assert on_disk(server) == []
    whole = await server.chat.post(there, content=bytes(50 * MIB))
    assert whole.status_code == 201
    in_form = await server.chat.post(there, files={"file": ("a", bytes(50 * MIB))})
    assert in_form.status_code == 201


async def test_memory_stays_flat_while_large_ones_come_and_go(server: LinkServer, there: str) -> None:
    async def piece_by_piece() -> AsyncIterator[bytes]:
        for _ in range(45 * 16):
            yield bytes(MIB // 16)

    async def there_and_back() -> None:
        answer = await server.chat.post(there, content=piece_by_piece())
        count = 0
        async with server.chat.stream("GET", f"{there}/{answer.json()['blob_id']}") as stream:
            async for data in stream.aiter_raw(65536):
                count += len(data)
        assert count == 45 * MIB

    await there_and_back()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    await asyncio.gather(*(there_and_back() for _ in range(6)))
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * (1 if sys.platform == "darwin" else 1024)
    assert grown < 40 * MIB  # six of them would be 270


async def test_an_upload_that_breaks_off_leaves_nothing(server: LinkServer, there: str) -> None:
    _, writer = await asyncio.open_connection("127.0.0.1", server.port)
    token = server.chat.headers["Authorization"]
    head = f"POST {there} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: {token}\r\nContent-Length: {9 * MIB}\r\n\r\n"
    writer.write(head.encode() + bytes(4 * MIB))
    await writer.drain()
    await asyncio.to_thread(eventually, lambda: on_disk(server), 10)
    writer.close()
    await asyncio.to_thread(eventually, lambda: not on_disk(server), 10)


async def test_what_the_disk_refuses_is_told_to_the_log_alone(
    server: LinkServer, there: str, caplog: pytest.LogCaptureFixture
) -> None:
    folder = server.link.home.blobs_dir
    folder.rmdir()
    folder.write_text("in the way")
    answer = await server.chat.post(there, content=PNG)
    assert code_of(answer, 503) == "store_unavailable"
    assert str(folder) not in answer.text
    assert str(folder) in caplog.text


async def test_a_range_is_a_part(server: LinkServer, there: str) -> None:
    data = bytes(range(256)) * 4000
    place = f"{there}/{(await send(server, there, data))['blob_id']}"
    size, tag = len(data), f'"{hashlib.sha256(data).hexdigest()}"'
    for asked, start, end in (
        ("bytes=0-0", 0, 1),
        ("bytes=100-199", 100, 200),
        (f"bytes={size - 5}-", size - 5, size),
        ("bytes=-7", size - 7, size),
        (f"bytes=-{size * 9}", 0, size),
        (f"bytes=10-{size * 9}", 10, size),
    ):
        part = await server.chat.get(place, headers={"Range": asked})
        assert (part.status_code, part.content) == (206, data[start:end]), asked
        assert part.headers["Content-Range"] == f"bytes {start}-{end - 1}/{size}"
        assert part.headers["ETag"] == tag
    for asked in ("bytes=1-0", "bytes=-", "bytes=0-1,5-6", "lines=0-1", "bytes=a-b", "bytes=٣-"):
        whole = await server.chat.get(place, headers={b"Range": asked.encode()})
        assert (whole.status_code, whole.content) == (200, data), asked
    for asked in (f"bytes={size}-", "bytes=-0"):
        none = await server.chat.get(place, headers={"Range": asked})
        assert code_of(none, 416) == "range_not_satisfiable"
        assert none.headers["Content-Range"] == f"bytes */{size}"
    changed = await server.chat.get(place, headers={"Range": "bytes=0-0", "If-Range": '"another"'})
    assert changed.status_code == 200
    same = await server.chat.get(place, headers={"Range": "bytes=0-0", "If-Range": tag})
    assert same.status_code == 206
    known = await server.chat.get(place, headers={"If-None-Match": f'"x", W/{tag}'})
    assert (known.status_code, known.content, known.headers["ETag"]) == (304, b"", tag)
    head = await server.chat.head(place)
    assert (head.status_code, head.content, head.headers["Content-Length"]) == (200, b"", str(size))


@pytest.mark.parametrize(
    ("data", "mime", "disposition"),
    [
        (PNG, "image/png", "inline"),
        (b"%PDF-1.7", "application/pdf", "inline"),
        (b"<svg onload='alert(1)'/>", "image/svg+xml", "attachment"),
        (b"<!doctype html><script>alert(1)</script>", "text/html", "attachment"),
        (b"GIF89a=1;alert(1)", "text/plain", "attachment"),
        (b"PK\x03\x04", "application/zip", "attachment"),
    ],
)
async def test_what_could_run_is_given_to_save_and_all_of_it_in_a_sandbox(
    server: LinkServer, there: str, data: bytes, mime: str, disposition: str
) -> None:
    told = await send(server, there, data, 'inline; filename="发票.png"')
    answer = await server.chat.get(f"{there}/{told['blob_id']}")
    assert answer.content == data
    assert answer.headers["Content-Type"] == mime
    assert answer.headers["Content-Disposition"] == f"{disposition}; filename*=utf-8''%E5%8F%91%E7%A5%A8.png"
    assert answer.headers["Content-Security-Policy"].startswith("sandbox; default-src 'none'")
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["Cache-Control"] == "no-store"


async def test_another_conversations_is_not_found(server: LinkServer, there: str) -> None:
    blob_id = (await send(server, there, PNG))["blob_id"]
    other = await add_conversation(server.link.database)
    for conversation, blob, code in (
        (other, blob_id, "blob_not_found"),
        (there.split("/")[4], new_id("blob"), "blob_not_found"),
        (there.split("/")[4], "blob_x", "blob_not_found"),
        (new_id("conv"), blob_id, "conversation_not_found"),
        ("conv_x", blob_id, "conversation_not_found"),
    ):
        place = f"/api/v1/conversations/{conversation}/blobs/{blob}"
        assert code_of(await server.chat.get(place), 404) == code
        assert code_of(await server.chat.delete(place), 404) == code
    unknown = await server.chat.post(f"/api/v1/conversations/{new_id('conv')}/blobs", content=PNG)
    assert code_of(unknown, 404) == "conversation_not_found"
    assert code_of(await server.client.get(f"{there}/{blob_id}"), 401) == "auth_required"


async def test_one_that_no_message_carries_can_be_deleted(server: LinkServer, there: str) -> None:
    conversation = there.split("/")[4]
    sent, free = (await send(server, there, PNG))["blob_id"], (await send(server, there, PNG))["blob_id"]
    message = await add_message(server.link.database, conversation)
    await server.link.database.write(blob_store.attach, message, [await server.link.blobs.get(conversation, sent)])
    assert code_of(await server.chat.delete(f"{there}/{sent}"), 409) == "blob_in_use"
    gone = await server.chat.delete(f"{there}/{free}")
    assert (gone.status_code, gone.json()) == (200, {"ok": True, "deleted": True, "blob_id": free})
    assert code_of(await server.chat.delete(f"{there}/{free}"), 404) == "blob_not_found"
    assert (await server.chat.get(f"{there}/{sent}")).content == PNG
