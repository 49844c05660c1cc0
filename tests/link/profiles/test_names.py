"""What Link keeps under a name follows the profile, whoever renames or deletes it, and whenever."""

from __future__ import annotations

import asyncio
import concurrent.futures
import json
import shutil
import threading
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from hermes.home.about import read_about
from hermes.home.paths import Home
from hermes.home.profiles import create_profile, delete_profile, get_profile, rename_profile
from hermes.store.database import Connection, Database
from hermeslink.conversations.log import EventLog
from hermeslink.core.caller import Caller
from hermeslink.core.conversation import Conversation, ConversationStatus
from hermeslink.core.device import Scope
from hermeslink.core.ids import new_id
from hermeslink.core.usage import Used
from hermeslink.profiles.names import Changed, Names
from hermeslink.store import audit, conversations, direct_runs, sessions, usage
from hermeslink.store import profiles as store
from hermeslink.store.direct_runs import DirectRun
from hermeslink.store.schema import LINK
from hermeslink.store.sessions import Session
from tests.support.clock import FakeClock

pytestmark = pytest.mark.sqlite("Link keeps its data in SQLite")


@dataclass
class World:
    root: Path
    clock: FakeClock
    database: Database
    log: EventLog

    @property
    def names(self) -> Names:
        """As after a restart: it knows what the file says."""
        return Names(self.root, self.root / "names.json", self.log, self.clock)

    async def conversation(self, profile: str) -> str:
        now = self.clock.now()
        made = Conversation(
            id=new_id("conv"),
            title="A",
            has_own_title=True,
            status=ConversationStatus.ACTIVE,
            profile=profile,
            model_override=None,
            created_at=now,
            updated_at=now,
        )
        await self.database.write(conversations.insert, made)
        await self.database.write(sessions.put, made.id, profile, Session(f"session of {profile}", 3))
        return made.id

    async def of(self, conversation_id: str) -> tuple[str, str, list[str]]:
        """Its profile, its status, and the profiles with which it has a session."""
        found = await self.database.read(conversations.get, conversation_id)
        held = await self.database.read(sessions.of_conversation, conversation_id)
        return found.profile, found.status.value, [profile for profile, _ in held]


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    database = await Database.open(f"sqlite:///{tmp_path}/link.db", LINK)
    clock = FakeClock()
    log = EventLog(database, clock)
    yield World(tmp_path, clock, database, log)
    await log.close()
    await database.close()


def make(world: World, *names: str) -> list[Home]:
    return [create_profile(world.root, name) for name in names]


async def test_a_profile_renamed_at_the_machine_while_link_was_away_keeps_its_conversations(world: World) -> None:
    [alice] = make(world, "alice")
    mine, other = await world.conversation("alice"), await world.conversation("default")
    await world.names.look()
    rename_profile(alice, "bob", now=1.0)
    changed = await world.names.look()
    assert (changed.moves, list(changed.trashed)) == ({"alice": "bob"}, [])
    assert await world.of(mine) == ("bob", "active", ["bob"])
    assert await world.of(other) == ("default", "active", ["default"])
    assert (await world.names.look()).moves == {}


async def test_a_kill_before_the_new_name_was_noted_takes_nothing_from_it(world: World) -> None:
    [alice] = make(world, "alice")
    mine = await world.conversation("alice")
    await world.names.look()
    before = (world.root / "names.json").read_text()
    rename_profile(alice, "bob", now=1.0)
    await world.names.look()
    (world.root / "names.json").write_text(before)
    assert (await world.names.look()).moves == {"alice": "bob"}
    assert await world.of(mine) == ("bob", "active", ["bob"])


async def test_two_that_changed_places_are_told_apart(world: World) -> None:
    alice, bob = make(world, "alice", "bob")
    of_alice, of_bob = await world.conversation("alice"), await world.conversation("bob")
    await world.names.look()
    rename_profile(rename_profile(alice, "carol", now=1.0), "dora", now=1.0)
    rename_profile(bob, "alice", now=1.0)
    rename_profile(get_profile(world.root, "dora"), "bob", now=1.0)
    assert dict((await world.names.look()).moves) == {"alice": "bob", "bob": "alice"}
    assert await world.of(of_alice) == ("bob", "active", ["bob"])
    assert await world.of(of_bob) == ("alice", "active", ["alice"])


async def test_a_profile_deleted_at_the_machine_leaves_its_conversations_in_the_archive(world: World) -> None:
    [alice] = make(world, "alice")
    mine = await world.conversation("alice")
    await world.names.look()
    delete_profile(alice, now=world.clock.now())
    assert list((await world.names.look()).trashed) == ["alice"]
    assert await world.of(mine) == ("alice", "archived", [])


async def test_profiles_that_are_only_away_change_nothing(world: World) -> None:
    make(world, "alice")
    mine = await world.conversation("alice")
    await world.names.look()
    (world.root / "profiles").rename(world.root / "unmounted")
    await world.names.look()
    assert await world.of(mine) == ("alice", "active", ["alice"])
    (world.root / "unmounted").rename(world.root / "profiles")
    assert (await world.names.look()).moves == {}


async def test_a_copy_gets_a_uid_of_its_own_and_takes_nothing(world: World) -> None:
    [alice] = make(world, "alice")
    mine = await world.conversation("alice")
    await world.names.look()
    uid = read_about(alice).uid
    shutil.copytree(alice.path, alice.path.with_name("aaa"))
    assert (await world.names.look()).moves == {}
    assert read_about(alice).uid == uid
    assert read_about(get_profile(world.root, "aaa")).uid not in (None, uid)
    assert await world.of(mine) == ("alice", "active", ["alice"])


async def test_a_name_that_another_had_before_adds_up_what_was_used_and_knows_no_session_of_it(world: World) -> None:
    [alice] = make(world, "alice")
    old, mine = await world.conversation("bob"), await world.conversation("alice")
    for number, (profile, tokens) in enumerate((("bob", 1), ("alice", 10), ("alice", 100))):
        used = Used(
            run_id=f"run_{number}",
            conversation_id=mine,
            profile=profile,
            model="m",
            input_tokens=tokens,
            output_tokens=tokens,
            messages=1,
            cost_usd=0.5 if number else None,
            at=world.clock.now(),
        )
        await world.database.write(usage.record, used)
    await world.database.write(direct_runs.insert_new, DirectRun("run_9", "alice"), "dev", 1.0)
    await world.names.look()
    rename_profile(alice, "bob", now=1.0)
    await world.names.look()

    def read(conn: Connection) -> usage.Usage:
        return usage.read(conn, "0001-01-01", "9999-12-31", most=12)

    found = await world.database.read(read)
    assert list(found.profiles) == ["bob"]
    total = found.profiles["bob"]
    assert (total.input_tokens, total.run_count, total.cost_usd, total.conversation_count) == (111, 3, 1.0, 1)
    assert await world.of(old) == ("bob", "active", [])
    assert await world.of(mine) == ("bob", "active", ["bob"])
    run = await world.database.read(direct_runs.get, "run_9")
    assert run is not None
    assert run.profile == "bob"
    assert await world.database.read(store.open_runs, "bob") == 0


async def test_while_link_runs_a_new_name_is_seen_soon(world: World) -> None:
    [alice] = make(world, "alice")
    mine = await world.conversation("alice")
    async with world.names.watched():
        await world.clock.someone_sleeps()
        rename_profile(alice, "bob", now=1.0)
        for _ in range(3):
            world.clock.advance(2.0)
            await world.clock.someone_sleeps()
        assert (await world.of(mine))[0] == "bob"


@pytest.mark.parametrize("text", ["", "[]", "{", '{"alice": 5}', '"x"'])
async def test_a_damaged_memory_of_names_is_made_anew(world: World, text: str) -> None:
    make(world, "alice")
    mine = await world.conversation("alice")
    (world.root / "names.json").write_text(text)
    assert (await world.names.look()).moves == {}
    assert list(json.loads((world.root / "names.json").read_text())) == ["alice"]
    assert await world.of(mine) == ("alice", "active", ["alice"])


async def test_whose_doing_it_was_is_known_also_where_somebody_looks_in_between(world: World) -> None:
    [alice] = make(world, "alice")
    names, caller = world.names, Caller(new_id("dev"), Scope.ADMIN)
    await names.look()
    loop = asyncio.get_running_loop()
    looking: list[concurrent.futures.Future[Changed]] = []

    def rename() -> None:
        rename_profile(alice, "bob", now=1.0)
        looking.append(asyncio.run_coroutine_threadsafe(names.look(), loop))
        begun = threading.Event()
        loop.call_soon_threadsafe(begun.set)
        assert begun.wait(10)

    assert (await names.change(caller, rename)).moves == {"alice": "bob"}
    assert (await asyncio.wrap_future(looking[0])).moves == {}
    [entry] = await world.database.read(audit.page, 10, None)
    assert (entry.action, entry.subject, entry.device_id) == ("profile.renamed", "bob", caller.device_id)
