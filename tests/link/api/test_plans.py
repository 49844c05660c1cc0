"""Plans over a socket: exactly what was listed, once, within an hour."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from hermes.core.errors import Conflict, StoreUnavailable
from hermeslink.conversations.conversations import Conversations, Deletion
from hermeslink.conversations.plans import Plans
from hermeslink.core.plan import Plan, PlanKind
from tests.support.clock import FakeClock
from tests.support.link import LinkServer, client_of, paired, serving_link

pytestmark = pytest.mark.sqlite("Link keeps its data in SQLite")

BASE = "/api/v1/conversations"
DAY = 86400


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
async def server(tmp_path: Path, clock: FakeClock) -> AsyncIterator[LinkServer]:
    async with serving_link(tmp_path, clock=clock) as serving:
        yield serving


async def make(server: LinkServer, **body: str) -> str:
    return str((await server.chat.post(BASE, json=body)).json()["conversation"]["id"])


def told(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["error"]["code"]


@asynccontextmanager
async def paired_again(server: LinkServer) -> AsyncIterator[None]:
    """The token of before is too old."""
    fresh = await paired(server.link)
    async with client_of(server.port, fresh.access.token) as server.chat:
        yield


async def there(server: LinkServer, path: str = "") -> set[str]:
    return {one["id"] for one in (await server.chat.get(BASE + path)).json()["conversations"]}


async def plan_of(server: LinkServer, kind: str = "clear", **body: Any) -> dict[str, Any]:
    answer = await server.chat.post(f"{BASE}/{kind}-plans", json=body)
    assert answer.status_code == 201, answer.text
    made: dict[str, Any] = answer.json()["plan"]
    return made


async def test_a_clear_plan_deletes_its_list_and_nothing_that_came_after(server: LinkServer) -> None:
    old = {await make(server) for _ in range(3)}
    kept = await make(server)
    plan = await plan_of(server, excludeConversationIds=[kept])
    assert plan == {
        "id": plan["id"],
        "status": "pending",
        "conversation_count": 3,
        "total_count": 4,
        "conversation_ids": plan["conversation_ids"],
        "created_at": "2023-11-14T22:13:20.000Z",
        "expires_at": "2023-11-14T23:13:20.000Z",
        "completed_at": None,
        "deleted_count": 0,
    }
    assert set(plan["conversation_ids"]) == old
    gone = plan["conversation_ids"][0]
    assert (await server.chat.delete(f"{BASE}/{gone}")).status_code == 200
    new = await make(server)
    place = f"{BASE}/clear-plans/{plan['id']}"
    assert (await server.chat.get(place)).json()["plan"] == plan
    done = await server.chat.post(place + "/execute")
    expected = {**plan, "status": "completed", "deleted_count": 2, "completed_at": "2023-11-14T22:13:20.000Z"}
    assert done.json() == {"ok": True, "plan": expected}
    assert await there(server) == {kept, new}
    assert told(await server.chat.post(place + "/execute")) == (409, "clear_plan_executed")
    assert (await server.chat.get(place)).json()["plan"] == expected


async def test_a_plan_may_be_of_what_has_not_changed_for_days_and_of_a_profile(
    server: LinkServer, clock: FakeClock
) -> None:
    (server.link.hermes_root / "profiles" / "work").mkdir(parents=True)
    old, old_work = await make(server), await make(server, profile="work")
    clock.advance(10 * DAY)
    async with paired_again(server):
        new = await make(server)
        asked: list[tuple[dict[str, Any], set[str]]] = [
            ({"older_than_days": 9.5}, {old, old_work}),
            ({"older_than_days": 9.5, "profile_name": "work"}, {old_work}),
            ({"profile": "work"}, {old_work}),
            ({"older_than_days": 11}, set()),
            ({}, {old, old_work, new}),
            ({"profile": None, "exclude_conversation_ids": None}, {old, old_work, new}),
        ]
        for body, expected in asked:
            assert set((await plan_of(server, **body))["conversation_ids"]) == expected, body


async def test_an_archive_plan_archives_its_list(server: LinkServer) -> None:
    first, second = await make(server), await make(server)
    await server.chat.post(f"{BASE}/{second}/archive")
    plan = await plan_of(server, "archive")
    assert (plan["conversation_ids"], plan["archived_count"]) == ([first], 0)
    place = f"{BASE}/archive-plans/{plan['id']}"
    done = (await server.chat.post(place + "/execute")).json()["plan"]
    assert (done["status"], done["archived_count"]) == ("completed", 1)
    assert await there(server, "/archived") == {first, second}
    assert await there(server) == set()
    assert told(await server.chat.post(place + "/execute")) == (409, "archive_plan_executed")
    assert told(await server.chat.get(f"{BASE}/clear-plans/{plan['id']}")) == (404, "clear_plan_not_found")


async def test_a_plan_that_is_too_old_is_not_executed(server: LinkServer, clock: FakeClock) -> None:
    made = await make(server)
    plan = await plan_of(server)
    place = f"{BASE}/clear-plans/{plan['id']}"
    clock.advance(3600)
    async with paired_again(server):
        assert told(await server.chat.post(place + "/execute")) == (409, "clear_plan_expired")
        assert (await server.chat.get(place)).json()["plan"]["status"] == "expired"
        assert await there(server) == {made}


async def test_a_plan_that_broke_off_goes_on(server: LinkServer) -> None:
    ids = [await make(server) for _ in range(3)]
    plan = await plan_of(server)
    link = server.link

    class FullDisk(Conversations):
        async def delete(self, conversation_id: str) -> Deletion:
            if conversation_id == plan["conversation_ids"][1]:
                raise StoreUnavailable("the disk is full")
            return await link.conversations.delete(conversation_id)

    full = FullDisk(link.database, link.log, link.blobs, link.clock, link.servers.home)
    whole, link.plans = link.plans, Plans(link.database, link.log, full, link.clock)
    place = f"{BASE}/clear-plans/{plan['id']}"
    assert told(await server.chat.post(place + "/execute")) == (503, "store_unavailable")
    assert (await server.chat.get(place)).json()["plan"]["status"] == "pending"
    assert len(await there(server)) == 2
    link.plans = whole
    assert (await server.chat.post(place + "/execute")).json()["plan"]["deleted_count"] == len(ids)
    assert await there(server) == set()


async def test_of_two_executions_at_once_one_is_refused(server: LinkServer) -> None:
    for _ in range(5):
        await make(server)
    plan = await plan_of(server)
    place = f"{BASE}/clear-plans/{plan['id']}/execute"
    answers = await asyncio.gather(*(server.chat.post(place) for _ in range(4)))
    assert sorted(answer.status_code for answer in answers) == [200, 409, 409, 409]
    [done] = [answer.json()["plan"] for answer in answers if answer.status_code == 200]
    assert done["deleted_count"] == 5


async def test_a_plan_that_another_call_ended_meanwhile_is_not_executed_again(server: LinkServer) -> None:
    await make(server)
    plan_id = (await plan_of(server))["id"]
    link, looked, ended = server.link, asyncio.Event(), asyncio.Event()

    class Slow(Plans):
        async def get(self, kind: PlanKind, plan_id: str) -> Plan:
            found = await super().get(kind, plan_id)
            if not looked.is_set():
                looked.set()
                await ended.wait()
            return found

    plans = Slow(link.database, link.log, link.conversations, link.clock)
    slow = asyncio.ensure_future(plans.execute(PlanKind.CLEAR, plan_id))
    await looked.wait()
    assert (await plans.execute(PlanKind.CLEAR, plan_id)).done_count == 1
    ended.set()
    with pytest.raises(Conflict) as refused:
        await slow
    assert refused.value.code == "clear_plan_executed"


async def test_a_plan_that_is_not_there_is_404_and_a_wrong_one_422(server: LinkServer) -> None:
    for kind in ("clear", "archive"):
        for plan_id in ("plan_" + "0" * 32, "x", "plan_' OR 1=1"):
            for method, rest in (("GET", ""), ("POST", "/execute")):
                answer = await server.chat.request(method, f"{BASE}/{kind}-plans/{plan_id}{rest}")
                assert told(answer) == (404, f"{kind}_plan_not_found")
        for body in ({"older_than_days": -1}, {"older_than_days": "x"}, {"exclude_conversation_ids": "x"}):
            answer = await server.chat.post(f"{BASE}/{kind}-plans", json=body)
            assert told(answer) == (422, "validation_error")
