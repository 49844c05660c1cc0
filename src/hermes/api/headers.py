"""The X-Hermes-* headers in and out."""

from __future__ import annotations

import re
from collections.abc import Iterable

from hermes.core.errors import InvalidInput
from hermes.core.ids import is_session_id
from hermes.http.headers import RawHeaders

SESSION_ID = "X-Hermes-Session-Id"
SESSION_KEY = "X-Hermes-Session-Key"
RUN_ID = "X-Hermes-Run-Id"
WARNINGS = "X-Hermes-Warnings"
DETACH = "X-Hermes-Detach"
TOOL_ITEMS = "X-Hermes-Tool-Items"
IDEMPOTENCY_KEY = "Idempotency-Key"
IDEMPOTENCY_REPLAYED = "Idempotency-Replayed"
REQUEST_ID = "X-Request-Id"

EXPOSED = (SESSION_ID, SESSION_KEY, RUN_ID, WARNINGS, IDEMPOTENCY_REPLAYED, REQUEST_ID, "Retry-After")

MAX_WARNINGS_CHARACTERS = 4000

_SESSION_KEY = re.compile(r"[^\x00-\x1f\x7f-\x9f]{1,256}\Z")
_IDEMPOTENCY_KEY = re.compile(r"[\x21-\x7e]{1,255}\Z")


def text_of(headers: RawHeaders, name: str) -> str | None:
    value = headers.get(name.lower().encode("ascii"))
    return None if value is None else value.decode("latin-1")


def session_id(headers: RawHeaders) -> str | None:
    value = text_of(headers, SESSION_ID)
    if value is not None and not is_session_id(value):
        raise InvalidInput(
            f"{SESSION_ID} must be 1 to 256 of the characters A-Z a-z 0-9 . _ : -",
            code="invalid_session_id",
            param=SESSION_ID,
        )
    return value


def session_key(headers: RawHeaders) -> str | None:
    value = text_of(headers, SESSION_KEY)
    if value is not None and not _SESSION_KEY.match(value):
        raise InvalidInput(
            f"{SESSION_KEY} must be 1 to 256 characters, none of them a control character",
            code="invalid_session_key",
            param=SESSION_KEY,
        )
    return value


def idempotency_key(headers: RawHeaders) -> str | None:
    value = text_of(headers, IDEMPOTENCY_KEY)
    if value is not None and not _IDEMPOTENCY_KEY.match(value):
        raise InvalidInput(
            f"{IDEMPOTENCY_KEY} must be 1 to 255 visible ASCII characters",
            code="invalid_idempotency_key",
            param=IDEMPOTENCY_KEY,
        )
    return value


def is_detached(headers: RawHeaders) -> bool:
    value = (text_of(headers, DETACH) or "false").strip().lower()
    if value not in ("true", "1", "false", "0"):
        raise InvalidInput(f"{DETACH} must be true or false", param=DETACH)
    return value in ("true", "1")


def tool_items(headers: RawHeaders) -> str | None:
    """How the client wants to see the tools that the server ran; None where it does not say."""
    value = text_of(headers, TOOL_ITEMS)
    if value is not None and value.strip().lower() not in ("function_call", "mcp_call"):
        raise InvalidInput(f"{TOOL_ITEMS} must be function_call or mcp_call", param=TOOL_ITEMS)
    return None if value is None else value.strip().lower()


def warnings_header(warnings: Iterable[str]) -> dict[str, str]:
    """One line of ASCII; nothing when there is nothing to say. What is said twice is told once."""
    text = "; ".join(dict.fromkeys(warnings))
    if not text:
        return {}
    line = re.sub(r"[^\x20-\x7e]+", lambda match: " " if match[0].isspace() else "?" * len(match[0]), text)
    return {WARNINGS: line if len(line) <= MAX_WARNINGS_CHARACTERS else f"{line[: MAX_WARNINGS_CHARACTERS - 4]} ..."}
