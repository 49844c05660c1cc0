"""`follow` has no gap and no double, whoever joins when, and whatever was written by whom."""

from __future__ import annotations

import asyncio
import json
import tempfile
from pathlib import Path
from typing import Any, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hermes.core.clock import SystemClock
from hermes.core.errors import NotFound
from hermes.store.database import Connection, Database
from hermeslink.conversations.log import EventLog
from hermeslink.core.conversation import LinkEvent, NewEvent
from hermeslink.store import conversations as conversation_store
from hermeslink.store import events as event_store
from tests.support.link_conversations import conversation, keep, link_database

pytestmark = pytest.mark.sqlite("Link keeps its data in SQLite")

A, B = (f"conv_{digit * 32}" for digit in "ab")


def say(conn: Connection, conversation_id: str, *texts: str) -> tuple[None, list[LinkEvent]]:
    new = [NewEvent("message.delta", {"text": text}, "msg_1", "run_1") for text in texts]
    return None, event_store.append(conn, conversation_id, new, 0.0)


def remove(conn: Connection, conversation_id: str) -> tuple[None, list[LinkEvent]]:
    return None, conversation_store.delete(conn, conversation_id, 0.0)[1]


async def with_two(database: Database) -> None:
    await database.write(keep, conversation(A))
    await database.write(keep, conversation(B))


steps = st.lists(
    st.one_of(
        st.tuples(st.just("say"), st.sampled_from([A, B]), st.integers(1, 4)),
        st.tuples(st.just("say unwatched"), st.sampled_from([A, B]), st.integers(1, 2)),  # as another process does
        st.tuples(st.just("say, cancelled"), st.sampled_from([A, B]), st.integers(1, 2)),
        st.tuples(st.just("join"), st.sampled_from([A, B, None]), st.integers(0, 12)),
        st.tuples(st.just("leave"), st.none(), st.integers(0, 5)),
        st.tuples(st.just("pause"), st.none(), st.integers(1, 5)),
    ),
    max_size=40,
)


@settings(max_examples=100)
@given(steps, st.integers(2, 8), st.integers(1, 5), st.sampled_from([False, False, False, True]))
def test_every_reader_gets_every_event_once_in_order(
    script: list[tuple[str, str | None, int]], kept_in_memory: int, read_at_once: int, is_file: bool
):
    """In a file the store is read beside the writes, in memory between them."""

    async def reader(log: EventLog, of: str | None, after: int, got: list[LinkEvent]) -> None:
        async for event in log.follow(of, after):
            got.append(event)

    async def play(path: Path | None) -> None:
        async with link_database(path) as database:
            await with_two(database)
            log = EventLog(
                database, SystemClock(), kept_in_memory=kept_in_memory, read_at_once=read_at_once, wake_seconds=0
            )
            readers: list[tuple[str | None, int, int, list[LinkEvent], asyncio.Task[None]]] = []
            writing: list[asyncio.Task[None]] = []

            async def newest(of: str | None) -> int:
                return await database.read(event_store.last_position, of)

            async def join(of: str | None, after: int) -> None:
                got: list[LinkEvent] = []
                readers.append((of, after, await newest(of), got, asyncio.create_task(reader(log, of, after, got))))

            await join(None, 0)
            for word, of, count in script:
                match word, of:
                    case "say", str(of):
                        writing.append(asyncio.create_task(log.write(say, of, *"abcd"[:count])))
                    case "say unwatched", str(of):
                        await database.write(say, of, *"uv"[:count])
                    case "say, cancelled", str(of):
                        one = asyncio.create_task(log.write(say, of, *"xy"[:count]))
                        await asyncio.sleep(0)
                        one.cancel()
                    case "join", of:
                        await join(of, count)
                    case "leave", _ if count < len(readers):
                        readers.pop(count)[-1].cancel()
                    case _:
                        for _ in range(count):
                            await asyncio.sleep(0)
            await asyncio.gather(*writing)
            await log.close()
            for of in (A, B):
                await log.write(say, of, "last")
            for of in (A, B, None):
                await join(of, 0)
            for of, after, last_then, got, task in readers:
                stored = await database.read(event_store.after, of, 0, 10_000)
                positions = [event.number if of is None else event.seq for event in stored]
                assert positions == list(range(1, len(stored) + 1))
                if after >= len(stored):  # where its place is hangs on when it first looked
                    assert got == stored[len(stored) - len(got) :]
                    task.cancel()
                    continue
                async with asyncio.timeout(10):
                    while not got or got[-1] != stored[-1]:
                        await asyncio.sleep(0)
                # (the newest that there was moves between the question and the first look of the reader)
                first = positions.index(got[0].number if of is None else got[0].seq)
                assert got == stored[first:]
                assert first == after or last_then <= first < after
                task.cancel()
            await asyncio.gather(*(task for *_, task in readers), return_exceptions=True)

    if not is_file:
        asyncio.run(play(None))
        return
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(play(Path(folder) / "link.db"))


async def test_the_stream_of_a_conversation_ends_with_its_deletion_and_that_of_all_goes_on():
    async with link_database() as database:
        await with_two(database)
        log = EventLog(database, SystemClock())
        everything, of_a = log.follow(None), log.follow(A)
        await log.write(say, A, "one")
        async with asyncio.timeout(5):
            assert [(await anext(one)).number for one in (everything, of_a)] == [1, 1]
            await log.write(say, A, "two")
            await log.write(remove, A)
            await log.write(say, B, "three")
            assert [event.type async for event in of_a] == ["message.delta", "conversation.deleted"]
            assert [event.number async for event in _first(everything, 3)] == [2, 3, 4]
            # who comes now finds the words gone, and what became of them
            assert [event.number async for event in _first(log.follow(None), 2)] == [3, 4]


async def test_who_was_away_while_a_conversation_was_deleted_is_told_and_who_comes_later_finds_none():
    async with link_database() as database:
        await with_two(database)
        log = EventLog(database, SystemClock())
        await log.write(say, A, "one", "two")
        await log.write(remove, A)
        assert await _types(log, A, 1) == [(3, "conversation.deleted")]
        for after in (0, 3):
            with pytest.raises(NotFound, match="no conversation"):
                await anext(log.follow(A, after))


async def test_a_place_behind_the_newest_event_is_that_of_the_newest():
    async with link_database() as database:
        await with_two(database)
        log = EventLog(database, SystemClock())
        await log.write(say, A, "one")
        reading = asyncio.ensure_future(anext(log.follow(A, 1000)))
        while not log.readers:
            await asyncio.sleep(0)
        await log.write(say, A, "two")
        async with asyncio.timeout(5):
            assert (await reading).seq == 2


async def test_what_a_caller_wrote_that_was_cancelled_is_shown_all_the_same():
    async with link_database() as database:
        await with_two(database)
        log = EventLog(database, SystemClock())
        everything = log.follow(None)
        await log.write(say, A, "one")
        assert (await anext(everything)).seq == 1
        impatient = asyncio.create_task(log.write(say, A, "two"))
        await asyncio.sleep(0)
        impatient.cancel()
        async with asyncio.timeout(5):
            assert (await anext(everything)).seq == 2


class HeldReads:
    """A database whose readers get what they read later than those who wait for a write behind it."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self.go = asyncio.Event()
        self.held = 0
        self.go.set()

    async def read(self, function: Any, *args: Any) -> Any:
        found = await self._database.read(function, *args)
        self.held += 1
        await self.go.wait()
        return found

    async def write(self, function: Any, *args: Any, durable: bool = False) -> Any:
        return await self._database.write(function, *args, durable=durable)


async def test_an_event_that_comes_while_the_store_is_read_is_not_missed():
    async with link_database() as database:
        await with_two(database)
        held = HeldReads(database)
        log = EventLog(cast(Database, held), SystemClock())
        await log.write(say, A, "one")
        everything = log.follow(None)
        assert (await anext(everything)).seq == 1
        held.go.clear()
        before = held.held
        waiting = asyncio.ensure_future(anext(everything))
        while held.held == before:
            await asyncio.sleep(0)
        await log.write(say, A, "two")
        held.go.set()
        async with asyncio.timeout(5):
            assert (await waiting).seq == 2


async def test_a_write_that_fails_shows_nothing_and_uses_up_no_number():
    def broken(conn: Connection) -> tuple[None, list[LinkEvent]]:
        say(conn, A, "lost")
        raise RuntimeError("no")

    async with link_database() as database:
        await with_two(database)
        log = EventLog(database, SystemClock())
        with pytest.raises(RuntimeError):
            await log.write(broken)
        await log.write(say, A, "kept")
        assert [(event.number, event.payload) async for event in _first(log.follow(None), 1)] == [(1, {"text": "kept"})]


async def test_the_envelope_says_what_the_event_is():
    async with link_database() as database:
        await with_two(database)
        log = EventLog(database, SystemClock())
        await log.write(say, B, "x")
        await log.write(say, A, "„你好“\n")
        [_, event] = [one async for one in _first(log.follow(None), 2)]
        assert json.loads(event.envelope) == {
            "seq": 1,
            "type": "message.delta",
            "conversation_id": A,
            "message_id": "msg_1",
            "run_id": "run_1",
            "payload": {"text": "„你好“\n"},
            "created_at": "1970-01-01T00:00:00.000Z",
        }
        assert b"\n" not in event.envelope


async def test_many_events_of_one_moment_wake_the_readers_once_more_and_not_each_time():
    async with link_database() as database:
        await with_two(database)
        log = EventLog(database, SystemClock(), wake_seconds=0.05)
        batches: list[int] = []

        async def read() -> None:
            async for batch in log.follow_many(None):
                batches.append(len(batch))

        reading = asyncio.create_task(read())
        while not log.readers:
            await asyncio.sleep(0)
        for at in range(50):
            await log.write(say, A, str(at))
        async with asyncio.timeout(5):
            while sum(batches) < 50:
                await asyncio.sleep(0)
        assert len(batches) < 25
        reading.cancel()
        await asyncio.gather(reading, return_exceptions=True)
        assert log.readers == 0


async def _types(log: EventLog, of: str, after: int) -> list[tuple[int, str]]:
    return [(event.seq, event.type) async for event in log.follow(of, after)]


async def _first(events, count: int):
    async for event in events:
        yield event
        count -= 1
        if not count:
            return
