"""The events that devices follow: kept, then shown, to each reader once and in order.

Whoever writes events gives a function to `write`, which returns what it appended; the log shows it once it is
committed. Readers hold only a position; they read the newest events from memory and what lies before from the store.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar, TypeVarTuple

from hermes.core.clock import Clock
from hermes.core.errors import NotFound
from hermes.store.database import Connection, Database
from hermeslink.core.conversation import LinkEvent
from hermeslink.store import events as event_store

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

KEPT_IN_MEMORY = 1024
READ_AT_ONCE = 500
WAKE_SECONDS = 0.01
"""How soon after one another the readers of a stream are woken: many running conversations at once are told to each
reader of the stream of all together. An event after a pause is told at once."""

DELETED = "conversation.deleted"


class EventLog:
    """Of all conversations. Used by one event loop."""

    def __init__(
        self,
        database: Database,
        clock: Clock,
        *,
        kept_in_memory: int = KEPT_IN_MEMORY,
        read_at_once: int = READ_AT_ONCE,
        wake_seconds: float = WAKE_SECONDS,
    ) -> None:
        self.clock = clock
        self._database = database
        self._kept_in_memory = kept_in_memory
        self._read_at_once = read_at_once
        self._wake_seconds = wake_seconds
        self._tails: dict[str | None, _Tail] = {}
        self._writes: set[asyncio.Task[Any]] = set()

    @property
    def readers(self) -> int:
        return sum(tail.readers for tail in self._tails.values())

    async def write(
        self, function: Callable[[Connection, *Ts], tuple[T, Sequence[LinkEvent]]], *args: *Ts, durable: bool = False
    ) -> T:
        """One transaction: `function` returns its result and what `store.events.append` gave it. When this returns,
        readers have them. A caller that is cancelled stops waiting; what was written is shown all the same.
        """
        task = asyncio.ensure_future(self._database.write(function, *args, durable=durable))
        self._writes.add(task)
        task.add_done_callback(self._written)
        result, _ = await asyncio.shield(task)
        return result

    async def follow(self, conversation_id: str | None, after: int = 0) -> AsyncIterator[LinkEvent]:
        """`follow_many`, one at a time."""
        async for batch in self.follow_many(conversation_id, after):
            for event in batch:
                yield event

    async def follow_many(self, conversation_id: str | None, after: int = 0) -> AsyncIterator[Sequence[LinkEvent]]:
        """What is behind `after`, then what comes: every event once, in order. `after` is a seq of the conversation;
        where that is None, a number, and the events are those of all. A place behind the newest event (a power cut
        may take back what was shown) is that of the newest.

        The stream of a conversation ends with its deletion, that of all never. Raises NotFound where there is no such
        conversation, unless the caller, who goes on from `after`, has not heard of its deletion yet.
        """
        position = min(after, await self._database.read(self._last_of, conversation_id, after))
        with self._reading(conversation_id) as tail:
            while True:
                changed = tail.changed
                batch = tail.behind(position)
                if batch is None:
                    batch = await self._database.read(event_store.after, conversation_id, position, self._read_at_once)
                if not batch:
                    await changed.wait()
                    continue
                position = tail.position(batch[-1])
                yield batch
                if conversation_id is not None and batch[-1].type == DELETED:
                    return

    async def close(self) -> None:
        """Waits for the writes that are under way."""
        await asyncio.gather(*self._writes, return_exceptions=True)

    def _written(self, task: asyncio.Task[tuple[Any, Sequence[LinkEvent]]]) -> None:
        self._writes.discard(task)
        if task.cancelled() or task.exception() is not None:  # (its caller is told, if there still is one)
            return
        _, events = task.result()
        if events:
            self._show(events)

    def _show(self, events: Sequence[LinkEvent]) -> None:
        by_tail: dict[_Tail, list[LinkEvent]] = {}
        everything = self._tails.get(None)
        for event in events:
            if everything is not None:
                by_tail.setdefault(everything, []).append(event)
            tail = self._tails.get(event.conversation_id)
            if tail is not None:
                by_tail.setdefault(tail, []).append(event)
        for tail, its_events in by_tail.items():
            tail.extend(its_events)

    @contextmanager
    def _reading(self, conversation_id: str | None) -> Iterator[_Tail]:
        tail = self._tails.get(conversation_id)
        if tail is None:
            tail = _Tail(self._kept_in_memory, self._wake_seconds, is_of_all=conversation_id is None)
            self._tails[conversation_id] = tail
        tail.readers += 1
        try:
            yield tail
        finally:
            tail.readers -= 1
            if not tail.readers:
                del self._tails[conversation_id]
                tail.close()

    @staticmethod
    def _last_of(conn: Connection, conversation_id: str | None, after: int) -> int:
        last = event_store.last_position(conn, conversation_id)
        if conversation_id is not None and event_store.is_over(conn, conversation_id, after):
            raise NotFound(f"no conversation {conversation_id!r}", code="conversation_not_found")
        return last


class _Tail:
    """The newest events of one stream, for as long as somebody reads it. `events[i]` is at `before + i + 1`; before the
    first one came nothing is known."""

    def __init__(self, keep: int, wake_seconds: float, *, is_of_all: bool) -> None:
        self.changed = asyncio.Event()
        self.readers = 0
        self._before: int | None = None
        self._events: list[LinkEvent] = []
        self._keep = keep
        self._wake_seconds = wake_seconds
        self._is_of_all = is_of_all
        self._loop = asyncio.get_running_loop()
        self._woken_at = -wake_seconds
        self._waking: asyncio.TimerHandle | None = None

    def position(self, event: LinkEvent) -> int:
        return event.number if self._is_of_all else event.seq

    def behind(self, position: int) -> Sequence[LinkEvent] | None:
        """None: only the store knows."""
        if self._before is None or position < self._before:
            return None
        return self._events[position - self._before :]

    def extend(self, events: Sequence[LinkEvent]) -> None:
        for event in events:
            position = self.position(event)
            if self._before is None or position > self._before + len(self._events) + 1:
                self._before, self._events = position - 1, []  # what lies between is read from the store
            if position == self._before + len(self._events) + 1:
                self._events.append(event)
        if self._before is not None and len(self._events) > self._keep:
            dropped = len(self._events) - self._keep // 2
            del self._events[:dropped]
            self._before += dropped
        if self._waking is None:
            wait = self._woken_at + self._wake_seconds - self._loop.time()
            if wait <= 0:
                self._wake()
            else:
                self._waking = self._loop.call_later(wait, self._wake)

    def close(self) -> None:
        if self._waking is not None:
            self._waking.cancel()

    def _wake(self) -> None:
        self._waking = None
        self._woken_at = self._loop.time()
        self.changed.set()
        self.changed = asyncio.Event()
