"""multipart/form-data in any pieces, whole or not."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.requests import Request
from starlette.types import Message

from hermes.api.files.multipart import MAX_FIELD_BYTES, MAX_PARTS, Form, read_form
from hermes.core.errors import InvalidInput

BOUNDARY = "----WebKitFormBoundary7MA4"
TYPE = f"multipart/form-data; boundary={BOUNDARY}"


def part(name: str, data: bytes, filename: str | None = None) -> bytes:
    named = f'; filename="{filename}"' if filename is not None else ""
    return f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"{named}\r\n\r\n'.encode() + data + b"\r\n"


def body(*parts: bytes) -> bytes:
    return b"".join(parts) + f"--{BOUNDARY}--\r\n".encode()


async def read(pieces: Sequence[bytes], content_type: str = TYPE, *, is_cut: bool = False) -> tuple[Form, bytes]:
    """The form, and what was written of the file."""
    messages: list[Message] = [{"type": "http.request", "body": piece, "more_body": True} for piece in pieces]
    messages.append({"type": "http.disconnect"} if is_cut else {"type": "http.request", "body": b""})
    written = bytearray()

    async def receive() -> Message:
        return messages.pop(0)

    async def write(data: bytes) -> None:
        written.extend(data)

    scope = {"type": "http", "method": "POST", "headers": []}
    return await read_form(Request(scope, receive), content_type, "file", write), bytes(written)


async def refused(pieces: Sequence[bytes], content_type: str = TYPE, *, is_cut: bool = False) -> InvalidInput:
    with pytest.raises(InvalidInput) as caught:
        await read(pieces, content_type, is_cut=is_cut)
    return caught.value


@given(st.binary(max_size=300), st.lists(st.integers(0, 700), max_size=6))
def test_the_file_comes_out_as_it_went_in_wherever_the_body_is_split(data: bytes, cuts: list[int]) -> None:
    whole = body(part("purpose", b"user_data"), part("file", data, "a.bin"), part("other", "ä".encode()))
    places = [0, *sorted(cuts), len(whole)]
    pieces = [whole[start:end] for start, end in pairwise(places)]
    form, written = asyncio.run(read(pieces))
    assert (written, form.filename) == (data, "a.bin")
    assert form.fields == {"purpose": "user_data", "other": "ä"}


@given(st.binary(max_size=400))
def test_no_body_is_too_odd(data: bytes) -> None:
    for sent in (data, part("file", b"x", "a") + data):
        with contextlib.suppress(InvalidInput):
            asyncio.run(read([sent]))


@pytest.mark.parametrize(
    ("filename", "expected"),
    [
        ("Gerät 日本.txt", "Gerät 日本.txt"),
        ("../../etc/passwd", "../../etc/passwd"),
        ("", "file"),
        ("C:\\x\\a.txt", "a.txt"),
    ],
)
async def test_a_filename_is_kept_as_text(filename: str, expected: str) -> None:
    form, _ = await read([body(part("file", b"x", filename))])
    assert form.filename == expected


@pytest.mark.parametrize(
    ("sent", "content_type", "what"),
    [
        (part("file", b"x", "a"), TYPE, "ended before its last boundary"),
        (b"", TYPE, "ended before its last boundary"),
        (b"nothing of the kind", TYPE, "broken"),
        (body(part("file", b"x", "a")), "multipart/form-data", "names no boundary"),
        (body(part("file", b"x", "a")), "multipart/form-data; boundary=" + "x" * 1000, "broken"),
        (body(part("file", b"x", "a"), part("file", b"y", "b")), TYPE, "more than one file"),
        (body(*[part("f", b"")] * (MAX_PARTS + 1)), TYPE, f"more than {MAX_PARTS} parts"),
        (body(part("purpose", b"x" * (MAX_FIELD_BYTES + 1))), TYPE, f"more than {MAX_FIELD_BYTES} bytes"),
        (body(part("file", b"x", "a" * 10_000)), TYPE, "broken"),
    ],
)
async def test_a_body_that_is_no_form_is_refused(sent: bytes, content_type: str, what: str) -> None:
    assert what in (await refused([sent], content_type)).message


async def test_a_connection_that_breaks_off_is_no_form() -> None:
    error = await refused([part("file", b"x", "a")], is_cut=True)
    assert "closed before the body was whole" in error.message


async def test_a_form_without_a_file_says_so_by_its_name() -> None:
    form, written = await read([body(part("purpose", b"user_data"))])
    assert (form.filename, written) == (None, b"")
