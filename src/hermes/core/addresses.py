"""Which addresses the server may be sent to by somebody else's URL (spec: security, SSRF).

A URL of a client or a model is looked at before anything connects: its host is resolved once, every address it has must
be allowed, and the caller connects to one of those addresses and to no other. A redirect is a new URL.
"""

from __future__ import annotations

import asyncio
import ipaddress
import re
import socket
from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

from hermes.core.errors import InvalidInput

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Resolver = Callable[[str, int], Awaitable[Sequence[str]]]

DEFAULT_PORTS = {"http": 80, "https": 443, "ws": 80, "wss": 443}
RESOLVE_TIMEOUT_SECONDS = 5.0

# Where clouds hand out credentials. Never, even for an owner who allows private addresses.
METADATA_ADDRESSES = frozenset(
    ipaddress.ip_address(text)
    for text in ("169.254.169.254", "169.254.170.2", "168.63.129.16", "100.100.100.200", "192.0.0.192", "fd00:ec2::254")
)
METADATA_NAMES = frozenset({"metadata", "metadata.google.internal", "metadata.goog", "instance-data"})

_HOST_NAME = re.compile(r"(?=.{1,253}\Z)[a-z0-9_](?:[a-z0-9_-]{0,62})(?:\.[a-z0-9_-]{1,63})*\Z")
_NUMBER = re.compile(r"(?:0x[0-9a-f]*|[0-9]+)\Z")
_LOCAL_NAMES = (".localhost", ".local", ".internal", ".home.arpa", ".lan")
_LOCAL_NAT64 = ipaddress.IPv6Network("64:ff9b:1::/48")
"""Of a network's own; where in it the other address stands is that network's choice (RFC 8215)."""
_NAT64 = (ipaddress.IPv6Network("64:ff9b::/96"), _LOCAL_NAT64)


class AddressRefused(InvalidInput):
    code = "address_refused"


@dataclass(frozen=True, slots=True)
class Target:
    """Where a URL leads. Connect to one of `addresses`, with `host` as Host and TLS name."""

    url: str
    scheme: str
    host: str
    port: int
    addresses: tuple[str, ...]


async def check_url(
    url: str,
    *,
    schemes: Collection[str] = ("https",),
    allow_private: bool = False,
    resolve: Resolver | None = None,
) -> Target:
    """Raises AddressRefused, whose message never says what a name resolved to."""
    scheme, host, port = split_url(url, schemes)
    literal = literal_address(host)
    if literal is not None:
        _check(literal, host, allow_private=allow_private)
        return Target(url, scheme, host, port, (str(literal),))
    _check_name(host, allow_private=allow_private)
    try:
        async with asyncio.timeout(RESOLVE_TIMEOUT_SECONDS):
            found = await (resolve or resolve_with_system)(host, port)
    except (OSError, TimeoutError, UnicodeError) as error:
        raise AddressRefused(f"the host {host!r} cannot be resolved") from error
    if not found:
        raise AddressRefused(f"the host {host!r} has no address")
    for text in found:
        _check(ipaddress.ip_address(text.split("%", 1)[0]), host, allow_private=allow_private)
    return Target(url, scheme, host, port, tuple(found))


def check_literal(url: str, *, schemes: Collection[str] = ("https",), allow_private: bool = False) -> None:
    """What can be said of a URL without asking a name server. Raises AddressRefused."""
    _, host, _ = split_url(url, schemes)
    literal = literal_address(host)
    if literal is not None:
        _check(literal, host, allow_private=allow_private)
    else:
        _check_name(host, allow_private=allow_private)


def split_url(url: str, schemes: Collection[str]) -> tuple[str, str, int]:
    """Scheme, host in lower case, port. Refuses credentials in a URL and characters that parsers read differently."""
    if any(ord(character) <= 0x20 or character in '\\\x7f<>"' for character in url):
        raise AddressRefused("the URL has characters that do not belong in one")
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise AddressRefused("the URL cannot be read") from error
    scheme = parts.scheme.lower()
    if scheme not in schemes:
        raise AddressRefused(f"the URL must start with {' or '.join(f'{one}://' for one in sorted(schemes))}")
    if not host:
        raise AddressRefused("the URL names no host")
    if parts.username is not None or parts.password is not None:
        raise AddressRefused("the URL carries a user name or password")
    if "%" in host:
        raise AddressRefused("the URL's host has a zone or an escape")
    return scheme, host.lower(), port if port is not None else DEFAULT_PORTS[scheme]


def literal_address(host: str) -> Address | None:
    """The address a host stands for by itself, in every form that resolvers take for one: 127.1, 0x7f.1, 0177.0.0.1."""
    try:
        return ipaddress.ip_address(host.removesuffix("."))
    except ValueError:
        pass
    if re.fullmatch(r"(?:0[xX][0-9a-fA-F]*|[0-9]+)(?:\.(?:0[xX][0-9a-fA-F]*|[0-9]+)){0,3}\.?", host) is None:
        return None
    try:
        return ipaddress.IPv4Address(socket.inet_aton(host.removesuffix(".")))
    except OSError as error:
        raise AddressRefused(f"the host {host!r} is no address and no name") from error


def is_public(address: Address) -> bool:
    """Whether it is an ordinary address of the internet; addresses that carry another one count as that one."""
    if address in _LOCAL_NAT64:
        return False
    address = unwrapped(address)
    if address in METADATA_ADDRESSES:
        return False
    if isinstance(address, ipaddress.IPv6Address) and address.is_site_local:
        return False
    return address.is_global and not (address.is_multicast or address.is_reserved or address.is_unspecified)


def unwrapped(address: Address) -> Address:
    """The IPv4 address inside a mapped, compatible, 6to4, Teredo or NAT64 one; itself otherwise."""
    if isinstance(address, ipaddress.IPv4Address):
        return address
    if address.ipv4_mapped is not None:
        return address.ipv4_mapped
    if address.sixtofour is not None:
        return address.sixtofour
    if address.teredo is not None:
        return address.teredo[1]
    if any(address in network for network in _NAT64) or (int(address) >> 32 == 0 and int(address) > 1):
        return ipaddress.IPv4Address(int(address) & 0xFFFF_FFFF)
    return address


async def resolve_with_system(host: str, port: int) -> Sequence[str]:
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


def _check_name(host: str, *, allow_private: bool) -> None:
    name = host.removesuffix(".")
    try:
        name = name.encode("idna").decode("ascii") if not name.isascii() else name
    except UnicodeError as error:
        raise AddressRefused(f"the host {host!r} is no name") from error
    if _HOST_NAME.match(name) is None or _NUMBER.match(name.rpartition(".")[2]):
        raise AddressRefused(f"the host {host!r} is no name")
    if name in METADATA_NAMES:
        raise AddressRefused(f"the host {host!r} hands out credentials of this machine")
    if not allow_private and (name == "localhost" or name.endswith(_LOCAL_NAMES) or "." not in name):
        raise AddressRefused(f"the host {host!r} is a name of this network, not of the internet")


def _check(address: Address, host: str, *, allow_private: bool) -> None:
    inner = unwrapped(address)
    if inner in METADATA_ADDRESSES or inner.is_link_local:
        raise AddressRefused(f"the host {host!r} leads to an address that hands out credentials of this machine")
    if inner.is_multicast or inner.is_unspecified or not (allow_private or is_public(address)):
        raise AddressRefused(f"the host {host!r} does not lead to a public address")
