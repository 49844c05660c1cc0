from __future__ import annotations

import asyncio
import gzip
from collections.abc import Sequence

import pytest

from hermes.core.errors import ToolFailed
from hermes.toolsets.fetch import Fetched, Fetcher, is_here
from tests.support.stand_in import NEVER, Answer, Pages

TEXT = Answer(200, b"hello", "Text/Plain; charset=utf-8")


def redirect(to: str, status: int = 302) -> Answer:
    return Answer(status, headers={"Location": to})


async def failure(fetcher: Fetcher, url: str, most_bytes: int = 100) -> str:
    with pytest.raises(ToolFailed) as failed:
        await fetcher.get(url, most_bytes=most_bytes)
    return failed.value.message


async def test_what_stands_at_a_url_comes_with_its_kind() -> None:
    with Pages({"/a": TEXT}) as server:
        fetched = await Fetcher(hosts=(server.host,)).get(f"{server.url}/a?q=1", most_bytes=5)

    assert fetched == Fetched(f"{server.url}/a?q=1", "text/plain", b"hello", "utf-8")
    assert (server.asked[0].query, server.asked[0].headers["accept"]) == ("q=1", "*/*")


async def test_redirects_are_followed_and_each_is_looked_at() -> None:
    with Pages({"/a": redirect("/b"), "/b": redirect("c", 307), "/c": TEXT, "/loop": redirect("/loop")}) as server:
        fetcher = Fetcher(hosts=(server.host,))
        assert (await fetcher.get(f"{server.url}/a", most_bytes=5)).url == f"{server.url}/c"
        assert await failure(fetcher, f"{server.url}/loop") == f"{server.url}/loop: more than 5 redirects."
        server.pages["/out"] = redirect("https://169.254.169.254/latest?key=1")
        assert await failure(fetcher, f"{server.url}/out") == (
            "https://169.254.169.254/latest: the host '169.254.169.254' leads to an address that hands out "
            "credentials of this machine."
        )


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("http://example.com/a", "the URL must start with https://"),
        ("file:///etc/passwd", "the URL must start with http:// or https://"),
        ("https://127.0.0.1/a", "the host '127.0.0.1' does not lead to a public address"),
        ("https://0x7f.1/a", "the host '0x7f.1' does not lead to a public address"),
        ("https://localhost/a", "the host 'localhost' is a name of this network, not of the internet"),
        ("https://me:secret@example.com/", "the URL carries a user name or password"),
        (f"https://example.com/{'a' * 4096}", "the URL has more than 4,096 characters"),
    ],
)
async def test_only_public_https_addresses_are_asked(url: str, why: str) -> None:
    assert (await failure(Fetcher(), url)).endswith(f": {why}.")


@pytest.mark.parametrize("host", ["xn--bcher-kva.example", "b\xfccher.example", "xn--n3h.example", "example.com."])
async def test_a_name_is_asked_for_in_either_spelling(host: str) -> None:
    async def resolve(host: str, port: int) -> Sequence[str]:
        return ["127.0.0.1"]

    with Pages({"/a": TEXT}) as server:
        port = server.host.rpartition(":")[2]
        fetcher = Fetcher(hosts=(f"{host}:{port}",), resolve=resolve)
        assert (await fetcher.get(f"http://{host}:{port}/a", most_bytes=5)).data == b"hello"


@pytest.mark.parametrize("host", ["xn--a.com", "xn--zzzzzz.com", "exam\xadple.com"])
async def test_a_host_that_is_no_name_is_refused_in_words(host: str) -> None:
    async def resolve(host: str, port: int) -> Sequence[str]:
        return ["93.184.216.34"]

    said = await failure(Fetcher(resolve=resolve), f"https://{host}/")
    assert said == f"https://{host}/: the URL's host is no name."


async def test_an_address_may_be_written_at_length() -> None:
    with Pages({"/a": TEXT}) as server:
        port = int(server.host.rpartition(":")[2])
        fetcher = Fetcher(hosts=("0:0:0:0:0:ffff:127.0.0.1",))
        url = f"http://[0:0:0:0:0:ffff:127.0.0.1]:{port}/a"
        assert (await fetcher.get(url, most_bytes=5)).data == b"hello"


async def test_a_name_that_leads_into_this_network_is_not_asked() -> None:
    async def resolve(host: str, port: int) -> Sequence[str]:
        return ["93.184.216.34", "10.0.0.1"]

    assert await failure(Fetcher(resolve=resolve), "https://example.com/a") == (
        "https://example.com/a: the host 'example.com' does not lead to a public address."
    )


@pytest.mark.parametrize(("address", "expected"), [("127.0.0.1", True), ("::1", True), ("198.51.100.7", False)])
def test_an_address_of_this_machine_is_known(address: str, expected: bool) -> None:
    assert is_here(address) is expected


async def test_what_is_too_large_missing_or_slow_is_said() -> None:
    with Pages({"/a": TEXT}) as server:
        fetcher = Fetcher(hosts=(server.host,), timeout_seconds=0.2)
        assert await failure(fetcher, f"{server.url}/a", 4) == f"{server.url}/a: it is larger than 4 bytes."
        assert await failure(fetcher, f"{server.url}/b") == f"{server.url}/b: the server answered 404."
        server.next.append(NEVER)
        assert await failure(fetcher, f"{server.url}/a") == f"{server.url}/a: nothing came within 0.2 s."
    assert await failure(fetcher, f"{server.url}/a") == f"{server.url}/a: cannot be got (ClientConnectorError)."


async def test_a_stopped_call_lets_go_of_its_connection_at_once() -> None:
    with Pages({}) as server:
        server.next.append(NEVER)
        call = asyncio.create_task(Fetcher(hosts=(server.host,)).get(f"{server.url}/a", most_bytes=5))
        await asyncio.to_thread(server.came.wait, 5)
        call.cancel()
        async with asyncio.timeout(1):
            with pytest.raises(asyncio.CancelledError):
                await call


async def test_what_is_packed_is_unpacked_to_the_size_that_was_asked_for_and_no_further() -> None:
    bomb = Answer(200, gzip.compress(bytes(50 << 20)), "text/plain", {"Content-Encoding": "gzip"})
    pages = {
        "/bomb": bomb,
        "/text": Answer(200, gzip.compress(b"hello"), "text/plain; charset=UTF-8", {"Content-Encoding": "gzip"}),
        "/broken": Answer(200, b"not gzip at all", "text/plain", {"Content-Encoding": "gzip"}),
        "/other": Answer(200, b"hello", "text/plain", {"Content-Encoding": "br"}),
    }
    with Pages(pages) as server:
        fetcher = Fetcher(hosts=(server.host,))
        url = server.url
        assert (await fetcher.get(f"{url}/text", most_bytes=5)) == Fetched(
            f"{url}/text", "text/plain", b"hello", "utf-8"
        )
        cut = await fetcher.get(f"{url}/bomb", most_bytes=1000, cuts=True)
        assert (cut.data, cut.is_cut) == (bytes(1000), True)
        assert await failure(fetcher, f"{url}/bomb", 1000) == f"{url}/bomb: it is larger than 1,000 bytes."
        for path in ("/broken", "/other"):
            assert await failure(fetcher, url + path) == f"{url}{path}: the answer cannot be read."


async def test_plain_http_is_asked_only_where_it_may_be() -> None:
    async def resolve(host: str, port: int) -> Sequence[str]:
        return ["10.0.0.1"]

    for allow_http, why in ((False, "the URL must start with https://."), (True, "does not lead to a public address.")):
        fetcher = Fetcher(resolve=resolve, allow_http=allow_http)
        assert (await failure(fetcher, "http://example.com/a")).endswith(why)
