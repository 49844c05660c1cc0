"""Who is at the other end of a connection, and whether it is this machine itself (spec: security, proxy headers).

A header of a proxy takes away what loopback is allowed, and is otherwise ignored, unless the proxy is a configured one.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

Tunnel = Literal["none", "named", "nameless"]
"""What `expose` has put in front of this server: nothing; a tunnel whose end on loopback names each client; one that
may not, and from which no request can be told apart from this machine's own."""

_FORWARDED = (b"x-forwarded-", b"tailscale-", b"cf-")
_FORWARDED_NAMES = frozenset({b"forwarded", b"via", b"x-real-ip", b"true-client-ip", b"x-original-host"})


@dataclass(frozen=True, slots=True)
class Peer:
    """`address` is what attempts are counted by: what one guesser has for nothing counts as one.

    `is_local`: straight from this machine, with nothing that speaks of somebody else behind it.
    """

    address: str
    is_local: bool


class Peers:
    """`trusted_proxies`: addresses and networks whose X-Forwarded-For names the client. `tunnel` says what stands in
    front now: loopback is trusted like those while a tunnel names its clients, and is nobody's while it does not."""

    def __init__(self, trusted_proxies: Iterable[str] = (), tunnel: Callable[[], Tunnel] = lambda: "none") -> None:
        self._networks = tuple(ipaddress.ip_network(text, strict=False) for text in trusted_proxies)
        self._tunnel = tunnel

    def of(self, client: Sequence[object] | None, headers: Mapping[bytes, bytes], http_version: str = "1.1") -> Peer:
        """`client` is address and port of the connection's other end, None where it has none.

        Who speaks HTTP/1.0 is not local: hardly a client does, and nginx does to what is behind it, without a header of
        its own, where its configuration says no more than `proxy_pass`.
        """
        text = str(client[0]) if client else ""
        address = _address(text)
        mapped = getattr(address, "ipv4_mapped", None) or address
        is_loopback = mapped is not None and mapped.is_loopback
        tunnel = self._tunnel() if is_loopback else "none"
        is_proxied = is_forwarded(headers)
        if is_proxied and address is not None:
            is_trusted = any(address in network for network in self._networks)
            if is_trusted or tunnel == "named":
                client_address = self._forwarded_for(headers)
                if client_address is not None or is_trusted:
                    return Peer(client_address or text, is_local=False)
        is_direct = not is_proxied and http_version != "1.0" and tunnel != "nameless"
        return Peer(_bucket(text, is_proxied), is_local=is_loopback and is_direct)

    def _forwarded_for(self, headers: Mapping[bytes, bytes]) -> str | None:
        """The last hop that is not one of our proxies: everything before it is the client's own claim."""
        hops = headers.get(b"x-forwarded-for", b"").decode("latin-1").split(",")
        for hop in reversed([hop.strip() for hop in hops]):
            address = _address(hop)
            if address is None:
                return None
            if not any(address in network for network in self._networks):
                return _bucket(str(address), is_proxied=False)
        return None


def is_forwarded(headers: Iterable[bytes]) -> bool:
    """Whether any header says that somebody else's connection is behind this one. Names in lower case."""
    return any(name in _FORWARDED_NAMES or name.startswith(_FORWARDED) for name in headers)


@lru_cache(maxsize=1024)
def _address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        return None


def _bucket(address: str, is_proxied: bool) -> str:
    """An IPv6 /64 counts as one address, and so does everybody behind an unknown proxy."""
    if ":" in address:
        try:
            network = ipaddress.IPv6Network((address.split("%", 1)[0], 64), strict=False)
            address = str(network) if not network.network_address.ipv4_mapped else address
        except ValueError:
            pass
    return f"{address} behind a proxy" if is_proxied else address
