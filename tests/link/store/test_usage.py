"""What runs used: each counts once, added up by day, profile and model."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from hermes.store.database import Database
from hermeslink.store import usage
from hermeslink.store.schema import LINK, usage_days
from hermeslink.store.usage import Sum, Used
from tests.support import database as databases

pytestmark = pytest.mark.sqlite("Link keeps its data in SQLite")

DAY = 86_400.0
NOON = 1_700_049_600.0  # of 2023-11-15


@pytest.fixture
async def database() -> AsyncIterator[Database]:
    opened = await Database.open(databases.new_url(), LINK)
    yield opened
    await opened.close()


def a_run(number: int, **fields: Any) -> Used:
    values: dict[str, Any] = {"conversation_id": None, "profile": "default", "model": "small", "cost_usd": None}
    values |= {"input_tokens": 100, "output_tokens": 10, "messages": 2, "at": NOON}
    return Used(run_id=f"run_{number:032x}", **(values | fields))


async def read(database: Database, first: str = "2023-11-01", last: str = "2023-11-30", **how: Any) -> usage.Usage:
    return await database.read(lambda conn: usage.read(conn, first, last, **({"most": 12} | how)))


async def test_a_run_counts_once_whoever_tells_of_it_again(database: Database) -> None:
    assert await database.write(usage.record, a_run(1))
    assert not await database.write(usage.record, a_run(1, output_tokens=999, at=NOON + DAY))
    found = await read(database)
    assert found.totals == Sum(100, 10, 2, 1)
    assert list(found.days) == ["2023-11-15"]


async def test_runs_of_a_day_profile_and_model_are_one_row(database: Database) -> None:
    for number in range(50):
        await database.write(usage.record, a_run(number, at=NOON + number))
    rows = await database.read(lambda conn: conn.execute(usage_days.select()).all())
    assert [tuple(row) for row in rows] == [("2023-11-15", "default", "small", 5000, 500, 100, 50, None, NOON + 49)]


async def test_a_day_ends_at_midnight_of_utc(database: Database) -> None:
    await database.write(usage.record, a_run(1, at=NOON + DAY / 2 - 0.001))
    await database.write(usage.record, a_run(2, at=NOON + DAY / 2))
    assert set((await read(database)).days) == {"2023-11-15", "2023-11-16"}
    assert (await read(database, last="2023-11-15")).totals.run_count == 1


async def test_a_cost_is_the_sum_of_those_that_are_known(database: Database) -> None:
    await database.write(usage.record, a_run(1))
    assert (await read(database)).totals.cost_usd is None
    await database.write(usage.record, a_run(2, cost_usd=0.25))
    await database.write(usage.record, a_run(3))
    await database.write(usage.record, a_run(4, cost_usd=0.5, model="large"))
    assert (await read(database)).totals.cost_usd == 0.75
    assert (await read(database, model="small")).totals.cost_usd == 0.25


async def test_a_conversation_counts_once_however_many_days_models_and_profiles_it_had(database: Database) -> None:
    one, other = "conv_1", "conv_2"
    await database.write(usage.record, a_run(1, conversation_id=one))
    await database.write(usage.record, a_run(2, conversation_id=one, model="large", at=NOON + DAY))
    await database.write(usage.record, a_run(3, conversation_id=one, profile="work"))
    await database.write(usage.record, a_run(4, conversation_id=other, profile="work"))
    found = await read(database)
    assert found.totals.conversation_count == 2
    assert {day: sum_.conversation_count for day, sum_ in found.days.items()} == {"2023-11-15": 2, "2023-11-16": 1}
    assert {name: sum_.conversation_count for name, sum_ in found.profiles.items()} == {"default": 1, "work": 2}


async def test_models_and_profiles_come_by_tokens_and_no_more_than_asked(database: Database) -> None:
    for number in range(20):
        await database.write(usage.record, a_run(number, model=f"m{number:02}", output_tokens=number))
    found = await read(database, most=3)
    assert list(found.models) == ["m19", "m18", "m17"]
    assert found.model_count == 20
    assert found.totals.run_count == 20


async def test_a_model_and_a_profile_narrow_all_of_it(database: Database) -> None:
    await database.write(usage.record, a_run(1, conversation_id="conv_1"))
    await database.write(usage.record, a_run(2, conversation_id="conv_2", model="large", at=NOON + 5))
    await database.write(usage.record, a_run(3, conversation_id="conv_3", profile="work"))
    found = await read(database, model="large", profile="default")
    assert found.totals == Sum(100, 10, 2, 1, 1)
    assert (found.model_count, found.updated_at) == (1, NOON + 5)
    assert list(found.profiles) == ["default"]


async def test_where_nothing_was_used_all_is_zero(database: Database) -> None:
    assert await read(database) == usage.Usage(Sum(), 0, None)
