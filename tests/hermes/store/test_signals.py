"""Words between nodes: in order, each once a batch, and whoever may have lost some is told to look."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import psycopg
import pytest
import uvloop

from hermes.store.database import Database
from hermes.store.postgres_signals import MOST_WAITING
from hermes.store.signals import EVERYONE, LONGEST_WORD, Signals
from tests.support.postgres import postgres_database

pytestmark = pytest.mark.sqlite("PostgreSQL has a parameter or a test of its own here")

MISSED = "(missed)"
DEADLINE_SECONDS = 20
NODE = "node_0123456789abcdef0123456789abcdef"
OTHER = "node_ffffffffffffffffffffffffffffffff"


@pytest.fixture
def url(postgres: str) -> Iterator[str]:
    with postgres_database(postgres) as url:
        yield url


@pytest.fixture(params=[asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
def run(request: pytest.FixtureRequest, url: str) -> Callable[[Callable[[str], object]], None]:
    """Runs a coroutine function on a loop of either kind, within a deadline; nothing of it may be left running."""

    async def bounded(work: Callable[[str], object]) -> None:
        before = asyncio.all_tasks()
        async with asyncio.timeout(DEADLINE_SECONDS):
            await work(url)  # type: ignore[misc]
            assert asyncio.all_tasks() == before
            while connections(url):  # the server is told, and takes its time
                await asyncio.sleep(0.01)

    def run(work: Callable[[str], object]) -> None:
        with asyncio.Runner(loop_factory=request.param) as runner:
            runner.run(bounded(work))

    return run


class Node:
    """What one node heard, in order; MISSED where it was told that it may have missed some."""

    def __init__(self, signals: Signals) -> None:
        self.signals = signals
        self.heard: asyncio.Queue[str] = asyncio.Queue()

    async def listen(self, me: str) -> None:
        await self.signals.listen(me, self.heard.put_nowait, lambda: self.heard.put_nowait(MISSED))

    async def next(self, count: int) -> list[str]:
        return [await self.heard.get() for _ in range(count)]

    async def until(self, word: str) -> None:
        while await self.heard.get() != word:
            pass


@asynccontextmanager
async def nodes(url: str, *ids: str) -> AsyncIterator[list[Node]]:
    """Which listen already."""
    database = await Database.open(url)
    async with AsyncExitStack() as stack:
        stack.push_async_callback(database.close)
        made = []
        for id in ids:  # noqa: A001 the field's own name
            node = Node(database.signals())
            stack.push_async_callback(node.signals.close)
            listening = asyncio.create_task(node.listen(id))
            stack.push_async_callback(ended, listening)
            assert await node.next(1) == [MISSED]
            made.append(node)
        yield made


async def ended(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.wait({task})
    assert task.cancelled()


def backends(url: str) -> list[int]:
    return [pid for pid, _ in _backends(url)]


def senders(url: str) -> list[int]:
    return [pid for pid, query in _backends(url) if "LISTEN" not in query]


def _backends(url: str) -> list[tuple[int, str]]:
    """With the last statement of each."""
    query = "SELECT pid, query FROM pg_stat_activity WHERE application_name = %s AND datname = current_database()"
    with psycopg.connect(url) as conn:
        return list(conn.execute(query, ("hermes signals",)))


def connections(url: str) -> int:
    return len(backends(url))


def end_connections(url: str) -> None:
    """Returns when they are gone."""
    with psycopg.connect(url) as conn:
        for pid in backends(url):
            conn.execute("SELECT pg_terminate_backend(%s, 10000)", (pid,))


def test_words_to_a_node_arrive_there_in_order_and_nowhere_else(run: Callable[..., None]) -> None:
    async def work(url: str) -> None:
        async with nodes(url, NODE, OTHER) as (one, other):
            words = [f"run_{number}" for number in range(100)]
            for word in words:
                one.signals.send(OTHER, word)
            one.signals.send(NODE, "mine")
            assert await other.next(100) == words
            assert await one.next(1) == ["mine"]
            assert (one.heard.empty(), other.heard.empty()) == (True, True)

    run(work)


def test_a_word_to_everyone_is_heard_by_all_and_by_its_sender(run: Callable[..., None]) -> None:
    async def work(url: str) -> None:
        async with nodes(url, NODE, OTHER) as (one, other):
            one.signals.send(EVERYONE, "look")
            assert await one.next(1) == ["look"]
            assert await other.next(1) == ["look"]

    run(work)


def test_the_same_word_in_one_batch_is_heard_once_and_again_in_the_next(run: Callable[..., None]) -> None:
    async def work(url: str) -> None:
        async with nodes(url, NODE, OTHER) as (one, other):
            for word in ("a", "b", "a", "a", "b"):
                one.signals.send(OTHER, word)
            one.signals.send(NODE, "a")
            assert await other.next(2) == ["a", "b"]
            assert await one.next(1) == ["a"]
            one.signals.send(OTHER, "a")
            one.signals.send(OTHER, "end")
            assert await other.next(2) == ["a", "end"]

    run(work)


def test_five_thousand_words_arrive_in_order(run: Callable[..., None]) -> None:
    async def work(url: str) -> None:
        async with nodes(url, NODE, OTHER) as (one, other):
            words = [f"event_{number}" for number in range(5000)]
            for number, word in enumerate(words):
                one.signals.send(OTHER, word)
                if number % 500 == 0:
                    await asyncio.sleep(0)
            assert await other.next(5000) == words

    run(work)


def test_who_listens_is_ready_to_send(run: Callable[..., None]) -> None:
    async def work(url: str) -> None:
        async with nodes(url, NODE):
            while not senders(url):
                await asyncio.sleep(0.01)

    run(work)


def test_a_listener_whose_connection_ended_is_told_and_hears_again(run: Callable[..., None]) -> None:
    async def work(url: str) -> None:
        async with nodes(url, NODE, OTHER) as (one, other):
            for number in range(3):
                await asyncio.to_thread(end_connections, url)
                assert await one.next(1) == [MISSED]
                assert await other.next(1) == [MISSED]
                for word in (f"{number} a", f"{number} b"):  # the first one may be dropped, which is told
                    other.signals.send(NODE, word)
                    assert await one.next(1) in ([word], [MISSED])
                assert one.heard.empty()

    run(work)


def test_what_a_sender_had_to_drop_is_told_to_those_it_was_for(run: Callable[..., None]) -> None:
    async def work(url: str) -> None:
        async with nodes(url, NODE, OTHER) as (one, other):
            one.signals.send(OTHER, "before")
            assert await other.next(1) == ["before"]
            with psycopg.connect(url) as conn:
                for sending in senders(url):
                    conn.execute("SELECT pg_terminate_backend(%s, 10000)", (sending,))
            one.signals.send(OTHER, "dropped")
            one.signals.send(OTHER, "dropped as well")
            assert await other.next(1) == [MISSED]
            one.signals.send(OTHER, "after")
            assert await other.next(1) == ["after"]
            assert one.heard.empty()

    run(work)


def test_too_many_words_for_a_batch_are_told_as_missed(run: Callable[..., None]) -> None:
    async def work(url: str) -> None:
        async with nodes(url, NODE, OTHER) as (one, other):
            for number in range(MOST_WAITING + 1):
                one.signals.send(OTHER, str(number))
            one.signals.send(OTHER, "after")
            assert await other.next(2) == [MISSED, "after"]

    run(work)


def test_a_renamed_node_listens_under_its_new_id_and_no_longer_under_the_old_one(run: Callable[..., None]) -> None:
    async def work(url: str) -> None:
        async with nodes(url, NODE, "node_third") as (one, third):
            one.signals.rename(OTHER)
            assert await one.next(1) == [MISSED]
            third.signals.send(NODE, "to the old one")
            third.signals.send(OTHER, "to the new one")
            assert await one.next(1) == ["to the new one"]
            one.signals.rename("a")
            one.signals.rename(NODE)
            assert await one.next(1) == [MISSED]
            third.signals.send(NODE, "home")
            await one.until("home")

    run(work)


def test_an_id_is_only_ever_a_name(run: Callable[..., None]) -> None:
    async def work(url: str) -> None:
        odd = 'a"; NOTIFY "hermes.all", \'x\'; --'
        async with nodes(url, odd, NODE) as (one, other):
            one.signals.rename("Node'; DROP TABLE runs; --")
            assert await one.next(1) == [MISSED]
            other.signals.send("Node'; DROP TABLE runs; --", "it's %s")
            assert await one.next(1) == ["it's %s"]
            assert other.heard.empty()

    run(work)


def test_close_hands_over_what_was_sent_and_lets_nothing_run(run: Callable[..., None]) -> None:
    async def work(url: str) -> None:
        async with nodes(url, NODE, OTHER) as (one, other):
            one.signals.send(OTHER, "the last one")
            await one.signals.close()
            one.signals.send(OTHER, "too late")
            other.signals.send(OTHER, "end")
            assert await other.next(2) == ["the last one", "end"]

    run(work)


def test_close_does_not_wait_for_a_server_that_hangs(run: Callable[..., None]) -> None:
    async def work(url: str) -> None:
        async with nodes(url, NODE) as (one,):
            one.signals.send(NODE, "before")
            assert await one.next(1) == ["before"]
            (sending,) = senders(url)
            os.kill(sending, signal.SIGSTOP)
            try:
                one.signals.send(NODE, "never heard")
                await asyncio.sleep(0)
                async with asyncio.timeout(8):  # psycopg asks a server for five seconds to end the statement
                    await one.signals.close()
            finally:
                os.kill(sending, signal.SIGCONT)
            while connections(url) > 1:
                await asyncio.sleep(0.01)

    run(work)


def test_a_database_that_is_away_costs_the_sender_nothing(run: Callable[..., None], url: str) -> None:
    async def work(url: str) -> None:
        from hermes.store.postgres_signals import PostgresSignals

        signals = PostgresSignals({"host": "127.0.0.1", "port": 1, "dbname": "x", "connect_timeout": 5}, "nowhere")
        listening = asyncio.create_task(signals.listen(NODE, print, print))
        for number in range(100):
            signals.send(EVERYONE, str(number))
            await asyncio.sleep(0)
        await signals.close()
        await ended(listening)

    run(work)


@pytest.mark.parametrize("word", ["", "x" * (LONGEST_WORD + 1), "grün", "two\nlines", "nul\0"])
async def test_what_is_no_short_word_is_refused(url: str, word: str) -> None:
    database = await Database.open(url)
    with pytest.raises(ValueError, match="is no word"):
        database.signals().send(EVERYONE, word)
    with pytest.raises(ValueError, match="too long for a channel"):
        database.signals().send("n" * 60, "word")
    await database.close()


async def test_sqlite_has_nobody_else_to_tell(tmp_path: Path) -> None:
    database = await Database.open(f"sqlite:///{tmp_path / 'state.db'}")
    node = Node(database.signals())
    listening = asyncio.create_task(node.listen(NODE))
    node.signals.send(EVERYONE, "look")
    node.signals.rename(OTHER)
    await asyncio.sleep(0)
    assert (listening.done(), node.heard.empty()) == (False, True)
    await ended(listening)
    await node.signals.close()
    await database.close()
