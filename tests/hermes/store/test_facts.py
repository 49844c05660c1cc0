"""Facts of a database: the first that says one is believed by all."""

from __future__ import annotations

import asyncio

import pytest

from hermes.core.errors import ConfigError, StoreUnavailable
from hermes.store import facts
from hermes.store.database import Database
from tests.support.postgres import postgres_database


async def test_a_database_belongs_to_the_profile_that_came_first(database: Database) -> None:
    assert await database.write(facts.belongs_to, "default") == "default"
    assert await database.write(facts.belongs_to, "default") == "default"
    assert await database.write(facts.belongs_to, "alice") == "default"


async def test_what_is_not_known_is_none_and_what_is_put_replaces(database: Database) -> None:
    assert await database.read(facts.get, "colour") is None
    await database.write(facts.put, "colour", "red")
    await database.write(facts.put, "colour", "blue")
    assert await database.read(facts.get, "colour") == "blue"
    assert await database.write(facts.keep_first, "colour", "green") == "blue"


async def test_nodes_that_say_it_at_once_get_one_value(postgres: str) -> None:
    with postgres_database(postgres) as url:
        nodes = [await Database.open(url) for _ in range(3)]
        told = await asyncio.gather(
            *(node.write(facts.keep_first, "secret", f"{n}-{k}") for n, node in enumerate(nodes) for k in range(5))
        )
        assert len(set(told)) == 1
        for node in nodes:
            await node.close()


async def test_another_profile_is_told_whose_the_database_is_and_the_way_out(database: Database) -> None:
    await database.read(facts.check_profile, "alice", "hermes -p alice")  # nobody's yet
    await database.write(facts.belongs_to, "default")
    await database.read(facts.check_profile, "default", "hermes")
    with pytest.raises(ConfigError) as refused:
        await database.read(facts.check_profile, "alice", "hermes -p alice")
    assert "'default'" in refused.value.message
    assert "hermes -p alice config set database.url" in refused.value.message


async def test_nodes_without_a_secret_sign_with_the_one_that_the_first_made(database: Database) -> None:
    assert await database.write(facts.signing_secret, None, "made-1") == "made-1"
    assert await database.write(facts.signing_secret, None, "made-2") == "made-1"


async def test_a_secret_of_the_settings_is_not_in_the_database_and_other_nodes_must_have_it_too(
    database: Database,
) -> None:
    assert await database.write(facts.signing_secret, "the-owners", "made") == "the-owners"
    assert await database.read(facts.get, facts.SECRET) is None
    with pytest.raises(StoreUnavailable, match="API_SERVER_CALLBACK_SECRET"):
        await database.write(facts.signing_secret, None, "made")


async def test_a_new_secret_of_the_settings_ends_the_one_that_was_made(database: Database) -> None:
    await database.write(facts.signing_secret, None, "made")
    assert await database.write(facts.signing_secret, "made", "x") == "made"  # it came into the home's .env
    assert await database.read(facts.get, facts.SECRET) == "made"
    assert await database.write(facts.signing_secret, "rotated", "x") == "rotated"
    with pytest.raises(StoreUnavailable):
        await database.write(facts.signing_secret, None, "made again")
