"""Events of a run come in batches, in order, and none later than it must."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from hermeslink.conversations.gathering import MOST_WAITING, gathered
from hermeslink.hermes.events import RemoteEvent
from hermeslink.hermes.problems import ServerUnavailable
from tests.support.clock import FakeClock

SECONDS = 0.025


def delta(seq: int) -> RemoteEvent:
    return RemoteEvent(seq, "message.delta", {"delta": "x"})


class Source:
    """What is put in comes out; None ends it, an error is raised."""

    def __init__(self) -> None:
        self.waiting: asyncio.Queue[RemoteEvent | Exception | None] = asyncio.Queue()
        self.is_closed = False

    async def __call__(self) -> AsyncIterator[RemoteEvent]:
        try:
            while (event := await self.waiting.get()) is not None:
                if isinstance(event, Exception):
                    raise event
                yield event
        finally:
            self.is_closed = True


async def test_the_first_comes_at_once_and_what_follows_soon_after_comes_together() -> None:
    clock, source = FakeClock(), Source()
    async with gathered(source(), clock, SECONDS) as batches:
        source.waiting.put_nowait(delta(1))
        assert await anext(batches) == [delta(1)]
        for seq in (2, 3, 4):
            source.waiting.put_nowait(delta(seq))
        coming = asyncio.ensure_future(anext(batches))
        await clock.someone_sleeps()
        assert not coming.done()
        clock.advance(SECONDS)
        assert await coming == [delta(2), delta(3), delta(4)]
    assert source.is_closed


async def test_what_is_no_text_does_not_wait() -> None:
    clock, source = FakeClock(), Source()
    question = RemoteEvent(3, "approval.request", {})
    async with gathered(source(), clock, SECONDS) as batches:
        source.waiting.put_nowait(delta(1))
        await anext(batches)
        source.waiting.put_nowait(delta(2))
        coming = asyncio.ensure_future(anext(batches))
        await clock.someone_sleeps()
        source.waiting.put_nowait(question)
        assert await coming == [delta(2), question]


async def test_a_break_is_told_behind_what_came_before_it() -> None:
    clock, source = FakeClock(), Source()
    async with gathered(source(), clock, SECONDS) as batches:
        for one in (delta(1), ServerUnavailable("gone")):
            source.waiting.put_nowait(one)
        assert await anext(batches) == [delta(1)]
        with pytest.raises(ServerUnavailable):
            await anext(batches)


async def test_whoever_reads_slowly_holds_back_the_source() -> None:
    clock, source = FakeClock(), Source()
    for seq in range(1, MOST_WAITING * 2 + 1):
        source.waiting.put_nowait(delta(seq))
    source.waiting.put_nowait(None)
    async with gathered(source(), clock, SECONDS) as batches:
        found = await anext(batches)
        assert len(found) == MOST_WAITING
        async for batch in batches:
            found += batch
    assert [event.seq for event in found] == list(range(1, MOST_WAITING * 2 + 1))
