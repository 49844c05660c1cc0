"""The sockets that all models of one event loop share, and the proxy that leads to a host."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from urllib.parse import urlsplit

import aiohttp

from hermes import __version__

log = logging.getLogger(__name__)


def open_session() -> aiohttp.ClientSession:
    """Without a limit of its own: runs are limited where they start. No cookies, no netrc, no environment a request."""
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0, ttl_dns_cache=300, keepalive_timeout=60),
        cookie_jar=aiohttp.DummyCookieJar(),
        timeout=aiohttp.ClientTimeout(total=None),
        headers={"User-Agent": f"hermes-server/{__version__}"},
        skip_auto_headers=("Accept-Encoding",),
        trust_env=False,
    )


def proxy_for(url: str, environ: Mapping[str, str]) -> str | None:
    """What HTTPS_PROXY, HTTP_PROXY, ALL_PROXY and NO_PROXY (either case) say for this address. Asked once a model:
    aiohttp's own way reads the environment and ~/.netrc again for each request."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    if host in ("", "localhost", "127.0.0.1", "::1"):
        return None
    for pattern in (environ.get("no_proxy") or environ.get("NO_PROXY") or "").split(","):
        suffix = pattern.strip().lower().partition(":")[0].lstrip("*.")
        if pattern.strip() == "*" or (suffix and (host == suffix or host.endswith(f".{suffix}"))):
            return None
    for name in (f"{parts.scheme}_proxy", f"{parts.scheme}_proxy".upper(), "all_proxy", "ALL_PROXY"):
        proxy = environ.get(name)
        if proxy:
            if proxy.startswith(("http://", "https://")):
                return proxy
            log.warning("%s is no http:// proxy and is not used for models", name)
    return None
