"""Callbacks from the promise to the delivery: sent once the run has ended, tried again, and not lost by a restart."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from hermes.core.errors import InvalidInput, StoreUnavailable
from hermes.core.run import IdempotencyClaim, Run
from hermes.runs.callbacks import AT_ONCE, WAITS_SECONDS, Callbacks
from hermes.runs.run_object import run_object
from hermes.runs.runner import Runner
from hermes.runs.webhook import Webhooks
from hermes.store import callbacks as callback_store
from hermes.store import sessions as session_store
from hermes.store.callbacks import Callback
from hermes.store.database import Connection, Database
from tests.support.clock import FakeClock
from tests.support.database import new_url
from tests.support.engine import ask, open_runner
from tests.support.models import ScriptedModel, says
from tests.support.receiver import Receiver, receiving
from tests.support.store import keep_run


class Engine:
    """A runner and its callbacks; `sends` runs them."""

    def __init__(self, database: Database, runner: Runner, receiver: Receiver, clock: FakeClock) -> None:
        self.database = database
        self.runner = runner
        self.clock = clock
        self.receiver = receiver
        webhooks = Webhooks(clock, lambda: "secret", hosts={receiver.host})
        self.callbacks = Callbacks(database, runner, webhooks, clock)

    async def start(self, url: str = "", **options: Any) -> Run:
        promise = await self.callbacks.promise(url or self.receiver.url)
        return await self.runner.start(ask(keep=(promise,), **options))

    async def ended(self, run: Run) -> Run:
        _ = [one async for one in self.runner.follow(run.id)]
        return await self.runner.get(run.id, "owner")

    async def kept(self, run: Run) -> Callback:
        (callback,) = await self.database.read(callback_store.of_run, run.id)
        return callback

    async def until(self, run: Run, **fields: Any) -> Callback:
        """The row, once these fields are so."""
        async with asyncio.timeout(10):
            while True:
                kept = await self.kept(run)
                if all(getattr(kept, name) == value for name, value in fields.items()):
                    return kept
                await asyncio.sleep(0)

    @asynccontextmanager
    async def sends(self) -> AsyncIterator[None]:
        task = asyncio.ensure_future(self.callbacks.run_forever())
        try:
            yield
        finally:
            task.cancel()
            await asyncio.wait({task})
            assert task.cancelled()  # it does not raise


@asynccontextmanager
async def engine(*answers: Any, model: ScriptedModel | None = None, url: str | None = None) -> AsyncIterator[Engine]:
    clock = FakeClock()
    database = await Database.open(url or new_url())
    try:
        async with (
            receiving(*answers) as receiver,
            open_runner(model or ScriptedModel([says("Hi.")] * 99), database=database, clock=clock) as runner,
        ):
            yield Engine(database, runner, receiver, clock)
    finally:
        await database.close()


async def test_the_end_of_a_run_is_told_with_the_run_and_its_last_event() -> None:
    async with engine() as here, here.sends():
        run = await here.ended(await here.start())
        await here.receiver.wait_for(1)
        kept = await here.until(run, delivered_at=here.clock.now())
        (post,) = here.receiver.posts
        assert post.json == {"event": "run.completed", **run_object(run)}
        assert (post.json["output"], post.json["status"]) == ("Hi.", "completed")
        assert (post.headers["x-hermes-delivery"], post.headers["x-hermes-event"]) == (kept.id, "run.completed")
        assert (kept.attempts, kept.next_attempt_at, kept.last_error) == (1, None, None)


async def test_nothing_is_told_before_the_end_nor_without_a_promise() -> None:
    hold = asyncio.Event()
    model = ScriptedModel([[hold, *says("slow")], says("quick")])
    async with engine(model=model) as here, here.sends():
        slow = await here.start()
        await here.ended(await here.runner.start(ask()))
        assert here.receiver.posts == []
        hold.set()
        await here.ended(slow)
        await here.receiver.wait_for(1)
        assert [post.json["run_id"] for post in here.receiver.posts] == [slow.id]


@pytest.mark.parametrize(("ends", "event"), [("stop", "run.cancelled"), ("fail", "run.failed")])
async def test_every_end_is_told(ends: str, event: str) -> None:
    hold = asyncio.Event()
    async with engine(model=ScriptedModel([[hold, RuntimeError("no")]])) as here, here.sends():
        run = await here.start()
        if ends == "stop":
            await here.runner.stop(run.id, "owner")
        hold.set()
        await here.receiver.wait_for(1)
        assert here.receiver.posts[0].json["event"] == event


async def test_a_promise_and_its_run_are_kept_together_or_not_at_all() -> None:
    async with engine() as here:
        claim = IdempotencyClaim("key", "same")
        first = await here.start(idempotency=claim)
        again = await here.start(idempotency=claim)
        assert (again.id, again.is_replay) == (first.id, True)
        assert (await here.kept(first)).attempts == 0  # one row, not two
        with pytest.raises(InvalidInput):
            await here.start("https://127.0.0.1/")
        await here.ended(first)


async def test_a_failed_try_is_repeated_after_growing_waits_and_then_given_up() -> None:
    async with engine(*[500] * 99) as here, here.sends():
        run = await here.ended(await here.start())
        for attempt, wait in enumerate(WAITS_SECONDS, 1):
            kept = await here.until(run, attempts=attempt)
            assert kept.next_attempt_at == here.clock.now() + wait
            await here.clock.someone_sleeps(2)
            here.clock.advance(wait)
        kept = await here.until(run, attempts=len(WAITS_SECONDS) + 1)
        assert (kept.next_attempt_at, kept.delivered_at, kept.last_error) == (None, None, "it answered 500")
        posts = here.receiver.posts
        assert len(posts) == 9
        assert {post.headers["x-hermes-delivery"] for post in posts} == {kept.id}
        assert len({post.body for post in posts}) == 1
        assert len({post.headers["x-hermes-timestamp"] for post in posts}) == 9


async def test_a_try_that_is_taken_ends_it() -> None:
    async with engine(500, 200) as here, here.sends():
        run = await here.ended(await here.start())
        await here.until(run, attempts=1)
        await here.clock.someone_sleeps(2)
        here.clock.advance(WAITS_SECONDS[0])
        kept = await here.until(run, attempts=2)
        assert (kept.delivered_at, kept.last_error) == (here.clock.now(), None)


async def test_410_is_the_last_try() -> None:
    async with engine(410) as here, here.sends():
        run = await here.ended(await here.start())
        kept = await here.until(run, attempts=1)
        assert (kept.next_attempt_at, kept.delivered_at) == (None, None)
        assert kept.last_error == "it answered 410: it wants no more"


async def test_a_receiver_that_asks_for_more_time_gets_it() -> None:
    busy = b"HTTP/1.1 503 X\r\nRetry-After: 900\r\nContent-Length: 0\r\n\r\n"
    async with engine(busy) as here, here.sends():
        run = await here.ended(await here.start())
        assert (await here.until(run, attempts=1)).next_attempt_at == here.clock.now() + 900


async def test_a_slow_receiver_holds_up_nobody_else() -> None:
    never = asyncio.Event()
    async with engine(never, 200) as here, here.sends():
        slow = await here.ended(await here.start())
        await here.receiver.wait_for(1)
        quick = await here.ended(await here.start())
        await here.until(quick, attempts=1)
        assert (await here.kept(slow)).attempts == 0
        never.set()
        await here.until(slow, attempts=1)


async def test_many_ends_at_once_are_told_a_few_at_a_time_and_all_of_them() -> None:
    never = asyncio.Event()
    async with engine(*[never] * AT_ONCE) as here, here.sends():
        started = [await here.start() for _ in range(AT_ONCE + 4)]
        for run in started:
            await here.ended(run)
        await here.receiver.wait_for(AT_ONCE)
        assert len(here.receiver.posts) == AT_ONCE
        never.set()
        for run in started:
            await here.until(run, attempts=1)
        assert sorted(post.json["run_id"] for post in here.receiver.posts) == sorted(run.id for run in started)


async def test_what_was_not_sent_before_a_restart_is_sent_after_it(tmp_path: Path) -> None:
    url = new_url(tmp_path / "state.db")
    async with receiving() as receiver:
        async with engine(url=url) as before:
            before.callbacks = Callbacks(
                before.database,
                before.runner,
                Webhooks(before.clock, lambda: "secret", hosts={receiver.host}),
                before.clock,
            )
            run = await before.ended(await before.start(receiver.url))  # nobody sends
        async with engine(url=url) as after:
            webhooks = Webhooks(after.clock, lambda: "secret", hosts={receiver.host})
            after.callbacks = Callbacks(after.database, after.runner, webhooks, after.clock)
            async with after.sends():
                await after.until(run, attempts=1)
        assert [post.json["run_id"] for post in receiver.posts] == [run.id]


async def test_a_run_that_a_killed_process_left_open_is_told_as_interrupted() -> None:
    async with engine() as here:

        def left(conn: Connection) -> None:
            keep_run(conn, "run_left")
            callback_store.insert(conn, "cb_left", "run_left", here.receiver.url, 1.0)

        await here.database.write(left)
        async with here.sends():
            while not here.callbacks._awaited:  # it began before the run was told as interrupted
                await asyncio.sleep(0)
            await here.runner.recover()
            await here.receiver.wait_for(1)
        assert here.receiver.posts[0].json["event"] == "run.interrupted"


async def test_a_callback_goes_with_its_session() -> None:
    async with engine(500) as here, here.sends():
        run = await here.ended(await here.start())
        await here.until(run, attempts=1)
        await here.clock.someone_sleeps(2)  # for the second try
        await here.database.write(session_store.delete, run.session_id)
        here.clock.advance(WAITS_SECONDS[0])
        later = await here.ended(await here.start())
        await here.until(later, attempts=1)
        assert [post.json["run_id"] for post in here.receiver.posts] == [run.id, later.id]


async def test_a_store_that_fails_for_a_while_loses_nothing() -> None:
    async with engine() as here:
        reads = here.database.read
        failing = [True]

        async def read(function: Any, *args: Any) -> Any:
            if failing and function.__module__ in ("hermes.runs.callbacks", "hermes.store.callbacks"):
                raise StoreUnavailable("locked")
            return await reads(function, *args)

        class Flaky:
            write = here.database.write
            is_shared = here.database.is_shared

        flaky: Any = Flaky()
        flaky.read = read
        webhooks = Webhooks(here.clock, lambda: "secret", hosts={here.receiver.host})
        here.callbacks = Callbacks(flaky, here.runner, webhooks, here.clock)
        async with here.sends():
            run = await here.ended(await here.start())
            await here.clock.someone_sleeps(2)
            failing.clear()
            here.clock.advance(5)
            await here.until(run, attempts=1)
