"""A connection to the addresses that were checked, and to no others.

By itself: importing aiohttp takes 100 ms, which only a process that sends something has to pay.
"""

from __future__ import annotations

import socket

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from yarl import URL

from hermes import __version__
from hermes.core.addresses import AddressRefused, Target, literal_address


class _Pinned(AbstractResolver):
    """Answers what the target's host was resolved to when it was checked, whatever a name server says by now."""

    def __init__(self, addresses: tuple[str, ...]) -> None:
        self._addresses = addresses

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        return [
            ResolveResult(
                hostname=host,
                host=address,
                port=port,
                family=socket.AF_INET6 if ":" in address else socket.AF_INET,
                proto=0,
                flags=socket.AI_NUMERICHOST,
            )
            for address in self._addresses
        ]

    async def close(self) -> None:
        pass


def open_pinned(target: Target, timeout_seconds: float) -> tuple[aiohttp.ClientSession, URL]:
    """A session for one request, and the URL to ask it for. No proxy, no cookies, no environment.

    Raises AddressRefused where aiohttp would read another host out of the URL than the check did.
    """
    try:
        url = URL(target.url)
        asked = {(url.raw_host or "").lower(), (url.host or "").lower()}
    except ValueError as error:  # a name that stands for no text, characters that no name has
        raise AddressRefused("the URL's host is no name") from error
    known = literal_address(target.host)
    is_same = target.host in asked or (known is not None and known == literal_address(url.raw_host or ""))
    if not is_same or url.port != target.port:
        raise AddressRefused("the URL can be read in more than one way")
    session = aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(resolver=_Pinned(target.addresses), use_dns_cache=False, force_close=True),
        cookie_jar=aiohttp.DummyCookieJar(),
        timeout=aiohttp.ClientTimeout(total=timeout_seconds),
        headers={"User-Agent": f"hermes-server/{__version__}"},
        trust_env=False,
        auto_decompress=False,
    )
    return session, url
