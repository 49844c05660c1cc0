"""Ids carry 128 random bits and no secret; the prefix says what they name."""

from __future__ import annotations

import re
import secrets

SESSION_ID = re.compile(r"[A-Za-z0-9._:-]{1,256}")


def new_id(prefix: str) -> str:
    """`new_id("run")` → `run_` and 32 hexadecimal digits."""
    return f"{prefix}_{secrets.token_hex(16)}"


def is_session_id(text: str) -> bool:
    return SESSION_ID.fullmatch(text) is not None
