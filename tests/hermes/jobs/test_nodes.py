"""Schedulers of several nodes on one database, whose clocks disagree: every due time fires once, whatever happens."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field, replace

import pytest

from hermes.core.errors import NotFound
from hermes.core.job import Job, JobRun
from hermes.jobs.delivery import LEASE_SECONDS
from hermes.store import jobs as job_store
from hermes.store import runs as run_store
from hermes.store.database import Connection, Database
from hermes.store.shared_clock import SharedClock
from tests.support.clock import FakeClock
from tests.support.jobs import NOON, Bench, open_bench, receiving

HOUR = 3600.0
DAY = 24 * HOUR
APART = (0.0, 2.5, -3.0)
"""How far the nodes' clocks are ahead of the time of the test."""


@dataclass
class Nodes:
    """`time` is the test's; each node's clock is `ahead` of it."""

    benches: list[Bench]
    ahead: list[float] = field(default_factory=lambda: list(APART))

    @property
    def one(self) -> Bench:
        return self.benches[0]

    def set(self, time: float) -> None:
        """Counted from NOON. Back, too."""
        for bench, ahead in zip(self.benches, self.ahead, strict=True):
            target = NOON + time + ahead
            if target >= bench.clock.time:
                bench.clock.advance(target - bench.clock.time)
            else:
                bench.clock.time = target

    async def at(self, time: float) -> None:
        self.set(time)
        await self.settle()

    async def settle(self) -> None:
        """All of them look at the same moment, until none has anything to do."""
        while 0.0 in await asyncio.gather(*(bench.jobs._scheduler.round() for bench in self.benches)):
            pass
        for bench in self.benches:
            await bench.runs_end()

    async def fired(self, job: Job) -> list[float]:
        """Due times that became runs, in minutes from NOON, in order."""
        return [(entry.due_at - NOON) / 60 for entry in await self.history(job) if entry.run_id is not None]

    async def history(self, job: Job) -> list[JobRun]:
        """All of it, the oldest first."""
        return (await self.one.database.read(job_store.runs_of, job.id, 10_000))[::-1]


@asynccontextmanager
async def nodes_on(url: str, count: int = 3) -> AsyncIterator[Nodes]:
    async with AsyncExitStack() as stack:
        benches = []
        for number in range(count):
            database = await Database.open(url)
            stack.push_async_callback(database.close)
            clock = FakeClock(NOON + APART[number])
            benches.append(await stack.enter_async_context(open_bench(database=database, clock=clock, keep_runs=1000)))
        yield Nodes(benches, list(APART[:count]))


@pytest.fixture
async def nodes(postgres_url: str) -> AsyncIterator[Nodes]:
    async with nodes_on(postgres_url) as made:
        yield made


async def test_every_due_time_of_many_jobs_fires_once_on_some_node(nodes: Nodes) -> None:
    jobs = [await nodes.benches[n % 3].make("every 10m", name=f"job {n}") for n in range(12)]
    for step in range(1, 7):
        await nodes.at(step * 600 + 5)
    for number, job in enumerate(jobs):
        minute = APART[number % 3] / 60
        assert await nodes.fired(job) == pytest.approx([10 * step + minute for step in range(1, 7)])
    ran = await nodes.one.database.read(lambda conn: run_store.list_runs(conn, "owner", limit=1000))
    assert len(ran) == 12 * 6  # and not a run too many


@pytest.mark.parametrize("jump", [-90.0, 90.0, -10 * 60.0, 10 * 60.0, -6 * HOUR, 6 * HOUR, -3 * DAY, 3 * DAY])
async def test_a_step_of_one_nodes_clock_or_of_all_makes_no_time_fire_twice(nodes: Nodes, jump: float) -> None:
    job = await nodes.one.make("every 1h", catch_up="all")
    await nodes.at(HOUR)
    nodes.ahead[1] += jump
    await nodes.at(HOUR + 100)
    nodes.ahead[1] -= jump
    await nodes.at(HOUR + 200)
    nodes.ahead = [ahead + jump for ahead in nodes.ahead]
    await nodes.at(HOUR + 300)
    nodes.ahead = list(APART)
    for step in range(2, 6):
        await nodes.at(step * HOUR + 10)
    fired = await nodes.fired(job)
    assert [due for due, count in Counter(fired).items() if count > 1] == []
    assert fired == sorted(fired)
    assert {60.0, 120.0, 180.0, 240.0, 300.0} <= set(fired)


@pytest.mark.parametrize("act", ["pause and resume", "edit", "another zone and back"])
async def test_a_time_that_fired_does_not_come_again_with_a_change_on_a_node_that_is_behind(
    nodes: Nodes, act: str
) -> None:
    nodes.ahead[2] = -50.0
    job = await nodes.one.make("0 13 * * *", timezone="UTC")
    await nodes.at(HOUR + 1)  # the third thinks that it is ten past
    assert await nodes.fired(job) == [60]
    behind = nodes.benches[2].jobs
    if act == "pause and resume":
        await behind.pause(job.id, "owner")
        await behind.resume(job.id, "owner")
    elif act == "edit":
        await behind.change(job.id, "owner", {"schedule": "0 13 * * 0-6"})
    else:
        await behind.change(job.id, "owner", {"timezone": "Europe/London"})
        await behind.change(job.id, "owner", {"timezone": "UTC"})
    await nodes.at(HOUR + 120)
    assert await nodes.fired(job) == [60]
    await nodes.at(DAY + HOUR + 10)
    assert await nodes.fired(job) == [60, 24 * 60 + 60]


async def test_a_job_whose_time_fired_before_the_clock_was_put_back_waits_for_the_next_also_when_resumed(
    nodes: Nodes,
) -> None:
    job = await nodes.one.make("every 1h")
    await nodes.at(HOUR)
    await nodes.at(-2 * DAY)
    await nodes.benches[1].jobs.pause(job.id, "owner")
    await nodes.benches[2].jobs.resume(job.id, "owner")
    await nodes.at(HOUR + 5)
    assert await nodes.fired(job) == [60]
    await nodes.at(2 * HOUR + 5)
    assert await nodes.fired(job) == [60, 120]


async def test_a_job_that_fired_by_a_clock_years_ahead_does_not_stay_silent_for_years(nodes: Nodes) -> None:
    job = await nodes.one.make("every 1h")
    await nodes.at(1000 * DAY)
    await nodes.at(1000 * DAY + HOUR)
    await nodes.at(HOUR / 2)
    await nodes.one.jobs.pause(job.id, "owner")
    await nodes.one.jobs.resume(job.id, "owner")
    await nodes.at(HOUR + 5)
    assert (await nodes.fired(job))[-1] == 60


async def test_a_change_on_one_node_beside_a_claim_on_another_keeps_both(nodes: Nodes) -> None:
    """The whole row is written by a change: read before the claim and written behind it, it would take that back."""
    job = await nodes.one.make("every 1h", repeat=50)
    for step in range(1, 16):
        nodes.set(step * HOUR + 10)
        await asyncio.gather(
            *(bench.jobs._scheduler.round() for bench in nodes.benches),
            *(nodes.benches[n].jobs.change(job.id, "owner", {"prompt": f"Say {step}-{n}"}) for n in range(3)),
        )
        await nodes.settle()
    assert await nodes.fired(job) == [60.0 * step for step in range(1, 16)]
    assert (await nodes.one.get(job)).fired == 15


async def test_random_changes_on_all_nodes_beside_due_times_lose_and_double_nothing(nodes: Nodes) -> None:
    chance = random.Random(4)
    job = await nodes.one.make("every 1h")
    manual = 0
    for step in range(1, 25):
        nodes.set(step * HOUR + chance.uniform(4, 50))
        acts = [bench.jobs._scheduler.round() for bench in nodes.benches]
        node = chance.choice(nodes.benches).jobs
        match chance.randrange(4):
            case 0:
                acts.append(node.run(job.id, "owner"))  # type: ignore[arg-type]
                manual += 1
            case 1:
                acts.append(node.change(job.id, "owner", {"name": f"job {step}"}))  # type: ignore[arg-type]
            case 2:
                acts.append(node.change(job.id, "owner", {"enabled": True}))  # type: ignore[arg-type]
        chance.shuffle(acts)
        await asyncio.gather(*acts)
        await nodes.settle()
    entries = await nodes.one.history(job)
    assert Counter(entry.due_at for entry in entries if not entry.is_manual) == {
        NOON + step * HOUR: 1 for step in range(1, 25)
    }
    assert sum(entry.is_manual for entry in entries) == manual
    assert all(entry.run_id for entry in entries)


async def test_a_job_that_another_node_deletes_or_pauses_while_it_is_due_fires_or_not_but_leaves_nothing_half(
    nodes: Nodes,
) -> None:
    gone = [await nodes.one.make("every 1h", name=f"gone {n}") for n in range(6)]
    still = [await nodes.one.make("every 1h", name=f"still {n}") for n in range(6)]
    nodes.set(HOUR + 10)
    await asyncio.gather(
        *(bench.jobs._scheduler.round() for bench in nodes.benches),
        *(nodes.benches[1].jobs.delete(job.id, "owner") for job in gone),
        *(nodes.benches[2].jobs.pause(job.id, "owner") for job in still),
        *(_run_unless_gone(nodes.benches[0], job) for job in gone),
    )
    await nodes.settle()
    for job in gone:
        with pytest.raises(NotFound):
            await nodes.one.history(job)
    for job in still:
        fired = await nodes.fired(job)
        assert fired in ([], [60.0])
        assert (await nodes.one.get(job)).fired == len(fired)


async def test_a_node_that_dies_before_its_claim_is_whole_leaves_the_time_to_the_others(nodes: Nodes) -> None:
    """Claim, run and entry are one transaction: a kill in the middle of it is a rollback."""
    job = await nodes.one.make("every 1h")
    nodes.set(HOUR + 5)

    def die(conn: Connection) -> None:
        held = job_store.owned(conn, job.id, "owner", is_held=True)
        assert job_store.claim(conn, held, replace(held, next_due=NOON + 2 * HOUR, last_due=NOON + HOUR, fired=1))
        raise ConnectionResetError

    with pytest.raises(ConnectionResetError):
        await nodes.benches[1].database.write(die)
    await nodes.settle()
    assert await nodes.fired(job) == [60]


async def test_the_hour_that_comes_twice_and_the_one_that_is_left_out_fire_once_on_many_nodes(
    postgres_url: str,
) -> None:
    """Berlin, 2027: on 28 March 02:00 is 03:00, on 31 October 03:00 is 02:00 once more."""
    async with nodes_on(postgres_url) as nodes:
        spring = (1_806_019_200.0 - NOON, "spring")  # 2027-03-26T00:00:00Z
        autumn = (1_824_768_000.0 - NOON, "autumn")  # 2027-10-29T00:00:00Z
        for start, name in (spring, autumn):
            nodes.set(start)
            job = await nodes.one.make("30 2 * * *", name=name, timezone="Europe/Berlin")
            for half_hour in range(1, 4 * 24 * 2):
                await nodes.at(start + half_hour * 1800)
            days = Counter((entry.due_at + 7200) // DAY for entry in await nodes.history(job))
            assert sorted(days.values()) == [1] * 4, name
            await nodes.one.jobs.delete(job.id, "owner")


async def test_each_delivery_is_made_by_one_node(nodes: Nodes) -> None:
    async with receiving() as receiver:
        jobs = [await nodes.one.make("every 1h", deliver=f"webhook:{receiver.url}", name=f"{n}") for n in range(6)]
        await nodes.at(HOUR + 5)
        for _ in range(3):
            await asyncio.gather(*(bench.jobs._deliveries.round() for bench in nodes.benches))
        ids = [headers["x-hermes-delivery"] for headers, _ in receiver.got]
        assert (len(ids), len(set(ids))) == (6, 6)
        assert [(await nodes.one.history(job))[0].delivery for job in jobs] == ["delivered"] * 6


async def test_what_a_killed_node_was_sending_another_sends_once_its_lease_is_over_under_the_same_id(
    nodes: Nodes,
) -> None:
    async with receiving() as receiver:
        job = await nodes.one.make("every 1h", deliver=f"webhook:{receiver.url}")
        await nodes.at(HOUR + 5)
        [entry] = await nodes.one.history(job)
        until = nodes.one.clock.now() + LEASE_SECONDS
        assert await nodes.one.database.write(job_store.claim_delivery, entry, until)  # and killed
        await nodes.benches[2].jobs._deliveries.round()
        assert receiver.got == []
        nodes.set(HOUR + 5 + LEASE_SECONDS + 5)
        await asyncio.gather(*(bench.jobs._deliveries.round() for bench in nodes.benches))
        assert [headers["x-hermes-delivery"] for headers, _ in receiver.got] == [f"jobrun_{entry.id}"]


async def test_a_node_that_stood_still_does_not_take_back_what_another_noted(nodes: Nodes) -> None:
    job = await nodes.one.make("every 1h", deliver="webhook:http://127.0.0.1:9/")
    await nodes.at(HOUR + 5)
    [entry] = await nodes.one.history(job)
    slow, quick = NOON + 2 * HOUR, NOON + 3 * HOUR
    database = nodes.one.database

    async def note(lease: float | None, **what: float) -> bool:
        return await database.write(
            lambda conn: job_store.note_delivery(conn, entry.id, 1, lease=lease, **what)  # type: ignore[arg-type]
        )

    assert await database.write(job_store.claim_delivery, entry, slow)
    assert await database.write(job_store.claim_delivery, replace(entry, delivery_due=slow), quick)
    assert not await note(slow, next_at=1.0)
    assert await note(None, delivered_at=5.0)
    assert not await note(quick, next_at=1.0)
    assert (await nodes.one.history(job))[0].delivered_at == 5.0


async def test_a_session_gets_an_output_once_whichever_nodes_bring_it(nodes: Nodes) -> None:
    first = await nodes.one.make("every 1h")
    await nodes.at(HOUR + 5)
    [entry] = await nodes.one.history(first)
    job = await nodes.one.make("every 1h", deliver=f"session:{entry.session_id}")
    await nodes.at(2 * HOUR + 10)
    await asyncio.gather(*(bench.jobs._deliveries.round() for bench in nodes.benches))
    said = await nodes.one.database.read(lambda conn: run_store.list_runs(conn, "owner", session_id=entry.session_id))
    assert len(said) == 1
    assert [one.delivery for one in await nodes.one.history(job)] == ["delivered"]


async def test_all_nodes_of_a_database_have_its_servers_time_whatever_their_own_clocks_say(postgres_url: str) -> None:
    database = await Database.open(postgres_url)
    own = [FakeClock(0.0), FakeClock(4e9)]
    clocks = [SharedClock(database, clock) for clock in own]
    assert [clock.now() for clock in clocks] == [0.0, 4e9]
    for clock in clocks:
        await clock.look()
    assert clocks[0].now() == pytest.approx(clocks[1].now(), abs=5.0)
    before = clocks[1].now()
    own[1].advance(10)
    assert clocks[1].now() == before + 10
    await database.close()


async def _run_unless_gone(bench: Bench, job: Job) -> None:
    with suppress(NotFound):
        await bench.jobs.run(job.id, job.owner)
