"""A run's events as they come, several at once where they come faster than they need to be shown."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import AbstractAsyncContextManager, aclosing, asynccontextmanager, nullcontext

from hermes.core.clock import Clock, pause
from hermeslink.hermes.events import RemoteEvent

GATHER_SECONDS = 0.025
MOST_WAITING = 2_000
_DELTAS = frozenset({"message.delta", "reasoning.delta"})


@asynccontextmanager
async def gathered(
    events: AsyncIterator[RemoteEvent], clock: Clock, seconds: float = GATHER_SECONDS
) -> AsyncIterator[AsyncIterator[list[RemoteEvent]]]:
    """Batches of them, in order: the first at once, then each `seconds` after the one before where there are only
    pieces of text. Raises what `events` raises, behind what came before it.
    """
    gathering = _Gathering(clock, seconds)
    reading = asyncio.ensure_future(gathering.read(events))
    try:
        yield gathering.batches()
    finally:
        reading.cancel()
        await asyncio.gather(reading, return_exceptions=True)


class _Gathering:
    def __init__(self, clock: Clock, seconds: float) -> None:
        self._clock = clock
        self._seconds = seconds
        self._waiting: list[RemoteEvent] = []
        self._came = asyncio.Event()
        self._is_urgent = asyncio.Event()
        self._has_room = asyncio.Event()
        self._error: Exception | None = None
        self._has_ended = False

    async def read(self, events: AsyncIterator[RemoteEvent]) -> None:
        try:
            async with _closing(events):
                async for event in events:
                    self._waiting.append(event)
                    self._came.set()
                    if event.type not in _DELTAS:
                        self._is_urgent.set()
                    if len(self._waiting) >= MOST_WAITING:
                        self._has_room.clear()
                        self._is_urgent.set()
                        await self._has_room.wait()
        except Exception as error:  # noqa: BLE001 told to whoever reads the batches
            self._error = error
        self._has_ended = True
        self._came.set()
        self._is_urgent.set()

    async def batches(self) -> AsyncIterator[list[RemoteEvent]]:
        shown_at = self._clock.monotonic() - self._seconds
        while True:
            await self._came.wait()
            left = shown_at + self._seconds - self._clock.monotonic()
            if left > 0 and not self._is_urgent.is_set():
                await pause(self._clock, left, self._is_urgent)
            batch, self._waiting = self._waiting, []
            if not self._has_ended:
                self._came.clear()
                self._is_urgent.clear()
            self._has_room.set()
            if batch:
                shown_at = self._clock.monotonic()
                yield batch
            elif self._has_ended:
                if self._error is not None:
                    raise self._error
                return


def _closing(events: AsyncIterator[RemoteEvent]) -> AbstractAsyncContextManager[object]:
    """The connection behind a generator is closed with it."""
    return aclosing(events) if isinstance(events, AsyncGenerator) else nullcontext()
