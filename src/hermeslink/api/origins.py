"""Which web pages may call (spec: link-api, section 1, CORS; security, CSRF). Only its own, unless `cors-origins` says
others: their reads get no grant, so that their browser hides the answer, and their writes are refused.
"""

from __future__ import annotations

from collections.abc import Sequence

from hermes.core.errors import Forbidden
from hermes.http.headers import RawHeaders

METHODS = b"GET, POST, PATCH, DELETE, OPTIONS"
REQUEST_HEADERS = (
    b"Authorization, Content-Type, Content-Disposition, Idempotency-Key, If-None-Match, Last-Event-ID, Range, "
    b"X-Hermes-App-Instance-Id, X-Request-Id"
)
EXPOSED = b"Accept-Ranges, Content-Disposition, Content-Range, ETag, Retry-After, X-Request-Id"
MAX_AGE_SECONDS = b"600"

SAFE = frozenset({"GET", "HEAD", "OPTIONS"})

Grants = list[tuple[bytes, bytes]]


class Origins:
    def __init__(self, listed: Sequence[str]) -> None:
        self._listed = frozenset(origin.rstrip("/").lower() for origin in listed)

    def check(self, method: str, host: str, headers: RawHeaders) -> Grants:
        """The headers that let a listed page read the answer. Raises Forbidden for a write of any other."""
        origin = headers.get(b"origin")
        if origin is None:
            if method not in SAFE and comes_from_another_site(headers):
                raise Forbidden("a page of another site may not write here", code="origin_not_allowed")
            return []
        text = origin.decode("latin-1").lower()
        if is_own(text, host):
            return []
        if text in self._listed:
            return [
                (b"access-control-allow-origin", origin),
                (b"access-control-expose-headers", EXPOSED),
                (b"vary", b"Origin"),
            ]
        if method not in SAFE:
            raise Forbidden(
                f"the origin {text[:200]!r} may not write here; if it should: hermeslink config set cors-origins",
                code="origin_not_allowed",
            )
        return [(b"vary", b"Origin")]

    def preflight(self, grants: Grants, headers: RawHeaders) -> Grants | None:
        """The answer to a browser that asks before it writes; None where the request is no preflight."""
        if b"access-control-request-method" not in headers or b"origin" not in headers:
            return None
        if not any(name == b"access-control-allow-origin" for name, _ in grants):
            raise Forbidden("no page of this origin may call this service", code="origin_not_allowed")
        return [
            *(grant for grant in grants if grant[0] != b"access-control-expose-headers"),
            (b"access-control-allow-methods", METHODS),
            (b"access-control-allow-headers", REQUEST_HEADERS),
            (b"access-control-max-age", MAX_AGE_SECONDS),
        ]


def is_own(origin: str, host: str) -> bool:
    """Whether a page of this service sent it. Both schemes: HTTPS ends at a proxy or a tunnel."""
    return origin in (f"http://{host.lower()}", f"https://{host.lower()}")


def is_of_another_page(headers: RawHeaders, host: str) -> bool:
    """Whether a browser says that somebody else's page asks: what this machine may, that page may not."""
    origin = headers.get(b"origin")
    if origin is not None:
        return not is_own(origin.decode("latin-1").lower(), host)
    return comes_from_another_site(headers)


def comes_from_another_site(headers: RawHeaders) -> bool:
    return headers.get(b"sec-fetch-site", b"").lower() in (b"cross-site", b"same-site")
