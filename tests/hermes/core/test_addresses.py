"""SSRF: where somebody else's URL may lead."""

from __future__ import annotations

import asyncio
import ipaddress
from collections.abc import Sequence

import pytest

from hermes.core import addresses
from hermes.core.addresses import AddressRefused, Resolver, Target, check_literal, check_url, is_public

PUBLIC = "93.184.216.34"


def resolver(*found: str) -> Resolver:
    async def resolve(host: str, port: int) -> Sequence[str]:
        return found

    return resolve


async def is_refused(url: str, *, allow_private: bool = False, resolve: Resolver | None = None) -> bool:
    try:
        await check_url(
            url, schemes=("http", "https"), allow_private=allow_private, resolve=resolve or resolver(PUBLIC)
        )
    except AddressRefused:
        return True
    return False


NEVER = [
    "http://169.254.169.254/latest/meta-data",
    "http://[::ffff:169.254.169.254]/",
    "http://[fd00:ec2::254]/",
    "http://100.100.100.200/",
    "http://168.63.129.16/",
    "http://2852039166/",
    "http://0xa9fea9fe/",
    "http://0251.0376.0251.0376/",
    "http://169.254.43518/",
    "http://metadata.google.internal/",
    "http://METADATA.google.internal./",
    "http://metadata/",
    "http://0.0.0.0/",
    "http://0/",
    "http://[::]/",
    "http://[fe80::1]/",
    "http://224.0.0.1/",
    "http://[ff02::1]/",
    "ftp://example.com/",
    "file:///etc/passwd",
    "http:///x",
    "http://user@example.com/",
    "http://user:pass@example.com/",
    "http://example.com\\@127.0.0.1/",
    "http://exam ple.com/",
    "http://example.com\n/",
    "http://[fe80::1%25eth0]/",
    "http://example.com:99999/",
    "http://[::1/",
    "http://999.1.1.1/",
    "http://1.2.3.4.5/",
    "http://ex%61mple.com/",
    "http://-/..",
]
PRIVATE = [
    "http://127.0.0.1/",
    "http://127.1/",
    "http://2130706433/",
    "http://0x7f.0.0.1/",
    "http://0177.0.0.1/",
    "http://017700000001/",
    "http://127.0.0.1./",
    "http://[::1]/",
    "http://[::ffff:127.0.0.1]/",
    "http://[::ffff:7f00:1]/",
    "http://[::7f00:1]/",
    "http://[64:ff9b::7f00:1]/",
    "http://[2002:7f00:1::]/",
    "http://10.0.0.1/",
    "http://172.16.0.1/",
    "http://192.168.1.1/",
    "http://100.64.0.1/",
    "http://198.18.0.1/",
    "http://[fc00::1]/",
    "http://[fec0::1]/",
    "http://localhost/",
    "http://x.localhost/",
    "http://box.local/",
    "http://box.internal/",
    "http://box/",
]


@pytest.mark.parametrize("url", NEVER)
async def test_these_are_never_allowed(url: str) -> None:
    assert await is_refused(url)
    assert await is_refused(url, allow_private=True)


@pytest.mark.parametrize("url", PRIVATE)
async def test_these_need_private_addresses_to_be_allowed(url: str) -> None:
    assert await is_refused(url)
    assert not await is_refused(url, allow_private=True, resolve=resolver("127.0.0.1"))


@pytest.mark.parametrize(
    "url",
    ["https://example.com/a?b#c", "http://example.com:8080/", "http://93.184.216.34/", "http://[2606:2800:220:1::1]/"],
)
async def test_the_internet_is_allowed(url: str) -> None:
    assert not await is_refused(url)


async def test_every_address_of_a_name_is_checked_not_the_first_alone() -> None:
    for inner in (
        "127.0.0.1",
        "::1",
        "10.1.2.3",
        "169.254.169.254",
        "::ffff:10.0.0.1",
        "100.64.0.1",
        "0.0.0.0",
        "fe80::1%eth0",
    ):
        assert await is_refused("https://rebind.example.com/", resolve=resolver(PUBLIC, inner))
        assert await is_refused("https://rebind.example.com/", resolve=resolver(inner))


async def test_metadata_is_refused_even_where_private_hosts_are_allowed() -> None:
    for inner in ("169.254.169.254", "fd00:ec2::254", "::ffff:169.254.169.254"):
        assert await is_refused("http://box.lan/", allow_private=True, resolve=resolver("10.0.0.1", inner))


async def test_a_name_is_resolved_once_and_the_answer_is_what_to_connect_to() -> None:
    asked: list[tuple[str, int]] = []

    async def resolve(host: str, port: int) -> Sequence[str]:
        asked.append((host, port))
        return (PUBLIC, "2606:2800:220:1::1")

    target = await check_url("https://Example.com/x", resolve=resolve)
    assert target == Target("https://Example.com/x", "https", "example.com", 443, (PUBLIC, "2606:2800:220:1::1"))
    assert asked == [("example.com", 443)]
    literal = await check_url("http://0x5db8d822:81/", schemes=("http",), resolve=resolve)
    assert (literal.addresses, literal.port) == ((PUBLIC,), 81)
    assert len(asked) == 1


async def test_a_name_that_does_not_resolve_is_refused_and_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    async def fails(host: str, port: int) -> Sequence[str]:
        raise OSError("no such name")

    async def hangs(host: str, port: int) -> Sequence[str]:
        await asyncio.Event().wait()
        return ()

    monkeypatch.setattr(addresses, "RESOLVE_TIMEOUT_SECONDS", 0.01)
    for resolve in (fails, hangs, resolver()):
        assert await is_refused("https://example.com/", resolve=resolve)


async def test_the_refusal_does_not_say_where_a_name_leads() -> None:
    with pytest.raises(AddressRefused) as caught:
        await check_url("https://inner.example.com/", resolve=resolver("10.20.30.40"))
    assert "10.20" not in caught.value.message
    assert "inner.example.com" in caught.value.message


async def test_the_systems_resolver_is_used_by_default() -> None:
    with pytest.raises(AddressRefused):
        await check_url("https://name.invalid./")
    assert "127.0.0.1" in await addresses.resolve_with_system("127.0.0.1", 80)


def test_what_can_be_said_without_asking_is_said_without_asking() -> None:
    check_literal("https://example.com/a.png")
    for url in (
        "http://example.com/",
        "https://127.0.0.1/",
        "https://localhost/",
        "https://[::1]/",
        "https://2130706433/",
    ):
        with pytest.raises(AddressRefused):
            check_literal(url)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("8.8.8.8", True),
        ("192.0.2.1", False),
        ("240.0.0.1", False),
        ("255.255.255.255", False),
        ("2001:db8::1", False),
        ("2001:4860:4860::8888", True),
        ("2002:808:808::", True),
        ("2002:a00:1::", False),
        ("64:ff9b::808:808", True),
        ("64:ff9b:1::a00:1", False),
        ("64:ff9b:1:7f00:0:100:808:808", False),
        ("2001:0:4136:e378:8000:63bf:f5ff:fffe", False),
    ],
)
def test_an_address_inside_an_address_counts_as_itself(text: str, expected: bool) -> None:
    assert is_public(ipaddress.ip_address(text)) is expected
