"""Times as clients read them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import overload


@overload
def iso(at: float) -> str: ...
@overload
def iso(at: None) -> None: ...
def iso(at: float | None) -> str | None:
    """Unix seconds as `2026-11-22T17:49:57.123Z`; None stays None."""
    if at is None:
        return None
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
