"""Time as a value that is passed in, so that a rule can be tested without waiting."""

from __future__ import annotations

import asyncio
import time
from typing import Protocol


class Clock(Protocol):
    def now(self) -> float:
        """Unix time in seconds."""
        ...

    def monotonic(self) -> float:
        """Seconds that never go back; only differences mean anything."""
        ...

    async def sleep(self, seconds: float) -> None: ...


class SystemClock:
    def now(self) -> float:
        return time.time()

    def monotonic(self) -> float:
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


async def pause(clock: Clock, seconds: float | None, wake: asyncio.Event) -> None:
    """Until somebody wakes it, or the time is over; None: only until somebody wakes it. Others get their turn in any
    case."""
    if seconds is not None and seconds <= 0:
        await asyncio.sleep(0)
        return
    waiting: set[asyncio.Future[object]] = {asyncio.ensure_future(wake.wait())}
    if seconds is not None:
        waiting.add(asyncio.ensure_future(clock.sleep(seconds)))
    try:
        await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for one in waiting:
            one.cancel()
