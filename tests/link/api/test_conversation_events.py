"""Events over a socket: resumed with nothing lost and nothing twice, for one conversation and for all."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from hermeslink.core.conversation import EventType, LinkEvent, NewEvent
from hermeslink.store import events as event_store
from tests.support.link import LinkServer, serving_link

pytestmark = pytest.mark.sqlite("Link keeps its data in SQLite")

BASE = "/api/v1/conversations"


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[LinkServer]:
    async with serving_link(tmp_path) as serving:
        yield serving


async def make(server: LinkServer) -> str:
    return str((await server.admin.post(BASE, json={})).json()["conversation"]["id"])


def say(conn: Any, of: str, types: Sequence[EventType]) -> tuple[None, list[LinkEvent]]:
    return None, event_store.append(conn, of, [NewEvent(kind, {"text": "x"}, "msg_1", "run_1") for kind in types], 0.0)


async def tell(server: LinkServer, of: str, *types: EventType) -> None:
    await server.link.log.write(say, of, types)


class Stream:
    """Events as (id, type, data); `started` is the id that came before the first of them."""

    def __init__(self, answer: httpx.Response) -> None:
        self.answer = answer
        self.started: int | None = None
        self._lines = answer.aiter_lines()

    async def events(self) -> AsyncIterator[tuple[int, str, dict[str, Any]]]:
        fields: dict[str, str] = {}
        async for line in self._lines:
            if line:
                name, _, value = line.partition(": ")
                fields[name] = value
            elif "data" in fields:
                yield int(fields["id"]), fields["event"], json.loads(fields["data"])
                fields = {}
            else:
                self.started = int(fields["id"]) if "id" in fields else self.started
                fields = {}

    async def read(self, count: int) -> list[tuple[int, str, dict[str, Any]]]:
        async with asyncio.timeout(10), aclosing(self.events()) as events:  # type: ignore[type-var]
            return [await anext(events) for _ in range(count)]


@asynccontextmanager
async def stream(server: LinkServer, path: str, last: int | None = None, **query: str) -> AsyncIterator[Stream]:
    headers = {} if last is None else {"Last-Event-ID": str(last)}
    async with server.admin.stream("GET", f"{BASE}{path}", params=query, headers=headers) as answer:
        assert answer.status_code == 200
        yield Stream(answer)


async def test_a_conversation_is_replayed_and_followed_until_it_is_deleted(server: LinkServer) -> None:
    of = await make(server)
    await tell(server, of, "message.created", "run.started")
    async with stream(server, f"/{of}/events", after="1") as following:
        assert [(number, kind) for number, kind, _ in await following.read(2)] == [
            (2, "message.created"),
            (3, "run.started"),
        ]
        await tell(server, of, "message.delta")
        await server.admin.delete(f"{BASE}/{of}")
        rest = [event async for event in following.events()]  # it ends by itself
    assert [(number, kind) for number, kind, _ in rest] == [(4, "message.delta"), (5, "conversation.deleted")]
    assert {**rest[0][2], "created_at": ""} == {
        "seq": 4,
        "type": "message.delta",
        "conversation_id": of,
        "message_id": "msg_1",
        "run_id": "run_1",
        "payload": {"text": "x"},
        "created_at": "",
    }
    async with stream(server, f"/{of}/events", last=4) as late:
        assert [kind async for _, kind, _ in late.events()] == ["conversation.deleted"]
    for after in ("", "?after=5"):
        answer = await server.admin.get(f"{BASE}/{of}/events{after}")
        assert (answer.status_code, answer.json()["error"]["code"]) == (404, "conversation_not_found")


async def test_a_change_of_a_conversation_is_told_with_all_it_is(server: LinkServer) -> None:
    of = await make(server)
    answer = await server.admin.patch(f"{BASE}/{of}/title", json={"title": "New"})
    async with stream(server, f"/{of}/events", after="1") as following:
        [(_, kind, envelope)] = await following.read(1)
    shown = answer.json()["conversation"]
    assert (kind, envelope["seq"]) == ("conversation.updated", shown["last_event_seq"])
    del shown["unread"]  # each device has its own
    assert envelope["payload"] == {"conversation": shown}


async def test_the_stream_of_all_begins_now_and_says_where_that_is(server: LinkServer) -> None:
    first, second = await make(server), await make(server)
    async with stream(server, "/events") as following:
        await tell(server, first, "run.started")
        [(number, kind, envelope)] = await following.read(1)
        assert (number, kind, envelope["seq"], following.started) == (3, "run.started", 2, 2)
    await tell(server, second, "run.started", "run.completed")
    async with stream(server, "/events", last=3) as again:
        assert [(number, envelope["seq"]) for number, _, envelope in await again.read(2)] == [(4, 2), (5, 3)]
    async with stream(server, "/events", after="0") as everything:
        assert [number for number, _, _ in await everything.read(5)] == [1, 2, 3, 4, 5]


async def test_notifications_leave_out_what_happens_within_an_answer(server: LinkServer) -> None:
    of = await make(server)
    async with stream(server, "/events", mode="notifications") as following:
        await tell(server, of, "run.started", "message.delta", "tool.started", "tool.completed", "message.updated")
        await tell(server, of, "approval.requested", "message.completed", "run.completed")
        assert [(number, kind) for number, kind, _ in await following.read(4)] == [
            (2, "run.started"),
            (7, "approval.requested"),
            (8, "message.completed"),
            (9, "run.completed"),
        ]
    answer = await server.admin.get(f"{BASE}/events?mode=some")
    assert (answer.status_code, answer.json()["error"]["code"]) == (422, "validation_error")


async def test_a_reader_that_is_cut_off_again_and_again_gets_every_event_once(server: LinkServer) -> None:
    of = await make(server)
    count = 300
    done = asyncio.create_task(speak(server, of, count))
    got: list[int] = []
    while len(got) < count + 1:
        async with stream(server, f"/{of}/events", last=got[-1] if got else None) as following:
            got += [number for number, _, _ in await following.read(min(37, count + 1 - len(got)))]
    await done
    assert got == list(range(1, count + 2))


async def speak(server: LinkServer, of: str, count: int) -> None:
    for _ in range(count):
        await tell(server, of, "message.delta")


async def test_two_hundred_readers_get_the_same(server: LinkServer) -> None:
    """In the process: the frames, without two hundred sockets."""
    of = await make(server)
    log = server.link.log

    async def read() -> list[int]:
        got: list[int] = []
        async for batch in log.follow_many(None, 1):
            got += [event.number for event in batch]
            if len(got) >= 500:
                return got
        return got

    readers = [asyncio.create_task(read()) for _ in range(200)]
    while log.readers < 200:
        await asyncio.sleep(0)
    await speak(server, of, 500)
    async with asyncio.timeout(20):
        assert {tuple(one) for one in await asyncio.gather(*readers)} == {tuple(range(2, 502))}
    assert log.readers == 0
