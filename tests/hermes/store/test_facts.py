"""Facts of a database: the first that says one is believed by all."""

from __future__ import annotations

import asyncio

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
