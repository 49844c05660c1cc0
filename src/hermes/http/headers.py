"""Headers that every answer carries, and the request's id."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from hermes.core.ids import new_id

SECURITY_HEADERS: tuple[tuple[bytes, bytes], ...] = (
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
    (b"x-frame-options", b"DENY"),
    (b"permissions-policy", b"camera=(), geolocation=(), microphone=(), payment=(), usb=()"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"cache-control", b"no-store"),
)
"""An answer that sets one of them itself, a page or an attachment, keeps its own."""

RawHeaders = Mapping[bytes, bytes]
"""A request's headers as they came, names in lower case; of several with one name the last."""

_REQUEST_ID = re.compile(rb"[A-Za-z0-9._:/+=@-]{1,128}")


def request_id_of(headers: Iterable[tuple[bytes, bytes]]) -> bytes:
    """The caller's, when it is one that may stand in a log line, else a new one."""
    for name, value in headers:
        if name == b"x-request-id" and _REQUEST_ID.fullmatch(value):
            return value
    return new_id("req").encode("ascii")
