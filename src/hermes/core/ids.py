"""Ids carry 128 random bits and no secret; the prefix says what they name."""

from __future__ import annotations

import os
import re

SESSION_ID = re.compile(r"[A-Za-z0-9._:-]{1,256}")


ID_BYTES = 16
IDS_AT_ONCE = 256


class _Entropy:
    """The system's random bytes, fetched for many ids at once: a call into the kernel costs 50 µs on some machines."""

    def __init__(self) -> None:
        self._left: list[str] = []

    def take(self) -> str:
        try:
            return self._left.pop()  # atomic, so threads never share one
        except IndexError:
            drawn = os.urandom(ID_BYTES * IDS_AT_ONCE).hex()
            size = 2 * ID_BYTES
            fresh = [drawn[at : at + size] for at in range(0, len(drawn), size)]
            taken = fresh.pop()
            self._left.extend(fresh)
            return taken

    def forget(self) -> None:
        self._left.clear()


_entropy = _Entropy()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_entropy.forget)  # or parent and child would give the same ids


def new_id(prefix: str) -> str:
    """`new_id("run")` → `run_` and 32 hexadecimal digits."""
    return f"{prefix}_{_entropy.take()}"


def is_session_id(text: str) -> bool:
    return SESSION_ID.fullmatch(text) is not None
