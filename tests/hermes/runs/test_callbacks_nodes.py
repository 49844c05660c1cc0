"""Callbacks on several nodes of one database: each try is made by one of them, and by another when that is killed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass

import pytest

from hermes.core.errors import StoreUnavailable
from hermes.core.run import RunStatus, Usage
from hermes.runs.callbacks import LEASE_SECONDS, Callbacks
from hermes.runs.webhook import Webhooks
from hermes.store import callbacks as callback_store
from hermes.store import runs as run_store
from hermes.store.callbacks import Callback
from hermes.store.database import Connection, Database
from tests.support.clock import FakeClock
from tests.support.engine import ask, open_runner
from tests.support.models import ScriptedModel, says
from tests.support.receiver import Receiver, receiving
from tests.support.store import keep_run


@dataclass
class Nodes:
    """Two nodes with one clock; `second` has not begun to send."""

    databases: list[Database]
    callbacks: list[Callbacks]
    receiver: Receiver
    clock: FakeClock
    stack: AsyncExitStack

    def begin(self, number: int) -> asyncio.Task[None]:
        task = asyncio.ensure_future(self.callbacks[number].run_forever())
        self.stack.callback(task.cancel)
        return task

    async def ended_run(self, name: str = "run_1") -> str:
        """Somebody conducted it, and is gone."""

        def keep(conn: Connection) -> None:
            keep_run(conn, name)
            callback_store.insert(conn, f"cb_{name}", name, self.receiver.url, self.clock.now())
            run_store.finish(conn, name, RunStatus.COMPLETED, 2.0, "Hi.", "stop", Usage(), None, "run.completed", 2)

        await self.databases[0].write(keep)
        return name

    async def kept(self, run_id: str) -> Callback:
        [callback] = await self.databases[0].read(callback_store.of_run, run_id)
        return callback

    async def until(self, run_id: str, is_so: Callable[[Callback], bool], step: float = 0.01) -> Callback:
        """`step` seconds go by at each look."""
        async with asyncio.timeout(10):
            while not is_so(kept := await self.kept(run_id)):
                await asyncio.sleep(0.005)
                self.clock.advance(step)
            return kept


@pytest.fixture
async def nodes(postgres_url: str) -> AsyncIterator[Nodes]:
    async with AsyncExitStack() as stack:
        clock = FakeClock()
        receiver = await stack.enter_async_context(receiving())
        databases, callbacks = [], []
        for _ in range(2):
            database = await Database.open(postgres_url)
            stack.push_async_callback(database.close)
            model = ScriptedModel([says("Hi.")] * 20)
            runner = await stack.enter_async_context(open_runner(model, database=database, clock=clock))
            webhooks = Webhooks(clock, lambda: "secret", hosts={receiver.host})
            databases.append(database)
            callbacks.append(Callbacks(database, runner, webhooks, clock))
        yield Nodes(databases, callbacks, receiver, clock, stack)


async def test_of_two_nodes_one_tells_each_end(nodes: Nodes) -> None:
    nodes.begin(0)
    nodes.begin(1)
    started = []
    for number in range(8):
        sender = nodes.callbacks[number % 2]
        promise = await sender.promise(nodes.receiver.url)
        started.append(await sender._runner.start(ask(keep=(promise,))))
    for run in started:
        await nodes.until(run.id, lambda one: one.delivered_at is not None)
    ids = [post.headers["x-hermes-delivery"] for post in nodes.receiver.posts]
    assert (len(ids), len(set(ids))) == (8, 8)


async def test_what_ended_on_another_node_is_told_without_a_word_of_it(nodes: Nodes) -> None:
    nodes.begin(1)
    await nodes.clock.someone_sleeps()
    run_id = await nodes.ended_run()
    await nodes.until(run_id, lambda one: one.delivered_at is not None, step=0.5)
    assert len(nodes.receiver.posts) == 1


async def test_nodes_that_come_at_once_send_once(nodes: Nodes) -> None:
    runs = [await nodes.ended_run(f"run_{n}") for n in range(12)]
    nodes.begin(0)
    nodes.begin(1)
    for run_id in runs:
        await nodes.until(run_id, lambda one: one.delivered_at is not None)
    ids = [post.headers["x-hermes-delivery"] for post in nodes.receiver.posts]
    assert sorted(ids) == sorted(f"cb_{run_id}" for run_id in runs)


async def test_a_try_of_a_killed_node_is_made_again_by_another_under_the_same_id(nodes: Nodes) -> None:
    never = asyncio.Event()
    nodes.receiver.answers = (never,)
    run_id = await nodes.ended_run()
    killed = nodes.begin(0)
    await nodes.receiver.wait_for(1)  # in the middle of its try
    killed.cancel()
    await asyncio.wait({killed})
    nodes.begin(1)
    claimed = (await nodes.kept(run_id)).next_attempt_at
    assert claimed == nodes.clock.now() + LEASE_SECONDS
    kept = await nodes.until(run_id, lambda one: one.delivered_at is not None, step=1.0)
    assert {post.headers["x-hermes-delivery"] for post in nodes.receiver.posts} == {kept.id}
    assert kept.delivered_at is not None
    assert kept.delivered_at >= claimed  # it was the other's until then
    assert len(nodes.receiver.posts) == 2
    never.set()


async def test_a_node_that_stood_still_for_longer_than_its_lease_takes_nothing_back(nodes: Nodes) -> None:
    run_id = await nodes.ended_run()
    kept, database = await nodes.kept(run_id), nodes.databases[0]
    assert await database.write(callback_store.claim, kept, 100.0)
    assert not await nodes.databases[1].write(callback_store.claim, kept, 200.0)
    held = await nodes.kept(run_id)
    assert await nodes.databases[1].write(callback_store.claim, held, 300.0)
    assert not await database.write(callback_store.failed, kept.id, "no answer", 5.0, 100.0)
    assert (await nodes.kept(run_id)).next_attempt_at == 300.0
    assert await nodes.databases[1].write(callback_store.delivered, kept.id, 6.0)
    assert not await database.write(callback_store.delivered, kept.id, 7.0)
    assert (await nodes.kept(run_id)).delivered_at == 6.0


async def test_a_node_that_cannot_sign_leaves_it_to_one_that_can(
    nodes: Nodes, caplog: pytest.LogCaptureFixture
) -> None:
    def none() -> str:
        raise StoreUnavailable("this one has none")

    nodes.callbacks[0]._webhooks = Webhooks(nodes.clock, none, hosts={nodes.receiver.host})
    run_id = await nodes.ended_run()
    due = (await nodes.kept(run_id)).next_attempt_at
    nodes.begin(0)
    async with asyncio.timeout(10):
        while "this one has none" not in caplog.text:
            await asyncio.sleep(0.005)
    assert (await nodes.kept(run_id)).next_attempt_at == due  # not claimed
    nodes.begin(1)
    await nodes.until(run_id, lambda one: one.delivered_at is not None)
