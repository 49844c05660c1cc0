"""The list of a run's events: numbered and kept, then sent.

One flusher serves all runs: whatever has gathered while the last transaction was written goes into the next one, so
an idle store commits an event at once and a busy one commits many together (DESIGN decision 7). Readers hold only a
position in the list; they read its tail from memory and what lies before it from the store.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from hermes.core.clock import Clock
from hermes.core.errors import Fenced, HermesError, NotFound
from hermes.core.event import (
    ClientToolCalled,
    KeptEvent,
    MessageDelta,
    ReasoningDelta,
    RunCompleted,
    RunEvent,
    RunSteered,
    ToolCompleted,
    is_final,
)
from hermes.core.message import Message
from hermes.core.run import Run, Usage
from hermes.store import client_calls as client_call_store
from hermes.store import events as event_store
from hermes.store import runs as run_store
from hermes.store import sessions as session_store
from hermes.store import started_calls as started_call_store
from hermes.store import steers as steer_store
from hermes.store.database import Connection, Database

log = logging.getLogger(__name__)

KEPT_IN_MEMORY = 4096
READ_AT_ONCE = 500
GATHER_SECONDS = 0.01
"""Text that comes sooner after the last transaction waits so long for more of it, from any run (DESIGN: at most 25 ms).
A lone stream is never held up: its tokens come further apart."""

Operation = Callable[[Connection], Any]


async def _nobody(run: Run, mark: int) -> bool:
    return False


def _no_fence(conn: Connection) -> None:
    pass


@dataclass(slots=True)
class Surroundings:
    """What the list has to do with other nodes.

    `fence` gives what each transaction about a run begins with that is opened now; when that raises Fenced, `fenced` is
    called, and nothing of the transaction was kept. `kept` hears which run has new events. `mark` is taken before a
    run's events are read; `elsewhere` waits for what another node adds to an open run after that mark; False: nobody
    adds to it.
    """

    fence: Callable[[], Callable[[Connection], None]] = lambda: _no_fence
    fenced: Callable[[], None] = lambda: None
    kept: Callable[[str], None] = lambda run_id: None
    mark: Callable[[str], int] = lambda run_id: 0
    elsewhere: Callable[[Run, int], Awaitable[bool]] = _nobody


@dataclass(slots=True)
class _Tail:
    """The newest events of a run that is going on. `events[i]` has seq `before + i + 1`."""

    before: int = 0
    events: list[KeptEvent] = field(default_factory=list)
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    broken: HermesError | None = None

    @property
    def last_seq(self) -> int:
        return self.before + len(self.events)

    def extend(self, kept: Sequence[KeptEvent], keep: int) -> None:
        self.events.extend(kept)
        if len(self.events) > keep:
            dropped = len(self.events) - keep // 2
            del self.events[:dropped]
            self.before += dropped
        self.wake()

    def wake(self) -> None:
        self.changed.set()
        self.changed = asyncio.Event()


@dataclass(slots=True)
class _Entry:
    """What one `record` brought, or the deltas gathered since. Operations run behind the events, in order."""

    events: list[RunEvent]
    operations: list[Operation]
    is_durable: bool = False
    before_sent: Callable[[], None] | None = None
    done: asyncio.Future[None] | None = None


class Recorder:
    """The `Sink` of one run. Numbers its events; keeps the text of the message that is being said.

    `is_durable`: the run goes on after a restart, so its started calls are kept. `lost` is the text of an answer that
    was lost with the process before it was whole, until the model has given that answer anew.
    """

    def __init__(
        self, log: EventLog, run_id: str, session_id: str, owner: str, last_seq: int = 0, *, is_durable: bool = False
    ) -> None:
        self.run_id = run_id
        self.owner = owner
        self.session_id = session_id
        self.is_durable = is_durable
        self.last_seq = last_seq
        self.usage = Usage()
        self.lost = ""
        self.first_said_at: float | None = None
        """When the model gave its first text, on the clock that never goes back."""
        self.calls_done: Counter[str] = Counter()
        """How often a call of this id had its result: some models use an id again."""
        self.tail = _Tail(before=last_seq)
        self.entries: list[_Entry] = []
        self.is_lost = False
        self.fence = log.surroundings.fence()
        """What every transaction that writes about the run begins with."""
        self._log = log
        self._said: list[str] = []
        self._gathering: _Delta | None = None

    @property
    def said_so_far(self) -> str:
        """Text of the answer that is under way and not recorded as a message yet."""
        return "".join(self._said) or self.lost

    def opened_with(self, kept: Sequence[KeptEvent]) -> None:
        """Events that were committed with the run itself, before anything was recorded here."""
        self.last_seq = len(kept)
        self.tail.extend(kept, self._log.kept_in_memory)

    def delta(self, event: RunEvent) -> None:
        if isinstance(event, MessageDelta):
            self._said.append(event.delta)
        if self.tail.broken is not None:
            return  # behind what was lost nothing may follow but the end: the text would have a gap that nobody sees
        if isinstance(event, MessageDelta | ReasoningDelta):
            gathering = self._gathering
            if gathering is not None and gathering.kind is type(event):
                gathering.pieces.append(event.delta)
                return
            self._close_gathering()
            self._gathering = _Delta(type(event), [event.delta])
            if self.first_said_at is None:
                self.first_said_at = self._log.clock.monotonic()
        else:
            self._close_gathering()
            self.entries.append(_Entry([event], []))
        self._log.touch(self)

    async def record(
        self,
        *items: RunEvent | Message,
        usage: Usage | None = None,
        operations: Sequence[Operation] = (),
        is_durable: bool = False,
        is_end: bool = False,
        before_sent: Callable[[], None] | None = None,
    ) -> None:
        """Returns when everything is committed. Raises StoreUnavailable when it, or what came before it, was not.

        `operations` run in the same transaction, behind the events. `is_durable` survives a power cut. `is_end`
        records how the run ended even where something before it was lost. `before_sent` is called between the commit
        and the moment a reader sees the events: what it frees is free for whoever acts on them.
        """
        if self.is_lost:
            raise _lost()
        if self.tail.broken is not None and not is_end:
            raise self.tail.broken
        self._close_gathering()
        done = asyncio.get_running_loop().create_future()
        messages = [item for item in items if isinstance(item, Message)]
        happened = [item for item in items if not isinstance(item, Message)]
        work = list(operations)
        if messages or usage is not None:
            model = next((item.model for item in happened if isinstance(item, RunCompleted)), None)
            work.insert(0, self._keep_messages(messages, usage or Usage(), model or None, is_end=is_end))
            self.usage += usage or Usage()
        if self.is_durable:
            work += [self._forgets(m.tool_call_id) for m in messages if m.role == "tool" and m.tool_call_id]
        self.calls_done.update(item.tool_call_id for item in happened if isinstance(item, ToolCompleted))
        work += [self._heard for item in happened if isinstance(item, RunSteered)]
        client_calls = [item.tool_call_id for item in happened if isinstance(item, ClientToolCalled)]
        if client_calls:
            work.append(lambda conn: client_call_store.keep(conn, self.run_id, self.owner, client_calls))
        if any(message.role == "assistant" for message in messages):
            self._said.clear()
            self.lost = ""
        self.entries.append(_Entry(happened, work, is_durable, before_sent, done))
        self._log.touch(self, is_urgent=True)
        await done

    async def starting(self, tool_call_id: str) -> None:
        if not self.is_durable:
            return
        run_id, now = self.run_id, self._log.clock.now()
        mark = [lambda conn: started_call_store.mark(conn, run_id, tool_call_id, now)]
        await self.record(operations=mark, is_durable=True)  # what takes effect outlives a power cut, and so must this

    def take(self, now: float) -> tuple[list[KeptEvent], list[_Entry]]:
        """What waits, numbered. Only the flusher calls it."""
        self._close_gathering()
        entries, self.entries = self.entries, []
        if self.is_lost:
            return [], []
        kept = [event for entry in entries for event in entry.events]
        first = self.last_seq + 1
        self.last_seq += len(kept)
        return [KeptEvent(first + i, now, event) for i, event in enumerate(kept)], entries

    def _close_gathering(self) -> None:
        if self._gathering is not None:
            self.entries.append(_Entry([self._gathering.event()], []))
            self._gathering = None

    def _keep_messages(self, messages: list[Message], usage: Usage, model: str | None, *, is_end: bool) -> Operation:
        """`model` is the one that answered, which is the session's from then on."""
        session_id, run_id, now = self.session_id, self.run_id, self._log.clock.now()
        # for a run that breaks off, and for a key's budget, which is looked at while its runs go on; the end writes all
        is_counted = usage.api_calls and not is_end
        tool_calls = sum(len(message.tool_calls) for message in messages)

        def keep(conn: Connection) -> None:
            if messages:
                session_store.add_messages(conn, session_id, run_id, messages, now)
            if usage.api_calls or model is not None:
                session_store.add_usage(conn, session_id, usage, tool_calls, now, model)
            if is_counted:
                run_store.add_usage(conn, run_id, usage)

        return keep

    def _forgets(self, tool_call_id: str) -> Operation:
        return lambda conn: started_call_store.forget(conn, self.run_id, tool_call_id)

    def _heard(self, conn: Connection) -> None:
        steer_store.heard(conn, self.run_id)


@dataclass(slots=True)
class _Delta:
    kind: type[MessageDelta] | type[ReasoningDelta]
    pieces: list[str]

    def event(self) -> RunEvent:
        return self.kind("".join(self.pieces))


class EventLog:
    """Every run's events. `flush_forever` must run as a task for as long as runs do."""

    def __init__(
        self,
        database: Database,
        clock: Clock,
        *,
        kept_in_memory: int = KEPT_IN_MEMORY,
        read_at_once: int = READ_AT_ONCE,
        gather_seconds: float = GATHER_SECONDS,
        surroundings: Surroundings | None = None,
    ) -> None:
        self.clock = clock
        self.surroundings = surroundings or Surroundings()
        self.kept_in_memory = kept_in_memory
        self._read_at_once = read_at_once
        self._gather_seconds = gather_seconds
        self._database = database
        self._live: dict[str, Recorder] = {}
        self._dirty: dict[str, Recorder] = {}
        self._wake = asyncio.Event()
        self._urgent = asyncio.Event()

    def open(
        self, run_id: str, session_id: str, owner: str, last_seq: int = 0, *, is_durable: bool = False
    ) -> Recorder:
        recorder = Recorder(self, run_id, session_id, owner, last_seq, is_durable=is_durable)
        self._live[run_id] = recorder
        return recorder

    def close(self, run_id: str) -> None:
        """The run has ended, or never began. Its readers go on from what they hold, then from the store."""
        recorder = self._live.pop(run_id, None)
        if recorder is not None:
            recorder.tail.wake()

    def lose(self, recorder: Recorder) -> None:
        """The run is another node's: nothing more of it is kept here, and its readers go on from the store."""
        recorder.is_lost = True
        entries, recorder.entries = recorder.entries, []
        _give_up(recorder, entries, _lost())
        self.close(recorder.run_id)

    def touch(self, recorder: Recorder, *, is_urgent: bool = False) -> None:
        """`is_urgent`: somebody waits for the commit."""
        self._dirty[recorder.run_id] = recorder
        self._wake.set()
        if is_urgent:
            self._urgent.set()

    async def follow(self, run_id: str, after: int = 0) -> AsyncIterator[KeptEvent]:
        """Every event with seq > `after`, once, in order, until the run's final one. Replays, then goes on live.

        Raises NotFound when the run is unknown, StoreUnavailable when its events can no longer be kept.
        """
        position = after
        is_over = False
        while True:
            recorder = self._live.get(run_id)
            if recorder is None or position < recorder.tail.before:
                mark = self.surroundings.mark(run_id)
                rows = await self._database.read(event_store.after, run_id, position, self._read_at_once)
                for kept in rows:
                    position = kept.seq
                    yield kept
                    if is_final(kept.event):
                        return
                if not rows and recorder is None and run_id not in self._live:
                    if is_over:
                        return
                    is_over = await self._is_over(run_id, position, mark)
                continue
            async for kept in self._follow_tail(recorder, position):
                position = kept.seq
                yield kept
                if is_final(kept.event):
                    return

    async def _is_over(self, run_id: str, position: int, mark: int) -> bool:
        """Whether what is kept by now is all there will be; what is not is waited for."""
        run = await self._database.read(run_store.get, run_id)
        if run is None:
            if position == 0:
                raise NotFound(f"no run {run_id!r}", code="run_not_found")
            return True
        return run.status.is_final or not await self.surroundings.elsewhere(run, mark)  # (parked, where nobody goes on)

    async def _follow_tail(self, recorder: Recorder, position: int) -> AsyncIterator[KeptEvent]:
        """Live events behind `position`; ends when the reader has fallen out of the tail or the run is closed."""
        tail = recorder.tail
        while True:
            while tail.before <= position < tail.last_seq:
                kept = tail.events[position - tail.before]
                position += 1
                yield kept
            if position < tail.before:
                return
            if tail.broken is not None:
                raise tail.broken
            if self._live.get(recorder.run_id) is not recorder:  # (it may be here again, after another node had it)
                return
            await tail.changed.wait()

    async def flush_forever(self) -> None:
        """The flusher: one transaction at a time, everything that waits in it."""
        loop = asyncio.get_running_loop()
        last = 0.0
        while True:
            await self._wake.wait()
            too_soon = last + self._gather_seconds - loop.time()
            if too_soon > 0 and not self._urgent.is_set():
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._urgent.wait(), too_soon)
            self._wake.clear()
            self._urgent.clear()
            last = loop.time()
            dirty, self._dirty = self._dirty, {}
            if dirty:
                await self._flush(list(dirty.values()))

    async def _flush(self, recorders: list[Recorder]) -> None:
        now = self.clock.now()
        taken = [(recorder, *recorder.take(now)) for recorder in recorders]
        if await self._commit(taken) or len(taken) == 1:
            return
        for one in taken:  # one run's bad row must not take the others with it
            await self._commit([one], is_last_try=True)

    async def _commit(
        self, taken: list[tuple[Recorder, list[KeptEvent], list[_Entry]]], *, is_last_try: bool = False
    ) -> bool:
        rows = [(recorder.run_id, happened) for recorder, happened, _ in taken if happened]
        operations = [operation for _, _, entries in taken for entry in entries for operation in entry.operations]
        is_durable = any(entry.is_durable for _, _, entries in taken for entry in entries)
        fences = list(dict.fromkeys(recorder.fence for recorder, _, entries in taken if entries))
        try:
            await self._database.write(_commit, fences, rows, operations, durable=is_durable)
        except Fenced as error:
            if len(fences) > 1:  # some are of a name that this node had before
                return False
            self.surroundings.fenced()
            for recorder, _, entries in taken:
                _give_up(recorder, entries, error)
            return True
        except Exception as error:  # noqa: BLE001 whatever it was, the runs are told and the flusher lives on
            if len(taken) > 1 and not is_last_try:
                return False
            _fail(taken[0][0], taken[0][2], error)
            return False
        for recorder, happened, entries in taken:
            for entry in entries:
                if entry.before_sent is not None:
                    entry.before_sent()
            if happened:
                recorder.tail.extend(happened, self.kept_in_memory)
                self.surroundings.kept(recorder.run_id)
            for entry in entries:
                if entry.done is not None and not entry.done.done():
                    entry.done.set_result(None)
        return True


def _commit(
    conn: Connection,
    fences: Sequence[Callable[[Connection], None]],
    rows: list[tuple[str, list[KeptEvent]]],
    operations: list[Operation],
) -> None:
    for fence in fences:
        fence(conn)
    for run_id, kept in rows:
        event_store.append(conn, run_id, kept)
    for operation in operations:
        operation(conn)


def _fail(recorder: Recorder, entries: list[_Entry], error: Exception) -> None:
    """The events were never kept, so they are not sent: readers and the run are told instead."""
    told = error if isinstance(error, HermesError) else HermesError(f"an event could not be kept: {error}")
    level = logging.INFO if isinstance(error, NotFound) else logging.ERROR  # deleted, or in trouble
    log.log(level, "events of %s could not be kept: %s", recorder.run_id, error)
    recorder.tail.broken = told
    recorder.tail.wake()
    _give_up(recorder, entries, told)


def _lost() -> Fenced:
    return Fenced("the run goes on at another node")


def _give_up(recorder: Recorder, entries: list[_Entry], error: HermesError) -> None:
    recorder.last_seq = recorder.tail.last_seq  # the numbers were not used up
    for entry in entries:
        if entry.done is not None and not entry.done.done():
            entry.done.set_exception(error)
