"""Getting what stands at a URL that somebody else chose: a client, a model, a web page (docs/adr/0104).

Every URL on the way, a redirect's too, is looked at by `core.addresses`, and the connection goes to one of the
addresses that were looked at and to no other.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from dataclasses import dataclass
from urllib.parse import urljoin

from hermes.core.addresses import AddressRefused, Resolver, Target, check_url, split_url
from hermes.core.errors import ToolFailed

MOST_REDIRECTS = 5
LONGEST_URL = 4_096


@dataclass(frozen=True, slots=True)
class Fetched:
    """`url` is where the redirects led. `media_type` is what the server says, in lower case, without parameters."""

    url: str
    media_type: str
    data: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Fetcher:
    """`hosts` (`host` or `host:port`) may be of the owner's own network and may be asked over plain http; every other
    URL must be https and lead to a public address. `timeout_seconds` counts for the whole way."""

    hosts: Collection[str] = ()
    timeout_seconds: float = 30.0
    resolve: Resolver | None = None

    async def get(self, url: str, *, most_bytes: int, accept: str = "*/*") -> Fetched:
        """Raises ToolFailed: for an address that is refused, an answer that is no 2xx, and more than `most_bytes`."""
        try:
            async with asyncio.timeout(self.timeout_seconds):
                for _ in range(MOST_REDIRECTS + 1):
                    found = await self._ask(url, most_bytes, accept)
                    if isinstance(found, Fetched):
                        return found
                    url = found
        except AddressRefused as refused:
            raise ToolFailed(f"{_shown(url)}: {refused.message}.") from refused
        except TimeoutError as error:
            raise ToolFailed(f"{_shown(url)}: nothing came within {self.timeout_seconds:g} s.") from error
        raise ToolFailed(f"{_shown(url)}: more than {MOST_REDIRECTS} redirects.")

    async def _ask(self, url: str, most_bytes: int, accept: str) -> Fetched | str:
        """What stands there, or where it is said to stand."""
        import aiohttp

        from hermes.pinned import open_pinned

        session, asked = open_pinned(await self._target(url), self.timeout_seconds)
        headers = {"Accept": accept, "Accept-Encoding": "identity"}
        try:
            async with session, session.get(asked, headers=headers, allow_redirects=False) as answer:
                if answer.status in (301, 302, 303, 307, 308) and "Location" in answer.headers:
                    return urljoin(url, answer.headers["Location"])
                if not 200 <= answer.status < 300:
                    raise ToolFailed(f"{_shown(url)}: the server answered {answer.status}.")
                data = bytearray()
                async for chunk in answer.content.iter_chunked(1 << 16):
                    data += chunk
                    if len(data) > most_bytes:
                        raise ToolFailed(f"{_shown(url)}: it is larger than {most_bytes:,} bytes.")
                return Fetched(url, answer.content_type.lower(), bytes(data))
        except (aiohttp.ClientError, OSError) as error:
            if isinstance(error, TimeoutError):
                raise
            raise ToolFailed(f"{_shown(url)}: cannot be got ({type(error).__name__}).") from error

    async def _target(self, url: str) -> Target:
        if len(url) > LONGEST_URL:
            raise AddressRefused(f"the URL has more than {LONGEST_URL:,} characters")
        _, host, port = split_url(url, ("http", "https"))
        is_own = bool({host, f"{host}:{port}", f"[{host}]", f"[{host}]:{port}"} & {name.lower() for name in self.hosts})
        schemes = ("http", "https") if is_own else ("https",)
        return await check_url(url, schemes=schemes, allow_private=is_own, resolve=self.resolve)


def _shown(url: str) -> str:
    """Without what may be a key: a query and a fragment."""
    bare = url.partition("#")[0].partition("?")[0]
    return bare if len(bare) <= 200 else f"{bare[:200]}…"
