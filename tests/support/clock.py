"""A clock that stands still until a test moves it."""

from __future__ import annotations

import asyncio
import heapq
import itertools


class FakeClock:
    """`sleep` returns when `advance` has passed its time."""

    def __init__(self, start: float = 1_700_000_000.0) -> None:
        self.time = start
        self.step = 0.0
        """How far somebody put the clock forward; the monotonic time knows nothing of it."""
        self._sleepers: list[tuple[float, int, asyncio.Future[None]]] = []
        self._count = itertools.count()

    def now(self) -> float:
        return self.time + self.step

    def monotonic(self) -> float:
        return self.time

    @property
    def sleepers(self) -> int:
        return sum(1 for *_, future in self._sleepers if not future.done())

    async def sleep(self, seconds: float) -> None:
        future = asyncio.get_running_loop().create_future()
        heapq.heappush(self._sleepers, (self.time + seconds, next(self._count), future))
        await future

    async def someone_sleeps(self, seconds: float = 0.0) -> None:
        """Lets the others run until one of them waits for this clock, and for that long at least."""
        while not any(at >= self.time + seconds and not future.done() for at, _, future in self._sleepers):
            await asyncio.sleep(0)

    def advance(self, seconds: float) -> None:
        self.time += seconds
        while self._sleepers and self._sleepers[0][0] <= self.time:
            *_, future = heapq.heappop(self._sleepers)
            if not future.done():
                future.set_result(None)
