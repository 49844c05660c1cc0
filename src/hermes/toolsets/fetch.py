"""Getting what stands at a URL that somebody else chose: a client, a model, a web page (docs/adr/0104).

Every URL on the way, a redirect's too, is looked at by `core.addresses`, and the connection goes to one of the
addresses that were looked at and to no other.
"""

from __future__ import annotations

import asyncio
import socket
import zlib
from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass
from ipaddress import ip_address
from typing import TYPE_CHECKING
from urllib.parse import urldefrag, urljoin

from hermes.core.addresses import AddressRefused, Resolver, Target, check_url, split_url
from hermes.core.errors import ToolFailed

if TYPE_CHECKING:
    import aiohttp

MOST_REDIRECTS = 5
LONGEST_URL = 4_096


@dataclass(frozen=True, slots=True)
class Fetched:
    """`url` is where the redirects led. `media_type` is what the server says, in lower case, without parameters, and
    empty where it says nothing; `charset` too. `is_cut`: `data` is the beginning of what there is."""

    url: str
    media_type: str
    data: bytes
    charset: str = ""
    is_cut: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Fetcher:
    """`hosts` (`host` or `host:port`) may be of the owner's own network and may be asked over plain http; every other
    URL must lead to a public address, and be https unless `allow_http`. `timeout_seconds` counts for the whole way."""

    hosts: Collection[str] = ()
    timeout_seconds: float = 30.0
    resolve: Resolver | None = None
    allow_http: bool = False

    async def get(self, url: str, *, most_bytes: int, accept: str = "*/*", cuts: bool = False) -> Fetched:
        """Raises ToolFailed: for an address that is refused, an answer that is no 2xx, and more than `most_bytes`,
        unless it `cuts` there. The bytes are those of what was packed for the way."""
        try:
            async with asyncio.timeout(self.timeout_seconds):
                for _ in range(MOST_REDIRECTS + 1):
                    found = await self._ask(url, most_bytes, accept)
                    if isinstance(found, str):
                        url = urldefrag(found).url
                    elif found.is_cut and not cuts:
                        raise ToolFailed(f"{_shown(url)}: it is larger than {most_bytes:,} bytes.")
                    else:
                        return found
        except AddressRefused as refused:
            raise ToolFailed(f"{_shown(url)}: {refused.message}.") from refused
        except TimeoutError as error:
            raise ToolFailed(f"{_shown(url)}: nothing came within {self.timeout_seconds:g} s.") from error
        raise ToolFailed(f"{_shown(url)}: more than {MOST_REDIRECTS} redirects.")

    async def _ask(self, url: str, most_bytes: int, accept: str) -> Fetched | str:
        """What stands there, or where it is said to stand."""
        import aiohttp

        from hermes.pinned import open_pinned

        target = await check_reach(url, self.hosts, allow_http=self.allow_http, resolve=self.resolve)
        session, asked = open_pinned(target, self.timeout_seconds)
        headers = {"Accept": accept, "Accept-Encoding": "gzip"}
        try:
            async with session, session.get(asked, headers=headers, allow_redirects=False) as answer:
                if answer.status in (301, 302, 303, 307, 308) and "Location" in answer.headers:
                    return urljoin(url, answer.headers["Location"])
                if not 200 <= answer.status < 300:
                    raise ToolFailed(f"{_shown(url)}: the server answered {answer.status}.")
                media_type = answer.content_type.lower() if "Content-Type" in answer.headers else ""
                data, is_cut = await _body(answer, most_bytes)
                return Fetched(url, media_type, data, (answer.charset or "").lower(), is_cut)
        except (zlib.error, ValueError) as error:
            raise ToolFailed(f"{_shown(url)}: the answer cannot be read.") from error
        except (aiohttp.ClientError, OSError) as error:
            if isinstance(error, TimeoutError):
                raise
            raise ToolFailed(f"{_shown(url)}: cannot be got ({type(error).__name__}).") from error


async def check_reach(
    url: str, hosts: Collection[str] = (), *, allow_http: bool = False, resolve: Resolver | None = None
) -> Target:
    """Where a URL leads, looked at as `Fetcher` says. Raises AddressRefused.

    This machine is refused by its public address too: behind a firewall it answers itself where it answers nobody else.
    """
    if len(url) > LONGEST_URL:
        raise AddressRefused(f"the URL has more than {LONGEST_URL:,} characters")
    _, host, port = split_url(url, ("http", "https"))
    is_own = bool({host, f"{host}:{port}", f"[{host}]", f"[{host}]:{port}"} & {name.lower() for name in hosts})
    schemes = ("http", "https") if is_own or allow_http else ("https",)
    target = await check_url(url, schemes=schemes, allow_private=is_own, resolve=resolve)
    if not is_own and any(is_here(address) for address in target.addresses):
        raise AddressRefused(f"the host {host!r} is this machine")
    return target


def is_here(address: str) -> bool:
    """Whether this machine has the address itself: it then sends from there to there. Nothing is sent."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with suppress(OSError), socket.socket(family, socket.SOCK_DGRAM) as asking:  # no way there: it is elsewhere
        asking.connect((address, 9))
        return ip_address(asking.getsockname()[0]) == ip_address(address)
    return False


def whole_url(url: str) -> str:
    """As it is meant: models leave out the scheme, and what follows the # is not the server's."""
    url = urldefrag(url.strip()).url
    return url if "://" in url else f"https://{url}"


async def _body(answer: aiohttp.ClientResponse, most_bytes: int) -> tuple[bytes, bool]:
    """The body, or its beginning and that there is more. However small it was packed, never much more than
    `most_bytes` of it is unpacked. Raises zlib.error, and ValueError for a packing that was not asked for."""
    packing = answer.headers.get("Content-Encoding", "identity").strip().lower()
    if packing not in ("", "identity", "gzip", "x-gzip"):
        raise ValueError(packing)
    unpack = zlib.decompressobj(16 + zlib.MAX_WBITS) if packing.endswith("gzip") else None
    data = bytearray()
    async for chunk in answer.content.iter_chunked(1 << 16):
        room = most_bytes + 1 - len(data)
        data += chunk[:room] if unpack is None else unpack.decompress(chunk, room)
        if len(data) > most_bytes:
            return bytes(data[:most_bytes]), True
        if unpack is not None and unpack.eof:
            break
    return bytes(data), False


def _shown(url: str) -> str:
    """Without what may be a key: a query and a fragment."""
    bare = url.partition("#")[0].partition("?")[0]
    return bare if len(bare) <= 200 else f"{bare[:200]}…"
