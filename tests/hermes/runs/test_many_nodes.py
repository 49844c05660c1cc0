"""Two runners on one PostgreSQL: each takes any request about any run, and one goes on where the other stopped."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, cast

import psycopg
import pytest

from hermes.core import event as events
from hermes.core.errors import Busy, Conflict, StoreUnavailable
from hermes.core.event import KeptEvent
from hermes.core.model import ModelItem, ModelRequest
from hermes.core.run import Run, RunStatus
from hermes.runs.node import Identity
from hermes.runs.runner import Runner, RunnerSettings
from hermes.store import events as event_store
from hermes.store import nodes as node_store
from hermes.store import runs as run_store
from hermes.store import sessions as session_store
from hermes.store.database import Database
from tests.support.engine import ask, open_runner
from tests.support.models import Answer, ScriptedModel, calls, says
from tests.support.tools import EchoTool

DEADLINE_SECONDS = 15.0
FEW = RunnerSettings(max_running=2, max_waiting=2)


@dataclass
class Node:
    runner: Runner
    database: Database
    model: ScriptedModel
    tool: EchoTool

    async def events(self, run: Run, after: int = 0) -> list[events.RunEvent]:
        return [kept.event async for kept in self.runner.follow(run.id, after)]

    async def status(self, run: Run) -> RunStatus:
        return (await self.runner.get(run.id, "owner")).status


@dataclass
class Nodes:
    url: str
    stack: AsyncExitStack
    models: list[ScriptedModel] = field(default_factory=list)

    async def start(self, *answers: Answer, settings: RunnerSettings | None = None, is_dangerous: bool = False) -> Node:
        number = len(self.models)
        self.models.append(ScriptedModel(answers))
        database = await Database.open(self.url)
        self.stack.push_async_callback(database.close)
        tool = EchoTool("write", is_dangerous=is_dangerous, is_idempotent=False)
        opened = open_runner(
            self.models[-1], tool, database=database, settings=settings, identity=Identity("gateway", f"home{number}")
        )
        return Node(await self.stack.enter_async_context(opened), database, self.models[-1], tool)


@pytest.fixture
async def nodes(postgres_url: str) -> AsyncIterator[Nodes]:
    async with AsyncExitStack() as stack:
        yield Nodes(postgres_url, stack)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(DEADLINE_SECONDS):
        while not condition():
            await asyncio.sleep(0.01)


@asynccontextmanager
async def within_the_deadline() -> AsyncIterator[None]:
    async with asyncio.timeout(DEADLINE_SECONDS):
        yield


async def test_a_run_of_one_node_is_followed_from_another_event_by_event(nodes: Nodes):
    go_on = [asyncio.Event() for _ in range(3)]
    pieces = [item for i, wait in enumerate(go_on) for item in (*says(f"{i} ")[:1], wait)]
    here, there = await nodes.start([*pieces, *says("end")]), await nodes.start()
    run = await here.runner.start(ask())
    told: list[str] = []
    async with within_the_deadline():
        async for kept in there.runner.follow(run.id):
            told.append(kept.event.name)
            if isinstance(kept.event, events.MessageDelta) and go_on:
                go_on.pop(0).set()  # the next text is not said before this one was heard over there
    assert told == ["run.started", *["message.delta"] * 4, "run.completed"]
    assert await there.events(run) == await here.events(run)


async def test_a_question_is_answered_from_another_node_and_of_two_answers_one_wins(nodes: Nodes):
    step = calls(("a", "write", '{"text": "x"}'))
    here = await nodes.start(step, says("Done."), is_dangerous=True)
    there = await nodes.start()
    run = await here.runner.start(ask())
    async with within_the_deadline():
        async for kept in there.runner.follow(run.id):
            if isinstance(kept.event, events.ApprovalRequested):
                break
    [pending] = await there.runner.pending_approvals(run.id, "owner")
    results = await asyncio.gather(
        here.runner.answer(run.id, "owner", "deny", approval_id=pending.question.id, by="here"),
        there.runner.answer(run.id, "owner", "once", approval_id=pending.question.id, by="there"),
        return_exceptions=True,
    )
    async with within_the_deadline():
        happened = await there.events(run)
    [lost] = [result for result in results if isinstance(result, BaseException)]
    assert isinstance(lost, Conflict)
    assert lost.code in ("approval_not_pending", "approval_not_active")
    [answer] = [event for event in happened if isinstance(event, events.ApprovalResponded)]
    winner = "there" if results[1] == 1 else "here"
    assert (answer.by, answer.choice) == (winner, "once" if winner == "there" else "deny")
    assert here.tool.ran == (["x"] if winner == "there" else [])


def until_it_hears(text: str) -> Callable[[ModelRequest], list[ModelItem]]:
    """Calls its tool in every step until that was said to it."""

    def answer(request: ModelRequest) -> list[ModelItem]:
        if any(message.text == text for message in request.messages):
            return says("As you like.")
        return calls((f"call_{len(request.messages)}", "write", '{"text": "x"}'))

    return answer


async def test_a_run_is_steered_and_stopped_from_another_node(nodes: Nodes):
    here = await nodes.start(*[until_it_hears("rather that")] * 500)
    there = await nodes.start()
    steered = await here.runner.start(ask())
    await there.runner.steer(steered.id, "owner", "rather that")
    async with within_the_deadline():
        happened = await there.events(steered)
    assert [event.name for event in happened if isinstance(event, events.RunSteered)] == ["run.steered"]
    assert not await there.runner.has_pending_steer(steered.id)

    stopped = await here.runner.start(ask())
    await there.runner.stop(stopped.id, "owner")
    async with within_the_deadline():
        assert (await there.events(stopped))[-1].name == "run.cancelled"
    with pytest.raises(Conflict):
        await there.runner.stop(stopped.id, "owner")


async def test_of_two_stops_from_two_nodes_one_counts(nodes: Nodes):
    here, there = await nodes.start(*[[*says("Half")[:1], asyncio.Event()]] * 10), await nodes.start()
    for _ in range(10):
        run = await here.runner.start(ask())
        stops = [node.runner.stop(run.id, "owner") for node in (here, there, here, there)]
        async with within_the_deadline():
            told = await asyncio.gather(*stops, return_exceptions=True)
            assert (await there.events(run))[-1].name == "run.cancelled"
        lost = [one for one in told if isinstance(one, Conflict) and one.code == "run_not_active"]
        assert (told.count(None), len(lost)) == (1, 3)


async def test_a_stop_that_was_kept_by_a_node_that_died_before_it_said_so_is_found(nodes: Nodes):
    here, there = await nodes.start([*says("Half")[:1], asyncio.Event()]), await nodes.start()
    run = await here.runner.start(ask())
    await until(lambda: bool(here.model.requests))
    assert await there.database.write(run_store.set_status, run.id, RunStatus.STOPPING, 2.0)
    async with within_the_deadline():
        assert (await here.events(run))[-1].name == "run.cancelled"


async def test_one_place_goes_round_the_owners_over_all_nodes(nodes: Nodes):
    one = RunnerSettings(max_running=1, max_waiting=9)
    go = asyncio.Event()
    here = await nodes.start([go, *says("0")], *[says("x")] * 5, settings=one)
    there = await nodes.start(*[says("x")] * 5, settings=one)
    runs = [await here.runner.start(ask())]
    runs += [await here.runner.start(ask(owner="alice")) for _ in range(3)]
    runs += [await there.runner.start(ask(owner="bob")) for _ in range(2)]
    go.set()
    async with within_the_deadline():
        for run in runs:
            await there.events(run)
    began = [(kept.timestamp, run.owner) for run in runs for kept in [await first_event(there, run)]]
    assert [owner for _, owner in sorted(began)] == ["owner", "alice", "bob", "alice", "bob", "alice"]


async def first_event(node: Node, run: Run) -> KeptEvent:
    return (await node.database.read(event_store.after, run.id, 0, 1))[0]


async def test_a_session_has_one_run_at_a_time_over_all_nodes_in_the_order_they_came(nodes: Nodes):
    wait = asyncio.Event()
    here, there = await nodes.start([wait, *says("1")], says("3")), await nodes.start(says("2"))
    first = await here.runner.start(ask("one", session_id="s"))
    second = await there.runner.start(ask("two", session_id="s"))
    third = await here.runner.start(ask("three", session_id="s"))
    assert [await there.status(run) for run in (first, second, third)] == ["running", "queued", "queued"]
    assert there.model.requests == []
    wait.set()
    async with within_the_deadline():
        assert (await here.events(third))[-1].name == "run.completed"
    said = [message.text for message in await here.database.read(session_store.history, "s")]
    assert said == ["one", "1", "two", "2", "three", "3"]


async def test_places_are_counted_over_all_nodes_and_a_full_line_says_so(nodes: Nodes):
    go = asyncio.Event()
    answers = [[go, *says(str(i))] for i in range(4)]
    here, there = await nodes.start(*answers, settings=FEW), await nodes.start(*answers, settings=FEW)
    running = [await here.runner.start(ask()), await there.runner.start(ask())]
    waiting = [await here.runner.start(ask()), await there.runner.start(ask())]
    assert [await here.status(run) for run in (*running, *waiting)] == ["running"] * 2 + ["queued"] * 2
    for node in (here, there):
        with pytest.raises(Busy):
            await node.runner.start(ask())
    go.set()
    async with within_the_deadline():
        for run in (*running, *waiting):
            assert (await here.events(run))[-1].name == "run.completed"
    assert len(here.model.requests) + len(there.model.requests) == 4


async def test_what_a_stopping_node_gives_back_goes_on_at_another(nodes: Nodes):
    here, there = (
        await nodes.start(calls(("a", "write", '{"text": "x"}')), [asyncio.Event()]),
        await nodes.start(says("B.")),
    )
    run = await here.runner.start(ask(is_durable=True))
    reading = asyncio.ensure_future(there.events(run))
    await until(lambda: len(here.model.requests) == 2)
    await here.runner.drain(0.0)
    async with within_the_deadline():
        happened = await reading
    assert [event.name for event in happened] == [
        "run.started",
        "tool.started",
        "tool.completed",
        "run.resumed",
        "message.delta",
        "run.completed",
    ]
    assert (here.tool.ran, there.tool.ran) == (["x"], [])


async def test_a_node_that_was_taken_for_dead_writes_no_more_and_goes_on_under_another_name(nodes: Nodes):
    late = asyncio.Event()
    here = await nodes.start([*says("lost")[:1], late, *says(" and never kept")], says("Fresh."))
    there = await nodes.start(says("Kept."))
    here.runner.is_leaving = True  # it takes over nothing
    run = await here.runner.start(ask(is_durable=True))
    reading = asyncio.ensure_future(here.events(run))
    await until(lambda: bool(here.model.requests))
    async with within_the_deadline():
        while len(await there.database.read(event_store.after, run.id, 0, 10)) < 2:
            await asyncio.sleep(0.01)
    name = here.runner.node.id
    assert await there.database.write(node_store.remove, name)  # what a node does that saw it silent for seconds
    there.runner.node.tell_everyone("orphans")
    async with within_the_deadline():
        over_there = await there.events(run)
        late.set()
        assert await reading == over_there, "its own reader goes on from what the other one keeps"
    assert [event.name for event in over_there] == [
        "run.started",
        "message.delta",
        "run.resumed",
        "message.delta",
        "run.completed",
    ]
    await until(lambda: here.runner.node.id != name)
    fresh = await here.runner.start(ask())
    async with within_the_deadline():
        assert (await there.events(fresh))[-1].name == "run.completed"
    kept: list[KeptEvent] = await there.database.read(event_store.after, run.id, 0, 100)
    assert [one.seq for one in kept] == [1, 2, 3, 4, 5]


async def test_a_question_that_was_answered_while_nobody_conducted_the_run_is_not_asked_again(nodes: Nodes):
    step = calls(("a", "write", '{"text": "x"}'))
    here = await nodes.start(step, is_dangerous=True)
    run = await here.runner.start(ask(is_durable=True))
    async with within_the_deadline():
        async for kept in here.runner.follow(run.id):
            if isinstance(kept.event, events.ApprovalRequested):
                break
    await here.runner.drain(0.0)
    there = await nodes.start(says("Done."), is_dangerous=True)
    assert await there.runner.answer(run.id, "owner", "once", by="me") == 1
    recovered = await there.runner.recover()
    async with within_the_deadline():
        happened = await there.events(run)
    assert recovered.resumed == 1
    names = [event.name for event in happened]
    assert [names.count(name) for name in ("approval.request", "approval.responded")] == [1, 1]
    assert there.tool.ran == ["x"]


@asynccontextmanager
async def locked(nodes: Nodes, table: str) -> AsyncIterator[Callable[[int], Awaitable[None]]]:
    """Nobody reads or writes that table. What it gives waits until so many transactions wait."""
    async with await psycopg.AsyncConnection.connect(nodes.url) as conn, asyncio.timeout(DEADLINE_SECONDS):
        await conn.execute(f"LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE")

        async def wait_for(count: int) -> None:
            asked = "SELECT count(*) FROM pg_locks WHERE NOT granted"
            while (await (await conn.execute(asked)).fetchone() or (0,))[0] < count:
                await asyncio.sleep(0.01)

        yield wait_for


async def test_a_run_that_is_stopped_while_it_is_taken_over_is_cancelled(nodes: Nodes):
    here, third = await nodes.start([asyncio.Event()]), await nodes.start()
    run = await here.runner.start(ask(is_durable=True))
    await until(lambda: bool(here.model.requests))
    await third.runner.drain(0.0)  # it takes over nothing
    await here.runner.drain(0.0)
    async with locked(nodes, "steers") as wait_for:
        there = await nodes.start(says("Never heard."))
        taking = asyncio.ensure_future(there.runner.recover())
        await wait_for(1)  # it has claimed the run, and read what there is of it
        await third.runner.stop(run.id, "owner")
    async with within_the_deadline():
        assert (await taking).resumed == 1
        assert (await there.events(run))[-1].name == "run.cancelled"


async def test_a_stop_that_comes_with_the_end_is_refused(nodes: Nodes):
    heard, end = asyncio.Event(), asyncio.Event()
    here, there = await nodes.start([heard, *says("A.")], [end, *says()]), await nodes.start()
    run = await here.runner.start(ask())
    await until(lambda: bool(here.model.requests))
    await here.runner.steer(run.id, "owner", "and then?")
    heard.set()
    await until(lambda: len(here.model.requests) == 2)
    async with locked(
        nodes, "steers"
    ) as wait_for:  # the end of a run that was steered looks for what was said too late
        end.set()
        await wait_for(1)
        stopping = asyncio.ensure_future(there.runner.stop(run.id, "owner"))
        await wait_for(2)
    async with within_the_deadline():
        with pytest.raises(Conflict):
            await stopping
        assert (await there.events(run))[-1].name == "run.completed"


async def test_what_is_said_too_late_stays_in_the_session(nodes: Nodes):
    here, there = await nodes.start([*says("A."), asyncio.Event()]), await nodes.start()
    run = await here.runner.start(ask(session_id="s", is_durable=True))
    await until(lambda: bool(here.model.requests))
    await there.runner.steer(run.id, "owner", "one more thing")
    await here.runner.stop(run.id, "owner")
    async with within_the_deadline():
        await there.events(run)
    said = [message.text for message in await there.database.read(session_store.history, "s")]
    assert said[0] == "hello"
    assert said[-1] == "one more thing"


async def given_back(nodes: Nodes) -> Run:
    """A run that was under way at a node that stopped in order."""
    here = await nodes.start([asyncio.Event()])
    run = await here.runner.start(ask(is_durable=True))
    await until(lambda: bool(here.model.requests))
    await here.runner.drain(0.0)
    return run


async def beats(node: Node) -> int:
    [row] = [one for one in await node.database.read(node_store.listed) if one.id == node.runner.node.id]
    return row.beat


async def test_a_node_beats_while_what_it_takes_over_takes_long(nodes: Nodes):
    run = await given_back(nodes)
    there = await nodes.start(says("On."))
    async with locked(nodes, "steers") as wait_for:
        await wait_for(1)  # it has claimed the run, and reads what there is of it
        before = await beats(there)
        async with within_the_deadline():
            while await beats(there) < before + 2:
                await asyncio.sleep(0.05)
    async with within_the_deadline():
        assert (await there.events(run))[-1].name == "run.completed"


async def test_a_drain_waits_for_what_is_being_taken_over(nodes: Nodes):
    run = await given_back(nodes)
    there = await nodes.start([asyncio.Event()])
    async with locked(nodes, "steers") as wait_for:
        await wait_for(1)
        draining = asyncio.ensure_future(there.runner.drain(0.0))
        await asyncio.sleep(0.2)
        assert not draining.done()
    async with within_the_deadline():
        await draining
        assert there.runner.active == 0
        third = await nodes.start(says("On."))
        assert (await third.events(run))[-1].name == "run.completed"


async def test_a_run_that_began_while_its_node_was_taken_for_dead_is_the_others(nodes: Nodes):
    here, there = await nodes.start([asyncio.Event()]), await nodes.start(says("On."))
    here.runner.is_leaving = True  # it takes over nothing
    name = here.runner.node.id
    kept, go = threading.Event(), threading.Event()

    def slowly(conn: object, run: Run) -> None:
        kept.set()
        go.wait(2)  # the server waits for three seconds

    starting = asyncio.ensure_future(here.runner.start(ask(is_durable=True, keep=(slowly,))))
    assert await asyncio.to_thread(kept.wait, 10)
    removing = asyncio.ensure_future(there.database.write(node_store.remove, name))  # waits for what keeps the run
    await here.runner._rejoin(name)
    go.set()
    async with within_the_deadline():
        assert await removing
        run = await starting
        happened = [event.name for event in await there.events(run)]
    assert happened == ["run.started", "run.resumed", "message.delta", "run.completed"]
    await until(lambda: here.runner.active == 0)


async def test_a_run_that_is_given_back_while_it_begins_begins_elsewhere(nodes: Nodes):
    one = RunnerSettings(max_running=1, max_waiting=9)
    here = await nodes.start([asyncio.Event()], settings=one)
    first = await here.runner.start(ask())
    second = await here.runner.start(ask(is_durable=True))
    async with await psycopg.AsyncConnection.connect(nodes.url) as conn, within_the_deadline():
        await conn.execute("SELECT pg_advisory_xact_lock(hashtextextended('line', 0))")
        await here.runner.stop(first.id, "owner")
        asked = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
        while (await (await conn.execute(asked)).fetchone() or (0,))[0] < 1:  # its turn has come, as it seems
            await asyncio.sleep(0.01)
        await here.runner.drain(0.0)
        there = await nodes.start(says("Begun here."), settings=one)
        await there.runner.recover()
    async with within_the_deadline():
        happened = await there.events(second)
    assert [event.name for event in happened] == ["run.started", "message.delta", "run.completed"]


async def test_a_run_is_given_back_when_all_it_did_is_kept(nodes: Nodes):
    go = asyncio.Event()
    here = await nodes.start([go, *says("Half")[:1], asyncio.Event()])
    run = await here.runner.start(ask(is_durable=True))
    async with locked(nodes, "events") as wait_for:
        go.set()
        await wait_for(1)  # the transaction with its text
        draining = asyncio.ensure_future(here.runner.drain(0.0))
        await asyncio.sleep(0.3)
        assert await here.database.read(node_store.runs_of, here.runner.node.id) == [run.id]
    async with within_the_deadline():
        await draining
    assert await here.database.read(node_store.runs_of, here.runner.node.id) == []


async def test_words_that_no_node_says_do_no_harm(nodes: Nodes):
    here, there = await nodes.start(says("Well.")), await nodes.start()
    async with await psycopg.AsyncConnection.connect(nodes.url, autocommit=True) as conn:
        for word in ("follow run_x " + "n" * 100, "follow run_x", "look", "look run_x y", "é", "x" * 5000):
            await conn.execute("SELECT pg_notify('hermes.all', %s)", (word,))
    await asyncio.sleep(0.1)
    run = await here.runner.start(ask())
    async with within_the_deadline():
        assert (await there.events(run))[-1].name == "run.completed"


async def test_the_end_of_a_run_that_nobody_steered_looks_for_no_steers(nodes: Nodes):
    here = await nodes.start(says("Well."))
    async with locked(nodes, "steers"), within_the_deadline():
        run = await here.runner.start(ask())
        assert (await here.events(run))[-1].name == "run.completed"


class Watched:
    """A database whose reads are counted; of `failing` one is lost, as on a connection that breaks."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.reads = 0
        self.failing: int | None = None

    def has_failed(self) -> bool:
        return self.failing is None

    def __getattr__(self, name: str) -> Any:
        return getattr(self.database, name)

    async def read(self, function: Callable[..., Any], *args: Any) -> Any:
        self.reads += 1
        if self.failing is not None:
            self.failing -= 1
            if self.failing < 0:
                self.failing = None
                raise StoreUnavailable("away")
        return await self.database.read(function, *args)


async def test_what_was_accepted_is_accepted_though_nobody_can_be_told(nodes: Nodes):
    go = asyncio.Event()
    here = await nodes.start([go, *says("A.")], says("B."))
    run = await here.runner.start(ask())
    database = Watched(here.database)
    async with open_runner(ScriptedModel([]), database=cast("Database", database)) as there:
        database.failing = 1  # the second one asks who conducts the run
        await there.steer(run.id, "owner", "rather that")
        assert database.has_failed()
        go.set()
        async with within_the_deadline():
            await here.events(run)
    said = [message.text for message in await here.database.read(session_store.history, run.session_id)]
    assert said.count("rather that") == 1


async def test_readers_of_a_run_that_was_lost_wait_for_word_of_the_other_node(nodes: Nodes):
    there = await nodes.start(says("On."))
    stubborn, end = asyncio.Event(), asyncio.Event()
    database = Watched(await Database.open(nodes.url))
    model = Stubborn(stubborn, end)
    async with open_runner(model, database=cast("Database", database)) as here:
        run = await here.start(ask(is_durable=True))
        reading = asyncio.ensure_future(names_of(here, run))
        await until(lambda: model.is_asked)
        await there.runner.drain(0.0)  # it takes over nothing
        assert await there.database.write(node_store.remove, here.node.id)
        name = here.node.id
        await until(lambda: here.node.id != name)
        before = database.reads
        await asyncio.sleep(1.0)
        assert database.reads - before < 30, "a look each second, and no more"
        end.set()
        third = await nodes.start(says("On."))
        async with within_the_deadline():
            assert (await reading)[-1] == "run.completed"
            assert (await third.events(run))[-1].name == "run.completed"
    await database.database.close()


async def names_of(runner: Runner, run: Run) -> list[str]:
    return [kept.event.name async for kept in runner.follow(run.id)]


class Stubborn(ScriptedModel):
    """Takes its time to be cancelled."""

    def __init__(self, never: asyncio.Event, end: asyncio.Event) -> None:
        super().__init__([])
        self.never, self.end = never, end
        self.is_asked = False

    async def stream(self, request: ModelRequest) -> AsyncIterator[ModelItem]:
        self.is_asked = True
        try:
            await self.never.wait()
        finally:
            await self.end.wait()
        yield says()[-1]
