"""Where a list goes on: a key of its order, in a form that nobody builds on."""

from __future__ import annotations

import base64
import binascii
import math

from hermes.core.errors import InvalidInput
from hermeslink.core.ids import is_id
from hermeslink.store.conversation_list import Key


def cursor_of(key: Key) -> str:
    at, conversation_id = key
    return base64.urlsafe_b64encode(f"{at!r} {conversation_id}".encode()).decode().rstrip("=")


def key_of(cursor: str) -> Key:
    """Raises InvalidInput `invalid_cursor`."""
    try:
        padded = cursor + "=" * (-len(cursor) % 4)
        time, _, conversation_id = (
            base64.b64decode(padded, altchars=b"-_", validate=True).decode("ascii").partition(" ")
        )
        key = float(time), conversation_id
    except (binascii.Error, ValueError):  # (also UnicodeError)
        raise _unknown() from None
    if not math.isfinite(key[0]) or not is_id(conversation_id, "conv") or cursor_of(key) != cursor:
        raise _unknown()
    return key


def _unknown() -> InvalidInput:
    return InvalidInput("cursor is none that a list gave: begin without one", code="invalid_cursor")
