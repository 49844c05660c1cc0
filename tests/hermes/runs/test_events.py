"""`follow` has no gap and no double, whoever joins when."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hermes.core import event as events
from hermes.core.clock import SystemClock
from hermes.core.errors import Fenced, NotFound, StoreUnavailable
from hermes.core.event import KeptEvent
from hermes.core.run import Run, RunStatus
from hermes.core.session import Session
from hermes.runs.events import EventLog, Surroundings
from hermes.store import events as event_store
from hermes.store import runs as run_store
from hermes.store import sessions as session_store
from hermes.store.database import Connection, Database
from tests.support.database import give_back, new_url
from tests.support.engine import ask, open_runner
from tests.support.models import ScriptedModel, says


async def open_with_runs(url: str, *run_ids: str) -> Database:
    def prepare(conn: Connection) -> None:
        session_store.create(conn, Session(id="s", owner="o", source="test", started_at=0, last_active=0))
        for run_id in run_ids:
            run = Run(
                id=run_id,
                session_id="s",
                owner="o",
                source="test",
                status=RunStatus.RUNNING,
                created_at=0,
                updated_at=0,
            )
            run_store.insert(conn, run)

    database = await Database.open(url)
    await database.write(prepare)
    return database


steps = st.lists(
    st.one_of(
        st.tuples(st.just("delta"), st.text(min_size=1, max_size=3)),
        st.tuples(st.just("think"), st.text(min_size=1, max_size=3)),
        st.tuples(st.just("record"), st.integers(1, 4)),
        st.tuples(st.just("join"), st.integers(0, 12)),
        st.tuples(st.just("pause"), st.integers(1, 5)),
    ),
    max_size=40,
)


@settings(max_examples=150, deadline=None)
@given(steps, st.integers(1, 8), st.integers(1, 5))
def test_every_reader_gets_every_event_once_in_order(
    script: list[tuple[str, object]], kept_in_memory: int, read_at_once: int
):
    async def reader(log: EventLog, after: int) -> list[KeptEvent]:
        return [kept async for kept in log.follow("run", after)]

    async def play() -> None:
        url = new_url()
        database = await open_with_runs(url, "run")
        log = EventLog(database, SystemClock(), kept_in_memory=kept_in_memory, read_at_once=read_at_once)
        flusher = asyncio.create_task(log.flush_forever())
        recorder = log.open("run", "s", "o")
        readers = [(0, asyncio.create_task(reader(log, 0)))]
        text = thought = ""
        for word, value in script:
            match word, value:
                case "delta", str(piece):
                    recorder.delta(events.MessageDelta(piece))
                    text += piece
                case "think", str(piece):
                    recorder.delta(events.ReasoningDelta(piece))
                    thought += piece
                case "record", int(count):
                    await recorder.record(*(events.Warned(str(n)) for n in range(count)))
                case "join", int(after):
                    readers.append((after, asyncio.create_task(reader(log, after))))
                case "pause", int(turns):
                    for _ in range(turns):
                        await asyncio.sleep(0)
        await recorder.record(events.RunCancelled())
        log.close("run")
        readers.append((0, asyncio.create_task(reader(log, 0))))
        stored = await database.read(event_store.after, "run", 0, 10_000)
        assert [kept.seq for kept in stored] == list(range(1, len(stored) + 1))
        assert "".join(k.event.delta for k in stored if isinstance(k.event, events.MessageDelta)) == text
        assert "".join(k.event.delta for k in stored if isinstance(k.event, events.ReasoningDelta)) == thought
        for after, task in readers:
            if after < len(stored):
                assert await asyncio.wait_for(task, 10) == stored[after:]
            else:
                task.cancel()
        flusher.cancel()
        await asyncio.gather(flusher, *(task for _, task in readers), return_exceptions=True)
        await database.close()
        give_back(url)

    asyncio.run(play())


async def test_a_reader_behind_the_last_event_of_an_ended_run_gets_nothing():
    async with open_runner(ScriptedModel([says("Hi.")])) as runner:
        run = await runner.start(ask())
        count = len([one async for one in runner.follow(run.id)])
        assert [one async for one in runner.follow(run.id, count)] == []


async def test_an_unknown_run_is_not_found():
    async with open_runner(ScriptedModel([])) as runner:
        with pytest.raises(NotFound):
            await anext(runner.follow("run_x"))


async def test_a_reader_that_leaves_does_not_disturb_the_others():
    hold = asyncio.Event()
    async with open_runner(ScriptedModel([[hold, *says("Hi.")]])) as runner:
        run = await runner.start(ask())
        leaving = asyncio.create_task(_all(runner, run.id))
        staying = asyncio.create_task(_all(runner, run.id))
        await anext(runner.follow(run.id))
        leaving.cancel()
        hold.set()
        assert (await staying)[-1].event.name == "run.completed"


async def _all(runner, run_id: str) -> list[KeptEvent]:
    return [one async for one in runner.follow(run_id)]


async def test_an_event_that_cannot_be_kept_is_not_sent_and_uses_up_no_number(tmp_path):
    database = await open_with_runs(new_url(tmp_path / "state.db"), "good", "bad")
    log = EventLog(database, SystemClock())
    flusher = asyncio.create_task(log.flush_forever())
    good, bad = log.open("good", "s", "o"), log.open("bad", "s", "o")

    def broken(conn: object) -> None:
        raise StoreUnavailable("the disk is full")

    results = await asyncio.gather(
        good.record(events.Warned("kept")),
        bad.record(events.Warned("lost"), operations=(broken,)),
        return_exceptions=True,
    )
    assert [type(result) for result in results] == [type(None), StoreUnavailable]
    with pytest.raises(StoreUnavailable, match="disk is full"):
        await anext(log.follow("bad"))
    with pytest.raises(StoreUnavailable):
        await bad.record(events.Warned("neither"))
    bad.delta(events.MessageDelta("behind a gap"))
    await bad.record(events.RunFailed({"code": "store_unavailable"}), is_end=True)
    assert bad.said_so_far == "behind a gap"
    assert [(k.seq, k.event.name) for k in await database.read(event_store.after, "bad", 0, 9)] == [(1, "run.failed")]
    assert [k.event for k in await database.read(event_store.after, "good", 0, 9)] == [events.Warned("kept")]
    flusher.cancel()
    await asyncio.gather(flusher, return_exceptions=True)
    await database.close()


async def test_many_deltas_of_a_busy_moment_become_one_event():
    async with open_runner(ScriptedModel([says(*"abcdefgh")])) as runner:
        run = await runner.start(ask())
        deltas = [k.event for k in await _all(runner, run.id) if isinstance(k.event, events.MessageDelta)]
        assert "".join(delta.delta for delta in deltas) == "abcdefgh"
        assert len(deltas) == 1


async def test_text_that_comes_right_after_a_commit_gathers_and_what_is_awaited_does_not_wait_for_it():
    database = await open_with_runs(new_url(), "run")
    log = EventLog(database, SystemClock(), gather_seconds=60)
    flusher = asyncio.create_task(log.flush_forever())
    recorder = log.open("run", "s", "o")
    await recorder.record(events.Warned("first"))
    for piece in "abc":
        recorder.delta(events.MessageDelta(piece))
        await asyncio.sleep(0)
    await recorder.record(events.RunCancelled())
    kept = [one.event for one in await database.read(event_store.after, "run", 0, 99)]
    assert kept == [events.Warned("first"), events.MessageDelta("abc"), events.RunCancelled()]
    flusher.cancel()
    await asyncio.gather(flusher, return_exceptions=True)
    await database.close()


async def test_a_reader_that_was_busy_while_the_run_went_away_and_came_back_goes_on():
    database = await open_with_runs(new_url(), "run")
    log = EventLog(database, SystemClock())
    flusher = asyncio.create_task(log.flush_forever())
    first = log.open("run", "s", "o")
    await first.record(events.Warned("here"))
    reading = log.follow("run")
    assert (await anext(reading)).seq == 1
    log.lose(first)  # another node has it, and dies
    again = log.open("run", "s", "o", last_seq=1)
    waiting = asyncio.ensure_future(anext(reading))
    await asyncio.sleep(0)
    await again.record(events.Warned("here again"))
    async with asyncio.timeout(5):
        assert (await waiting).event == events.Warned("here again")
    flusher.cancel()
    await database.close()


async def test_what_was_opened_under_an_earlier_name_of_the_node_is_refused_and_the_rest_of_its_batch_is_kept():
    def of(name: str) -> object:
        def fence(conn: Connection) -> None:
            if name == "dead":
                raise Fenced(name)

        return fence

    fences = iter((of("dead"), of("fresh")))
    noticed: list[str] = []
    database = await open_with_runs(new_url(), "old", "new")
    surroundings = Surroundings(fence=lambda: next(fences), fenced=lambda: noticed.append("fenced"))  # type: ignore[arg-type, return-value]
    log = EventLog(database, SystemClock(), surroundings=surroundings)
    old, new = log.open("old", "s", "o"), log.open("new", "s", "o")
    recording = [asyncio.ensure_future(one.record(events.Warned("x"))) for one in (old, new)]
    await asyncio.sleep(0)
    flusher = asyncio.create_task(log.flush_forever())
    told = await asyncio.gather(*recording, return_exceptions=True)
    assert [type(one) for one in told] == [Fenced, type(None)]
    assert noticed == ["fenced"]
    assert [len(await database.read(event_store.after, run)) for run in ("old", "new")] == [0, 1]
    flusher.cancel()
    await database.close()
