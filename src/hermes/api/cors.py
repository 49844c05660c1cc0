"""Which web pages may call (spec: api-server section 1, CORS; security, CSRF). Off by default.

A page of this server's own origin and of a listed one always passes, whatever Sec-Fetch-Site says. A foreign page's
read gets no grant, so its browser hides the answer; its write is refused.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from hermes.api import headers as names
from hermes.core.errors import Forbidden

METHODS = "GET, POST, PATCH, DELETE, OPTIONS"
REQUEST_HEADERS = (
    "Authorization",
    "Content-Type",
    names.IDEMPOTENCY_KEY,
    "Last-Event-ID",
    names.SESSION_ID,
    names.SESSION_KEY,
    names.DETACH,
    names.TOOL_ITEMS,
    names.REQUEST_ID,
    "x-api-key",
)
MAX_AGE_SECONDS = 600

_SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
_STAINLESS = re.compile(r"x-stainless-[a-z0-9-]{1,64}\Z")

Grants = list[tuple[bytes, bytes]]


class Cors:
    def __init__(self, origins: Sequence[str]) -> None:
        self.is_open = "*" in origins
        self.origins = frozenset(origin.rstrip("/").lower() for origin in origins)

    @property
    def is_on(self) -> bool:
        return bool(self.origins)

    def check(self, method: str, host: str, headers: Mapping[bytes, bytes]) -> Grants:
        """The headers that let the page read the answer. Raises Forbidden for a write from elsewhere."""
        origin = headers.get(b"origin")
        if origin is None:
            if method not in _SAFE and headers.get(b"sec-fetch-site", b"").lower() in (b"cross-site", b"same-site"):
                raise Forbidden("a page of another site may not write here", code="origin_not_allowed")
            return []
        text = origin.decode("latin-1").lower()
        if text in (f"http://{host.lower()}", f"https://{host.lower()}"):
            return []
        if self.is_open or text in self.origins:
            return self._grants(origin)
        if method not in _SAFE:
            raise Forbidden(
                f"the origin {text!r} may not write here; if it should, add it to API_SERVER_CORS_ORIGINS "
                "(config.yaml: api_server.cors_origins)",
                code="origin_not_allowed",
            )
        # Also where no page may call: or it would tell, without a key, which names of profiles have origins (ADR 76).
        return [(b"vary", b"Origin")]

    def preflight(self, grants: Grants, headers: Mapping[bytes, bytes]) -> Grants | None:
        """The answer to a browser that asks before it writes; None where the request is no preflight."""
        if b"access-control-request-method" not in headers or b"origin" not in headers:
            return None
        if not any(name == b"access-control-allow-origin" for name, _ in grants):
            raise Forbidden("no page of this origin may call this server", code="origin_not_allowed")
        wished = headers.get(b"access-control-request-headers", b"").decode("latin-1").lower().split(",")
        stainless = [name for name in (wish.strip() for wish in wished) if _STAINLESS.match(name)]
        return [
            *(grant for grant in grants if grant[0] != b"access-control-expose-headers"),
            (b"access-control-allow-methods", METHODS.encode()),
            (b"access-control-allow-headers", ", ".join((*REQUEST_HEADERS, *stainless)).encode()),
            (b"access-control-max-age", str(MAX_AGE_SECONDS).encode()),
        ]

    def _grants(self, origin: bytes) -> Grants:
        allowed = (
            [(b"access-control-allow-origin", b"*")]
            if self.is_open
            else [(b"access-control-allow-origin", origin), (b"vary", b"Origin")]
        )
        return [*allowed, (b"access-control-expose-headers", ", ".join(names.EXPOSED).encode())]
