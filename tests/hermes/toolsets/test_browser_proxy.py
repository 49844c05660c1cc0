"""The only way out of a page, spoken to as a browser does."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import pytest

from hermes.toolsets.browser.proxy import Proxy
from tests.support.stand_in import Answer, Pages

HELLO = Answer(200, b"hello", "text/plain", {"Keep-Alive": "timeout=5"})


@asynccontextmanager
async def proxying(*hosts: str, leads_to: Sequence[str] = ("10.0.0.1",)) -> AsyncIterator[Proxy]:
    async def resolve(host: str, port: int) -> Sequence[str]:
        return leads_to

    proxy = Proxy(hosts, resolve)
    await proxy.open()
    try:
        yield proxy
    finally:
        await proxy.close()


async def say(proxy: Proxy, request: str) -> tuple[str, str]:
    """The answer's first line, and all that came behind its head."""
    reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
    writer.write(request.encode())
    async with asyncio.timeout(10):
        head, _, body = (await reader.read()).decode().partition("\r\n\r\n")
    writer.close()
    return head.split("\r\n")[0], body


async def test_a_request_goes_to_the_host_that_is_allowed_and_the_connection_ends_with_it() -> None:
    with Pages({"/a": HELLO}) as server:
        async with proxying(server.host) as proxy:
            ask = f"GET {server.url}/a?q=1 HTTP/1.1\r\nHost: {server.host}\r\nProxy-Connection: keep-alive\r\n\r\n"
            assert await say(proxy, ask) == ("HTTP/1.1 200 OK", "hello")
    [asked] = server.asked
    assert (asked.path, asked.query, asked.headers["connection"]) == ("/a", "q=1", "close")
    assert "proxy-connection" not in asked.headers


async def test_a_tunnel_goes_to_the_address_that_was_looked_at() -> None:
    with Pages({"/a": HELLO}) as server:
        name = f"wiki.lan:{server.host.partition(':')[2]}"
        async with proxying(name, leads_to=["127.0.0.1"]) as proxy:
            reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
            writer.write(f"CONNECT {name} HTTP/1.1\r\nHost: {name}\r\n\r\n".encode())
            assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 200 Connection established\r\n\r\n"
            writer.write(b"GET /a HTTP/1.1\r\nHost: x\r\n\r\n")
            assert (await reader.read()).endswith(b"hello")
            writer.close()


@pytest.mark.parametrize(
    ("request_line", "why"),
    [
        ("GET http://127.0.0.1:9/ HTTP/1.1", "the host '127.0.0.1' does not lead to a public address"),
        ("CONNECT 127.0.0.1:443 HTTP/1.1", "the host '127.0.0.1' does not lead to a public address"),
        ("CONNECT [::1]:443 HTTP/1.1", "the host '::1' does not lead to a public address"),
        ("CONNECT rebinding.example:443 HTTP/1.1", "the host 'rebinding.example' does not lead to a public address"),
        ("GET http://169.254.169.254/latest HTTP/1.1", "hands out credentials of this machine"),
        ("CONNECT metadata.google.internal:80 HTTP/1.1", "hands out credentials of this machine"),
    ],
)
async def test_an_address_of_this_network_is_refused_and_named(request_line: str, why: str) -> None:
    async with proxying() as proxy:
        status, body = await say(proxy, f"{request_line}\r\nHost: x\r\n\r\n")
        assert (status, why in body) == ("HTTP/1.1 403 Forbidden", True)
        assert [why in said for said in proxy.refused] == [True]


async def test_what_chromium_says_by_itself_goes_nowhere_and_is_no_news() -> None:
    async with proxying(leads_to=["127.0.0.1"]) as proxy:
        status, _ = await say(proxy, "CONNECT content-autofill.googleapis.com:443 HTTP/1.1\r\n\r\n")
        assert (status, list(proxy.refused)) == ("HTTP/1.1 403 Forbidden", [])


async def test_a_web_page_that_tries_the_port_gets_nothing() -> None:
    async with proxying("127.0.0.1") as proxy:
        assert await say(proxy, "GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n") == (
            "HTTP/1.1 400 Bad Request",
            "this is a proxy",
        )
        assert await say(proxy, "nonsense\r\n\r\n") == ("", "")


async def test_a_server_that_is_not_there_is_said() -> None:
    server = await asyncio.start_server(lambda reader, writer: None, "127.0.0.1", 0)
    host = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
    server.close()
    async with proxying(host) as proxy:
        status, _ = await say(proxy, f"GET http://{host}/ HTTP/1.1\r\n\r\n")
        assert status == "HTTP/1.1 502 Bad Gateway"


async def test_closing_ends_what_is_open() -> None:
    with Pages({}) as server:
        async with proxying(server.host) as proxy:
            reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
            writer.write(f"CONNECT {server.host} HTTP/1.1\r\n\r\n".encode())
            await reader.readuntil(b"\r\n\r\n")
            await proxy.close()
            async with asyncio.timeout(1):
                assert await reader.read() == b""
            writer.close()
