"""Waiting for what a process does in its own time."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

TICK_SECONDS = 0.02


def eventually(condition: Callable[[], Any], seconds: float) -> Any:
    """What the condition gives, as soon as it is true. An AssertionError when it is not within `seconds`."""
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, f"it never came true within {seconds:g} s"
        time.sleep(TICK_SECONDS)
    return found
