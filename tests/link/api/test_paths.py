"""What the door lets in is what runs, and no id leads out of its place."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from urllib.parse import quote

import pytest
from fastapi.routing import APIRoute
from hypothesis import given
from hypothesis import strategies as st
from starlette.routing import Match

from hermeslink.api.app import GROUPS, rows_of
from hermeslink.api.paths import ROW, LetIn, Paths, shape_of
from tests.support.link import LinkServer

pytestmark = pytest.mark.sqlite("Link keeps its data in SQLite")

PATHS = Paths(rows_of(GROUPS))
ROUTES = [route for group in GROUPS for route in group.routes if isinstance(route, APIRoute)]
WORDS = sorted({segment for route in ROUTES for segment in route.path.split("/") if segment})
SEGMENTS = st.one_of(st.sampled_from([word for word in WORDS if "{" not in word]), st.text(max_size=4), st.just("x\n"))

TRAVERSAL = (
    "..",
    ".",
    "...",
    "../..",
    "../../etc/passwd",
    "..\\..\\windows",
    "%2e%2e",
    "%2e%2e%2f",
    "..%2f..%2fetc%2fpasswd",
    "%252e%252e%252f",
    "..%c0%af",
    "..%255c",
    "/etc/passwd",
    "//etc/passwd",
    "C:\\boot.ini",
    "file:///etc/passwd",
    "~",
    "~root",
    "$HOME",
    "${HOME}",
    "`id`",
    "$(id)",
    "|id",
    ";id",
    "a\x00.txt",
    "\x00",
    "%00",
    "a\nb",
    "a\r\nX-Injected: 1",
    "\u202e",
    "．．／",
    "\ud83d\ude00".encode("utf-16", "surrogatepass").decode("utf-16"),
    "conv_" + "0" * 31,
    "conv_" + "0" * 33,
    "conv_" + "A" * 32,
    "conv_" + "0" * 32 + "/../..",
    "msg_" + "0" * 32,
    "conv_" + "0" * 32 + "\n",
    "x" * 5000,
    "' OR 1=1 --",
    "<script>alert(1)</script>",
    "{id}",
)


def test_every_route_is_found_where_it_is() -> None:
    for method, path in rows_of(GROUPS):
        place = PATHS.find(method, path.replace("{", "").replace("}", ""))
        assert place is not None
        assert (place.path, method in place.methods) == (shape_of(path), True)


@given(st.sampled_from(["GET", "POST", "PATCH", "DELETE"]), st.lists(SEGMENTS, max_size=8))
def test_what_the_door_lets_in_is_read_alike_by_its_route(method: str, segments: list[str]) -> None:
    path = "/api/v1/" + "/".join(segments)
    place = PATHS.find(method, path)
    if place is not None and method in place.methods:
        scope = {"type": "http", "method": method, "path": path, "root_path": "", ROW: (method, place.path)}
        match, found = LetIn(ROUTES).matches(scope)
        assert match is Match.FULL
        assert found["path_params"] == place.parameters
        assert shape_of(found["route"].path) == place.path


def test_no_two_routes_have_one_row() -> None:
    rows = [(method, shape_of(path)) for method, path in rows_of(GROUPS)]
    assert len(rows) == len(set(rows))


def test_a_parameter_is_a_whole_segment() -> None:
    with pytest.raises(ValueError, match="whole segment"):
        Paths([("GET", "/files/{name}.txt")])


def test_there_are_forty_strings() -> None:
    assert len(set(TRAVERSAL)) >= 40


def _all_escaped(text: str) -> str:
    return "".join(f"%{byte:02x}" for byte in text.encode("utf-8", "surrogatepass"))


def _escaped(text: str) -> str:
    return quote(text, safe="")


def _as_it_is(text: str) -> str:
    return quote(text, safe="/:\\$~%")


@pytest.mark.parametrize("encode", [_escaped, _all_escaped, _as_it_is])
async def test_no_id_leads_out_of_its_place(server: LinkServer, encode: Callable[[str], str]) -> None:
    """Every parameter of every route, with every string: an error of the envelope, and never one of the inside."""
    own = f"Host: localhost\r\nContent-Length: 0\r\nAuthorization: Bearer {server.admin_device.access.token}\r\n\r\n"
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    for route in [route for route in ROUTES if "{" in route.path]:
        method = sorted(route.methods or ())[0]
        for text in TRAVERSAL:
            path = "/".join(encode(text) if "{" in part else part for part in route.path.split("/"))
            writer.write(f"{method} {path} HTTP/1.1\r\n{own}".encode())
            async with asyncio.timeout(10):
                head = (await reader.readuntil(b"\r\n\r\n")).lower()
                body = await reader.readexactly(int(head.partition(b"content-length: ")[2].split()[0]))
            status = int(head.split()[1])
            assert 400 <= status <= 503 and status != 500, (method, path, status)
            assert json.loads(body)["ok"] is False
            assert b"root:" not in body
            assert b"x-injected" not in head
    writer.close()
    await writer.wait_closed()
