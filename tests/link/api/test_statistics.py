"""Statistics over a socket, and what they cost: days are read, never conversations."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event, text
from sqlalchemy.engine import Engine

from hermes.store.database import Connection
from hermeslink.core.conversation import ConversationStatus
from hermeslink.core.usage import Used
from hermeslink.store import statistics as statistics_store
from hermeslink.store import usage as usage_store
from tests.support.clock import FakeClock
from tests.support.link import LinkServer, serving_link
from tests.support.link_conversations import add_conversation
from tests.support.link_stand_in import LinkStandIn

pytestmark = pytest.mark.sqlite("Link keeps its data in SQLite")

DAY = 86_400.0
NOW = 1_700_049_600.0  # noon of 2023-11-15


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[LinkServer]:
    async with serving_link(tmp_path, clock=FakeClock(NOW)) as serving:
        yield serving


def a_run(name: str, **fields: Any) -> Used:
    values: dict[str, Any] = {"conversation_id": None, "profile": "default", "model": "small", "cost_usd": None}
    values |= {"input_tokens": 100, "output_tokens": 10, "messages": 2, "at": NOW}
    return Used(run_id=name, **(values | fields))


async def usage_of(server: LinkServer, **query: Any) -> Any:
    answer = await server.chat.get("/api/v1/statistics/usage", params=query)
    assert answer.status_code == 200, answer.text
    return answer.json()["usage"]


async def test_usage_is_told_by_the_day_model_and_profile(server: LinkServer) -> None:
    await server.link.usage.record(a_run("run_1", conversation_id="conv_1"))
    await server.link.usage.record(a_run("run_2", conversation_id="conv_1", model="large", cost_usd=0.5))
    await server.link.usage.record(a_run("direct_1", profile="work", at=NOW - 2 * DAY))
    await server.link.usage.record(a_run("run_old", at=NOW - 3 * DAY))
    found = await usage_of(server, days=3)
    assert found["range"] == {"from": "2023-11-13", "to": "2023-11-15", "days": 3}
    sums = {"input_tokens": 300, "output_tokens": 30, "total_tokens": 330, "message_count": 6, "run_count": 3}
    assert found["totals"] == {**sums, "conversation_count": 1, "model_count": 2, "cost_usd": 0.5}
    assert [(day["date"], day["run_count"], day["conversation_count"]) for day in found["daily"]] == [
        ("2023-11-13", 1, 0),
        ("2023-11-14", 0, 0),
        ("2023-11-15", 2, 1),
    ]
    assert [(one["model"], one["total_tokens"], one["cost_usd"]) for one in found["models"]] == [
        ("small", 220, None),
        ("large", 110, 0.5),
    ]
    assert [(one["profile"], one["run_count"]) for one in found["profiles"]] == [("default", 2), ("work", 1)]
    assert found["updated_at"] == "2023-11-15T12:00:00.000Z"


async def test_without_a_range_it_is_thirty_days_and_a_model_or_profile_narrows_it(server: LinkServer) -> None:
    await server.link.usage.record(a_run("run_1"))
    await server.link.usage.record(a_run("run_2", model="large", profile="work"))
    found = await usage_of(server)
    assert (len(found["daily"]), found["range"]["from"], found["updated_at"]) == (
        30,
        "2023-10-17",
        "2023-11-15T12:00:00.000Z",
    )
    assert (await usage_of(server, model="large"))["totals"]["run_count"] == 1
    assert (await usage_of(server, profile="none"))["totals"]["run_count"] == 0
    assert (await usage_of(server, **{"from": "2023-11-14", "to": "2023-11-14"}))["totals"]["total_tokens"] == 0


@pytest.mark.parametrize(
    "query", ["days=0", "days=366", "days=x", "from=x", "from=2023-11-02&to=2023-11-01", "days=", "to=2023-02-30"]
)
async def test_what_is_no_range_is_refused(server: LinkServer, query: str) -> None:
    answer = await server.chat.get(f"/api/v1/statistics/usage?{query}")
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "invalid_range")


async def test_everything_is_counted_where_the_api_server_is_up(server: LinkServer, tmp_path: Path) -> None:
    database = server.link.database
    (tmp_path / "profiles" / "work").mkdir(parents=True)
    kept = await add_conversation(database)
    await add_conversation(database, status=ConversationStatus.ARCHIVED, profile="work")
    for data in (b"same", b"same", b"other"):
        await server.chat.post(f"/api/v1/conversations/{kept}/blobs", content=data)
    await server.link.usage.record(a_run("run_1", conversation_id=kept))
    await server.link.usage.record(a_run("direct_1", profile="work", messages=1))
    async with LinkStandIn() as api_server:
        api_server.write_env(tmp_path)
        found = (await server.chat.get("/api/v1/statistics")).json()["statistics"]
        assert found == {
            "conversations": {"total": 2, "active": 1},
            "messages": {"total": 3},
            "runs": {"total": 2},
            "models": {"total": 1},
            "skills": {"total": None},  # it has no such list
            "tools": {"total": None},
            "profiles": {"total": 2},
            "devices": {"total": 2},
            "blobs": {"total": 3, "bytes": 9},
        }
    later = (await server.chat.get("/api/v1/statistics")).json()["statistics"]
    assert later == found  # what it said last, while it is away
    work = (await server.chat.get("/api/v1/statistics?profile=work")).json()["statistics"]
    assert work["conversations"] == {"total": 1, "active": 0}
    assert (work["messages"], work["runs"], work["profiles"]) == ({"total": 1}, {"total": 1}, {"total": 1})
    assert work["blobs"] == {"total": 0, "bytes": 0}
    assert work["models"] == {"total": None}


async def test_a_profile_that_is_not_there_is_not_found(server: LinkServer) -> None:
    for profile in ("nobody", "../x"):
        answer = await server.chat.get("/api/v1/statistics", params={"profile": profile})
        assert (answer.status_code, answer.json()["error"]["code"]) == (404, "profile_not_found")


async def test_many_runs_and_conversations_cost_no_more_than_their_days(server: LinkServer) -> None:
    def fill(conn: Connection, first: int, count: int) -> None:
        for i in range(first, first + count):
            at = NOW - (i % 10) * DAY
            usage_store.record(conn, a_run(f"run_{i}", conversation_id=f"conv_{i}", model=f"m{i % 3}", at=at))

    database = server.link.database

    async def cost() -> tuple[int, int]:
        with counted() as counts:
            await server.link.usage.read(server.link.usage.days("30"))
            await database.read(statistics_store.read, None)
        rows = await database.read(lambda conn: conn.execute(text("SELECT count(*) FROM usage_days")).scalar_one())
        return len(counts), rows

    await database.write(fill, 0, 30)
    few = await cost()
    await database.write(fill, 30, 3000)
    assert await cost() == few
    assert few[1] == 30  # ten days, three models


async def test_no_statement_reads_conversations_one_by_one_or_their_messages(server: LinkServer) -> None:
    with counted() as said:
        await server.link.usage.read(server.link.usage.days("365"))
        await server.link.database.read(statistics_store.read, None)
        await server.link.database.read(statistics_store.read, "default")
    assert not [one for one in said if " messages" in one or "FROM events" in one or "FROM runs" in one]

    def plans(conn: Connection) -> list[str]:
        read = [one for one in said if "FROM conversations" in one]
        values = [("default",) * one.count("?") for one in read]
        return [
            row[3]
            for one, value in zip(read, values, strict=True)
            for row in conn.exec_driver_sql(f"EXPLAIN QUERY PLAN {one}", value)
        ]

    told = await server.link.database.read(plans)
    assert len(told) == 2 and all("COVERING INDEX" in plan for plan in told)


@contextmanager
def counted() -> Iterator[list[str]]:
    """The statements that SQLAlchemy runs meanwhile."""
    said: list[str] = []

    def hear(conn: Any, cursor: Any, statement: str, *_: Any) -> None:
        said.append(statement)

    event.listen(Engine, "before_cursor_execute", hear)
    try:
        yield said
    finally:
        event.remove(Engine, "before_cursor_execute", hear)
