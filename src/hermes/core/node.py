"""A node: one process that conducts runs, as the other processes of its database know it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """`kind`: `gateway`, or what else conducts runs. `home` and `host` tell it from others; `url` is where it answers.

    `beat` counts up while it lives; `beat_at` (unix seconds, its own clock) is when it last did.
    """

    id: str
    kind: str
    home: str
    host: str
    pid: int
    version: str
    url: str | None = None
    started_at: float
    beat: int = 0
    beat_at: float
    is_draining: bool = False
