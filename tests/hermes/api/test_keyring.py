from __future__ import annotations

import hashlib
import itertools
import os
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from hermes.api.auth import OwnerKey, Principal, digest_of
from hermes.api.keyring import (
    LOOK_AGAIN_SECONDS,
    USED_EVERY_SECONDS,
    ClosedKeys,
    FixedKey,
    HomeKeys,
    KeyFile,
    StoredKeys,
)
from hermes.core.errors import ConfigError, StoreUnavailable
from hermes.core.key import Key, Scope
from hermes.store import keys as key_store
from hermes.store.database import Database
from tests.support.clock import FakeClock
from tests.support.database import new_url

FIRST, SECOND = "f" * 40, "s" * 40
BOT = Key(id="key_1", name="bot", scopes=frozenset({Scope.READ}), created_at=1.0, tool_items="mcp_call")


@dataclass
class Named:
    """One named key, whose text is `hk_bot`."""

    key: Key | None = BOT
    asked: int = 0
    seen: list[tuple[str, float]] = field(default_factory=list)
    is_full: bool = False

    async def find(self, digest: str) -> Key | None:
        self.asked += 1
        return self.key if digest == hashlib.sha256(b"hk_bot").hexdigest() else None

    async def used(self, key_id: str, now: float) -> None:
        if self.is_full:
            raise StoreUnavailable("no room left")
        self.seen.append((key_id, now))


@dataclass
class EnvFile:
    path: Path
    reads: int = 0

    def write(self, key: str) -> None:
        draft = self.path.with_suffix(".new")
        draft.write_text(key)
        draft.rename(self.path)

    def read(self) -> tuple[str, bool]:
        self.reads += 1
        try:
            text = self.path.read_text()
        except FileNotFoundError:
            return "", False
        if text == "broken":
            raise ConfigError("it cannot be read")
        return text, len(text) < 32


@pytest.fixture
def env(tmp_path: Path) -> EnvFile:
    file = EnvFile(tmp_path / ".env")
    file.write(FIRST)
    return file


def ring_of(env: EnvFile, named: Named | None = None, clock: FakeClock | None = None) -> HomeKeys:
    """Every look finds that the time for another has come."""
    seconds = itertools.count(1)
    return HomeKeys(KeyFile(env.path, env.read, lambda: next(seconds)), named or Named(), clock or FakeClock())


async def who(ring: HomeKeys, key: str) -> str | None:
    found = await ring.find(digest_of(key.encode()))
    return found.name if found is not None else None


async def test_the_owner_costs_no_query_and_no_second_reading(env: EnvFile) -> None:
    named = Named()
    ring = ring_of(env, named)
    assert [await who(ring, FIRST) for _ in range(50)] == ["owner"] * 50
    assert (named.asked, env.reads) == (0, 1)


async def test_a_changed_file_holds_for_the_next_request(env: EnvFile) -> None:
    ring = ring_of(env)
    env.write(SECOND)
    assert await who(ring, FIRST) is None
    assert await who(ring, SECOND) == "owner"
    assert env.reads == 2


async def test_the_file_is_looked_at_once_in_ten_milliseconds(env: EnvFile) -> None:
    clock = FakeClock()
    ring = HomeKeys(KeyFile(env.path, env.read, clock.monotonic), Named(), clock)
    assert await who(ring, FIRST) == "owner"
    env.write(SECOND)
    clock.advance(LOOK_AGAIN_SECONDS / 2)
    assert await who(ring, FIRST) == "owner"
    clock.advance(LOOK_AGAIN_SECONDS / 2)
    assert await who(ring, FIRST) is None
    assert await who(ring, SECOND) == "owner"


async def test_a_change_of_the_same_length_in_the_same_moment_is_noticed(env: EnvFile) -> None:
    ring = ring_of(env)
    before = env.path.stat()
    env.write(SECOND)
    os.utime(env.path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert await who(ring, FIRST) is None


async def test_without_the_owners_key_nobody_gets_in(env: EnvFile) -> None:
    named = Named()
    ring = ring_of(env, named)
    assert await who(ring, "hk_bot") == "bot"
    env.path.unlink()
    assert await who(ring, FIRST) is None
    assert await who(ring, "") is None
    assert await who(ring, "hk_bot") is None
    env.write(FIRST)
    assert await who(ring, "hk_bot") == "bot"


async def test_a_file_that_cannot_be_read_leaves_the_key_from_before(env: EnvFile) -> None:
    ring = ring_of(env)
    env.write("broken")
    assert await who(ring, FIRST) == "owner"
    env.write(SECOND)
    assert await who(ring, SECOND) == "owner"


async def test_a_weak_key_is_for_this_machine_alone_also_when_it_came_later(env: EnvFile) -> None:
    ring = ring_of(env)
    env.write("weak")
    found = await ring.find(digest_of(b"weak"))
    assert found is not None
    assert found.is_local_only


async def test_a_named_key_is_its_record(env: EnvFile) -> None:
    digest = digest_of(b"hk_bot")
    found = await ring_of(env).find(digest)
    assert found == Principal("key_1", "bot", frozenset({Scope.READ}), tool_items="mcp_call")
    assert found.digest == digest
    assert "digest" not in repr(found)


async def test_when_a_key_was_used_is_kept_once_a_minute(env: EnvFile) -> None:
    clock, named = FakeClock(), Named()
    ring = ring_of(env, named, clock)
    began = clock.now()
    await who(ring, "hk_bot")
    assert named.seen == [("key_1", began)]
    named.key = Key(id="key_1", name="bot", scopes=frozenset({Scope.READ}), created_at=1.0, last_used_at=began)
    clock.advance(USED_EVERY_SECONDS - 1)
    await who(ring, "hk_bot")
    assert named.seen == [("key_1", began)]
    clock.advance(1)
    await who(ring, "hk_bot")
    assert named.seen[1:] == [("key_1", began + USED_EVERY_SECONDS)]


async def test_a_clock_that_is_put_back_does_not_leave_a_key_used_in_the_future(env: EnvFile) -> None:
    clock, named = FakeClock(), Named()
    began = clock.now()
    named.key = Key(id="key_1", name="bot", scopes=frozenset({Scope.READ}), created_at=1.0, last_used_at=began)
    clock.step = -86_400.0
    await who(ring_of(env, named, clock), "hk_bot")
    assert named.seen == [("key_1", began - 86_400.0)]


async def test_a_full_disk_locks_nobody_out(env: EnvFile) -> None:
    assert await who(ring_of(env, Named(is_full=True)), "hk_bot") == "bot"


async def test_the_named_keys_of_a_database_that_is_open_and_of_one_that_is_not(tmp_path: Path) -> None:
    url = new_url(tmp_path / "state.db")
    database = await Database.open(url)
    digest = hashlib.sha256(b"hk_bot").hexdigest()
    await database.write(key_store.add, BOT, digest, "cli")
    stored: StoredKeys | ClosedKeys
    for stored in (StoredKeys(database), ClosedKeys(url)):
        found = await stored.find(digest)
        assert found is not None
        assert (found.id, found.scopes) == ("key_1", frozenset({Scope.READ}))
        await stored.used("key_1", 5.0)
        assert await stored.find("0" * 64) is None
    assert [key.last_used_at for key in await database.read(key_store.list_keys)] == [5.0]
    await database.close()


async def test_a_key_of_the_environment_is_fixed() -> None:
    ring = HomeKeys(FixedKey(OwnerKey(FIRST)), Named(), FakeClock())
    assert await who(ring, FIRST) == "owner"
    assert await who(ring, SECOND) is None


async def test_what_is_changed_on_one_node_holds_for_the_next_request_on_another(tmp_path: Path) -> None:
    url = new_url(tmp_path / "state.db")
    here, there = await Database.open(url), await Database.open(url)
    ring = HomeKeys(FixedKey(OwnerKey(FIRST)), StoredKeys(there), FakeClock())
    old, new = digest_of(b"hk_old"), digest_of(b"hk_new")
    assert await ring.find(old) is None
    await here.write(key_store.add, BOT, old.hex(), "cli")
    assert await ring.find(old) is not None
    await here.write(key_store.rotate, "bot", new.hex(), 2.0, "cli")
    assert (await ring.find(old), (await ring.find(new)) is not None) == (None, True)
    await here.write(key_store.revoke, "bot", 3.0, "cli")
    assert await ring.find(new) is None
    await here.close()
    await there.close()
