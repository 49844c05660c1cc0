"""Who is dead, by one's own observation; and processes that share a file."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from hermes.core.errors import Conflict
from hermes.core.event import RunFailed
from hermes.core.node import Node
from hermes.core.run import Run, RunStatus
from hermes.core.session import Session
from hermes.home.locks import NodeLock, is_held
from hermes.runs.node import SILENT_SECONDS, Identity, Membership, Watch
from hermes.runs.runner import Runner, RunnerSettings
from hermes.store import events as event_store
from hermes.store import nodes as node_store
from hermes.store import runs as run_store
from hermes.store import sessions as session_store
from hermes.store.database import Database
from tests.support.clock import FakeClock
from tests.support.engine import ask, open_runner
from tests.support.models import ScriptedModel, says


def node(name: str, beat: int) -> Node:
    return Node(
        id=name, kind="gateway", home=name, host="h", pid=1, version="1", started_at=0.0, beat=beat, beat_at=0.0
    )


def silent_after(watch: Watch, clock: FakeClock, seconds: float, beats: dict[str, int]) -> list[str]:
    clock.advance(seconds)
    return [peer.id for peer in watch.silent([node(name, beat) for name, beat in beats.items()])]


def test_a_peer_that_does_not_beat_for_five_seconds_is_silent_and_one_that_beats_is_not():
    clock, found = FakeClock(), []
    watch = Watch(clock)
    for second in range(8):
        found.append(silent_after(watch, clock, 1.0, {"dead": 7, "alive": second}))
    assert found == [[]] * int(SILENT_SECONDS) + [["dead"]] * 3


def test_time_in_which_it_could_not_look_counts_for_nobody():
    clock = FakeClock()
    watch = Watch(clock)
    for _ in range(4):
        assert silent_after(watch, clock, 1.0, {"a": 7}) == []
    assert silent_after(watch, clock, 60.0, {"a": 7}) == [], "the database was away, or this node stood still"
    assert [silent_after(watch, clock, 1.0, {"a": 7}) for _ in range(5)][-2:] == [[], ["a"]]


async def names(runner: Runner, run_id: str) -> list[str]:
    return [one.event.name async for one in runner.follow(run_id)]


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    opened = await Database.open(f"sqlite:///{tmp_path / 'state.db'}")
    yield opened
    await opened.close()


@pytest.mark.sqlite("processes that share a file")
async def test_two_processes_of_one_file_do_not_run_a_session_at_once(database: Database):
    never = asyncio.Event()
    model = ScriptedModel([[never], says("Mine.")])
    async with (
        open_runner(model, database=database) as terminal,
        open_runner(model, database=database, identity=Identity("gateway", "home")) as gateway,
    ):
        run = await terminal.start(ask(session_id="s"))
        with pytest.raises(Conflict) as refused:
            await gateway.start(ask(session_id="s"))
        assert refused.value.code == "session_busy"
        assert (await gateway.recover()).interrupted == 0, "its process lives"
        assert (await gateway.get(run.id, "owner")).status is RunStatus.RUNNING
        await terminal.stop(run.id, "owner")
        assert (await names(gateway, run.id))[-1] == "run.cancelled"
        after = await gateway.start(ask(session_id="s"))
        assert (await names(gateway, after.id))[-1] == "run.completed"


@pytest.mark.sqlite("processes that share a file")
@pytest.mark.parametrize("kind", ["gateway", "acp"])
async def test_whose_lock_is_free_is_dead_and_its_open_runs_are_told_as_interrupted(
    database: Database, tmp_path: Path, kind: str
):
    async with open_runner(ScriptedModel([[asyncio.Event()]]), database=database) as terminal:
        run = await terminal.start(ask(session_id="s"))
        while not await database.read(event_store.after, run.id, 0, 10):  # it lives on here, but shall say no more
            await asyncio.sleep(0.001)
        (tmp_path / "run" / f"{terminal.node.id}.lock").unlink()  # as good as dead: nobody can find its lock held
        clock = FakeClock()
        async with open_runner(
            ScriptedModel([]), database=database, clock=clock, identity=Identity(kind, "home")
        ) as other:
            reading = asyncio.ensure_future(names(other, run.id))
            while not reading.done():
                clock.advance(1.0)
                await asyncio.sleep(0.001)
            assert reading.result()[-1] == "run.interrupted"


@pytest.mark.sqlite("processes that share a file")
async def test_what_a_dead_process_had_said_stands_before_the_next_turn_of_the_session(
    database: Database, tmp_path: Path
):
    never = asyncio.Event()
    async with open_runner(ScriptedModel([[*says("I was")[:1], never]]), database=database) as terminal:
        run = await terminal.start(ask(session_id="s"))
        while len(await database.read(event_store.after, run.id, 0, 10)) < 2:
            await asyncio.sleep(0.001)
        (tmp_path / "run" / f"{terminal.node.id}.lock").unlink()
        async with open_runner(ScriptedModel([says("Here.")]), database=database, clock=FakeClock()) as other:
            after = await other.start(ask("again", session_id="s"))
            assert (await names(other, after.id))[-1] == "run.completed"
            said = [message.text for message in await database.read(session_store.history, "s")]
            assert said == ["hello", "I was", "again", "Here."]


async def dead_runs(database: Database) -> list[Run]:
    """A run that ends with its process, and one that a gateway goes on with; nobody conducts them."""
    session = Session(id="s", owner="owner", source="test", started_at=1.0, last_active=1.0)
    await database.write(session_store.create, session)
    runs = [
        Run(
            id=f"run_{number}",
            session_id="s",
            owner="owner",
            source="test",
            status=RunStatus.RUNNING,
            created_at=number,
            updated_at=number,
            is_durable=is_durable,
            node="node_that_died",
        )
        for number, is_durable in enumerate((False, True))
    ]
    for run in runs:
        await database.write(run_store.insert, run)
    return runs


async def test_without_a_gateway_any_process_ends_what_ended_with_its_process_and_leaves_the_rest_to_one(
    postgres_url: str,
):
    database, clock = await Database.open(postgres_url), FakeClock()
    bound, durable = await dead_runs(database)
    async with open_runner(ScriptedModel([]), database=database, clock=clock) as runner:
        reading = asyncio.ensure_future(names(runner, bound.id))
        while not reading.done():
            clock.advance(1.0)
            await asyncio.sleep(0.001)
        assert reading.result() == ["run.interrupted"]
        assert (await runner.get(durable.id, "owner")).status is RunStatus.RUNNING
    await database.close()


async def test_who_waits_for_a_run_that_only_a_gateway_goes_on_with_is_told_to_start_one(postgres_url: str):
    database = await Database.open(postgres_url)
    await dead_runs(database)
    settings = RunnerSettings(queue_timeout_seconds=0)
    async with open_runner(ScriptedModel([]), database=database, clock=FakeClock(), settings=settings) as runner:
        run = await runner.start(ask(session_id="s"))
        [*_, failed] = [one.event async for one in runner.follow(run.id)]
        assert isinstance(failed, RunFailed)
        assert failed.error["code"] == "session_busy"
        assert "goes on when one starts: hermes gateway" in failed.error["message"]
    await database.close()


@pytest.mark.sqlite("processes that share a file")
async def test_what_another_process_says_to_a_run_is_found(database: Database):
    model = ScriptedModel([[asyncio.Event()]])
    async with open_runner(model, database=database) as terminal, open_runner(model, database=database) as other:
        run = await terminal.start(ask(session_id="s"))
        await other.stop(run.id, "owner")
        assert (await names(other, run.id))[-1] == "run.cancelled"


@pytest.mark.sqlite("processes that share a file")
async def test_what_another_process_says_right_before_the_end_stays_in_the_session(database: Database):
    go = asyncio.Event()
    model = ScriptedModel([[go, *says("Well.")]])
    async with open_runner(model, database=database) as terminal, open_runner(model, database=database) as other:
        run = await terminal.start(ask(session_id="s"))
        await other.steer(run.id, "owner", "one more thing")
        go.set()
        assert (await names(terminal, run.id))[-1] == "run.completed"
    said = [message.text for message in await database.read(session_store.history, "s")]
    assert said == ["hello", "Well.", "one more thing"]


@pytest.mark.sqlite("processes that share a file")
async def test_a_process_that_leaves_takes_its_row_and_its_lock_along(database: Database, tmp_path: Path):
    member = Membership(database, FakeClock())
    await member.enter()
    assert [path.name for path in (tmp_path / "run").iterdir()] == [f"{member.id}.lock"]
    await member.leave()
    assert list((tmp_path / "run").iterdir()) == []


@pytest.mark.sqlite("processes that share a file")
async def test_locks_of_killed_processes_are_swept_and_held_or_young_ones_are_not(database: Database, tmp_path: Path):
    (tmp_path / "run").mkdir(mode=0o700)
    held = NodeLock(tmp_path / "run" / "node_held.lock")
    for name, age in (("node_old", 120), ("node_young", 1), ("node_held", 120), ("other", 120)):
        path = tmp_path / "run" / f"{name}.lock"
        path.touch()
        os.utime(path, (time.time() - age,) * 2)
    member = Membership(database, FakeClock())
    await member.enter()
    left = {path.stem for path in (tmp_path / "run").iterdir()}
    assert left == {"node_held", "node_young", "other", member.id}
    await member.leave()
    held.release()


async def nodes_of(database: Database) -> list[str]:
    return [node.id for node in await database.read(node_store.listed)]


async def test_the_next_process_of_a_home_says_at_once_that_the_last_one_is_gone(postgres_url: str, tmp_path: Path):
    database = await Database.open(postgres_url)
    identity = Identity("gateway", "/home/a", id_file=tmp_path / "run" / "node.id")
    first, second, after = (Membership(database, FakeClock(), identity) for _ in range(3))
    await first.enter()
    await second.enter()
    assert await nodes_of(database) == [second.id]
    (tmp_path / "run" / "node.id").write_bytes(bytes(37))  # as a disk that lost power may leave it
    await after.enter()
    assert sorted(await nodes_of(database)) == sorted([second.id, after.id])
    await database.close()


async def test_cloned_machines_leave_each_other_alone_once_both_have_a_name_of_their_own(
    postgres_url: str, tmp_path: Path
):
    database = await Database.open(postgres_url)
    here, there = (
        Membership(database, FakeClock(), Identity("gateway", "/home/a", id_file=tmp_path / name / "node.id"))
        for name in ("here", "there")
    )
    await here.enter()
    await there.enter()
    assert sorted(await nodes_of(database)) == sorted([here.id, there.id])
    copy = Identity("gateway", "/home/of-a-copy", id_file=tmp_path / "here" / "node.id")
    await Membership(database, FakeClock(), copy).enter()
    assert len(await nodes_of(database)) == 3
    await database.close()


def test_who_cannot_look_at_a_lock_takes_its_holder_for_alive(tmp_path: Path):
    (tmp_path / "node_x.lock").mkdir()
    assert is_held(tmp_path / "node_x.lock")
    assert not is_held(tmp_path / "node_y.lock")
