"""Conversations over a socket: what devices see of them, and what they may do with them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from hermes.core.errors import StoreUnavailable
from hermeslink.conversations.conversations import Conversations, Deletion
from hermeslink.core.conversation import AgentEvent, MessageStatus, NewEvent, Role
from hermeslink.store import conversations as conversation_store
from hermeslink.store import events as event_store
from hermeslink.store import messages as message_store
from tests.support.clock import FakeClock
from tests.support.link import LinkServer, serving_link
from tests.support.link_conversations import message

pytestmark = pytest.mark.sqlite("Link keeps its data in SQLite")

BASE = "/api/v1/conversations"
NOBODY = "conv_" + "0" * 32


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
async def server(tmp_path: Path, clock: FakeClock) -> AsyncIterator[LinkServer]:
    async with serving_link(tmp_path, clock=clock) as serving:
        yield serving


async def make(server: LinkServer, **body: Any) -> dict[str, Any]:
    answer = await server.admin.post(BASE, json=body)
    assert answer.status_code == 201, answer.text
    made: dict[str, Any] = answer.json()["conversation"]
    return made


def told(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["error"]["code"]


async def test_a_new_conversation_is_as_it_was_asked_for(server: LinkServer) -> None:
    made = await make(server, name=" Trip ", modelId="m-1")
    assert made == {
        "id": made["id"],
        "kind": "chat",
        "title": "Trip",
        "status": "active",
        "profile": "default",
        "model_override": "m-1",
        "last_event_seq": 1,
        "created_at": "2023-11-14T22:13:20.000Z",
        "updated_at": "2023-11-14T22:13:20.000Z",
        "stats": {
            "input_tokens": 0,
            "output_tokens": 0,
            "total_tokens": 0,
            "message_count": 0,
            "run_count": 0,
            "profile": "default",
            "model": "m-1",
            "provider": None,
            "context_window": None,
            "updated_at": None,
        },
        "active_run_id": None,
        "unread": 0,
    }
    [seen] = (await server.chat.get(BASE)).json()["conversations"]
    assert seen == {**made, "unread": 1}  # of the other device


async def test_lists_go_on_where_they_ended_whatever_moves(server: LinkServer, clock: FakeClock) -> None:
    ids: list[str] = []
    for number in range(7):
        ids.append((await make(server, title=str(number)))["id"])
        clock.advance(number % 2)  # some of the same moment
    first = (await server.admin.get(BASE, params={"limit": 3})).json()
    assert first["page"]["has_more"] is True
    moved = first["conversations"][2]["id"]
    clock.advance(1)
    assert (await server.admin.patch(f"{BASE}/{moved}/title", json={"title": "moved"})).status_code == 200
    seen = [one["id"] for one in first["conversations"]]
    page = first["page"]
    while page["has_more"]:
        answer = (await server.admin.get(BASE, params={"limit": 3, "after": page["next_cursor"]})).json()
        seen += [one["id"] for one in answer["conversations"]]
        page = answer["page"]
    assert page == {"limit": 3, "has_more": False, "next_cursor": None}
    assert sorted(seen) == sorted(ids)
    assert (await server.admin.get(BASE)).json()["conversations"][0]["id"] == moved


@pytest.mark.parametrize("cursor", ["x", "%%%", "bmFuIGNvbnZfMDA", "MS4wIGNvbnZfeA", "é", "AAAA", "a" * 5000])
async def test_a_cursor_that_no_list_gave_is_refused(server: LinkServer, cursor: str) -> None:
    for path in ("", "/archived"):
        assert told(await server.admin.get(BASE + path, params={"cursor": cursor})) == (400, "invalid_cursor")


async def test_lists_are_of_a_status_and_a_profile(server: LinkServer) -> None:
    for name in ("work",):
        (server.link.hermes_root / "profiles" / name).mkdir(parents=True)
    here, there = (await make(server))["id"], (await make(server, profile="work"))["id"]
    assert await listed(server, "", profile="work") == [there]
    answer = await server.admin.post(f"{BASE}/{here}/archive")
    assert answer.json()["conversation"]["status"] == "archived"
    assert await listed(server, "") == [there]
    assert await listed(server, "/archived") == await listed(server, "", status="archived") == [here]
    assert (await server.admin.post(f"{BASE}/{here}/unarchive")).json()["conversation"]["status"] == "active"
    assert await listed(server, "/archived") == []
    assert told(await server.admin.post(BASE, json={"profile": "nowhere"})) == (404, "profile_not_found")


async def test_search_finds_titles_and_messages_page_by_page(server: LinkServer, clock: FakeClock) -> None:
    ids: list[str] = []
    for number in range(5):
        clock.advance(1)
        ids.insert(0, (await make(server, title=f"Rome {number}"))["id"])
    said = message(ids[0], "When in Rome, do as the Romans do.", at=clock.now())
    await server.link.database.write(message_store.insert, said)
    answer = (await server.admin.get(BASE + "/search", params={"keyword": "rome", "limit": 3})).json()
    assert [one["id"] for one in answer["conversations"]] == ids[:3]
    assert answer["conversations"][0]["matches"] == [{"message_id": said.id, "snippet": said.text}]
    assert answer["conversations"][1]["matches"] == []
    rest: dict[str, Any] = {"query": "rome", "limit": 3, "cursor": answer["page"]["next_cursor"]}
    assert [one["id"] for one in (await server.admin.get(BASE + "/search", params=rest)).json()["conversations"]] == (
        ids[3:]
    )
    await server.admin.post(f"{BASE}/{ids[4]}/archive")
    assert await listed(server, "/archived/search", q="rome") == [ids[4]]
    assert await listed(server, "/search", q="!?") == []
    for params in ({}, {"q": "  "}):
        assert told(await server.admin.get(BASE + "/search", params=params)) == (422, "validation_error")


async def test_messages_come_page_by_page_with_what_an_answer_says_so_far(server: LinkServer) -> None:
    of = (await make(server))["id"]
    sent = [message(of, f"m{number}", device_id=server.admin_device.device.id) for number in range(4)]
    answer = message(of, role=Role.ASSISTANT, status=MessageStatus.STREAMING, sender_name="Hermes")
    for one in [*sent, answer]:
        await server.link.database.write(message_store.insert, one)
    new = [NewEvent("message.delta", {"text": piece}, answer.id) for piece in ("Hel", "lo")]
    await server.link.database.write(event_store.append, of, new, 0.0)
    call = AgentEvent(id="t", type="tool", status="running", started_at=0.0, payload={"tool": "shell"})
    await server.link.database.write(message_store.start_agent_event, answer.id, call)

    first = (await server.admin.get(f"{BASE}/{of}/messages", params={"limit": 2})).json()
    assert first["last_event_seq"] == 3
    assert first["runtime"] == {
        "profile": "default",
        "model": None,
        "context": {"window": None, "used_tokens": None},
    }
    assert first["page"] == {
        "limit": 2,
        "has_more_before": True,
        "has_more_after": False,
        "oldest_message_id": sent[3].id,
        "newest_message_id": answer.id,
    }
    assert first["messages"][1] == {
        "id": answer.id,
        "schema_version": 1,
        "conversation_id": of,
        "role": "assistant",
        "status": "streaming",
        "run_id": answer.run_id,
        "client_message_id": None,
        "created_at": "1970-01-01T00:00:00.000Z",
        "updated_at": "1970-01-01T00:00:00.000Z",
        "sender": {"id": "default", "type": "agent", "display_name": "Hermes", "profile": "default"},
        "parts": [{"type": "text", "text": "Hello"}],
        "attachments": [],
        "agent_events": [
            {
                "id": "t",
                "type": "tool",
                "status": "running",
                "started_at": "1970-01-01T00:00:00.000Z",
                "completed_at": None,
                "payload": {"tool": "shell"},
            }
        ],
        "usage": None,
        "error": None,
    }
    before: dict[str, Any] = {"limit": 200, "beforeMessageId": sent[3].id}
    rest = (await server.admin.get(f"{BASE}/{of}/messages", params=before)).json()
    assert [one["parts"][0]["text"] for one in rest["messages"]] == ["m0", "m1", "m2"]
    assert (rest["page"]["has_more_before"], rest["page"]["has_more_after"]) == (False, True)
    nothing = (await server.admin.get(f"{BASE}/{of}/messages", params={"before": sent[0].id})).json()
    assert (nothing["messages"], nothing["page"]["has_more_after"]) == ([], True)

    newest = (await server.admin.get(f"{BASE}/{of}/messages?before=")).json()
    assert newest["page"]["has_more_after"] is False

    other = (await make(server))["id"]
    for wrong in (f"{BASE}/{of}/messages?before=msg_x", f"{BASE}/{other}/messages?before={sent[0].id}"):
        assert told(await server.admin.get(wrong)) == (400, "message_cursor_not_found")


async def test_title_model_and_profile_change_and_say_what_is_missing(server: LinkServer) -> None:
    (server.link.hermes_root / "profiles" / "work").mkdir(parents=True)
    of = (await make(server))["id"]

    async def patch(what: str, body: dict[str, Any]) -> dict[str, Any]:
        answer = await server.admin.patch(f"{BASE}/{of}/{what}", json=body)
        assert answer.status_code == 200, answer.text
        return dict(answer.json()["conversation"])

    assert (await patch("title", {"name": "New"}))["title"] == "New"
    assert (await patch("model", {"modelId": "m"}))["model_override"] == "m"
    assert (await patch("model", {"model_id": None}))["model_override"] is None
    assert (await patch("profile", {"profileName": "work"}))["profile"] == "work"
    family = "\U0001f468\u200d\U0001f469\u200d\U0001f467"
    title = f" Two\nlines \x00\u202e{family} "
    assert (await patch("title", {"title": title}))["title"] == f"Two lines {family}"
    wrong: list[tuple[str, dict[str, Any], tuple[int, str]]] = [
        ("title", {}, (400, "title_required")),
        ("title", {"title": "  "}, (400, "title_required")),
        ("title", {"title": "\u202e\x00"}, (400, "title_required")),
        ("title", {"title": "x" * 201}, (422, "validation_error")),
        ("model", {}, (400, "model_id_required")),
        ("model", {"model_id": ""}, (400, "model_id_required")),
        ("model", {"model_id": 5}, (422, "validation_error")),
        ("profile", {"profile": None}, (400, "profile_required")),
        ("profile", {"profile": "nowhere"}, (404, "profile_not_found")),
        ("profile", {"profile": "../work"}, (404, "profile_not_found")),
    ]
    for what, body, expected in wrong:
        assert told(await server.admin.patch(f"{BASE}/{of}/{what}", json=body)) == expected, (what, body)


async def test_what_a_device_acknowledged_is_its_own_and_never_goes_back(server: LinkServer) -> None:
    of = (await make(server))["id"]
    await server.link.database.write(event_store.append, of, [NewEvent("run.started", {})] * 4, 0.0)
    asked: list[tuple[dict[str, int], int, int]] = [
        ({"seq": 3}, 3, 2),
        ({"lastEventSeq": 2}, 3, 2),
        ({"last_event_seq": 4}, 4, 1),
        ({"seq": 1000}, 5, 0),
    ]
    for body, acked, unread in asked:
        answer = await server.chat.post(f"{BASE}/{of}/ack", json=body)
        assert answer.json() == {"ok": True, "acked_seq": acked}
        [seen] = (await server.chat.get(BASE)).json()["conversations"]
        assert seen["unread"] == unread
    [other] = (await server.admin.get(BASE)).json()["conversations"]
    assert other["unread"] == 4
    no_places: list[dict[str, Any]] = [{}, {"seq": -1}, {"seq": "x"}, {"seq": 10**30}]
    for wrong in no_places:
        assert told(await server.chat.post(f"{BASE}/{of}/ack", json=wrong)) == (422, "validation_error")


async def test_deleting_takes_everything_with_it(server: LinkServer) -> None:
    of = (await make(server, title="Gone"))["id"]
    stopped: list[str] = []
    server.link.conversations.deleted = stopped.append
    async with await server.link.blobs.receive(of) as incoming:
        await incoming.write(b"bytes")
        await incoming.keep("a.txt")
    answer = await server.chat.delete(f"{BASE}/{of}")
    assert answer.json() == {
        "ok": True,
        "conversation_id": of,
        "deleted_at": "2023-11-14T22:13:20.000Z",
        "blobs_deleted": 1,
    }
    assert stopped == [of]
    assert list(server.link.home.blobs_dir.glob("**/" + "?" * 64)) == []
    assert told(await server.chat.delete(f"{BASE}/{of}")) == (404, "conversation_not_found")
    assert await listed(server, "/search", q="gone") == []


async def test_of_many_deletions_each_says_what_became_of_it(server: LinkServer) -> None:
    first, second, third = [(await make(server))["id"] for _ in range(3)]
    body = {"conversationIds": [first, first]}
    done = (await server.admin.request("DELETE", BASE, json=body)).json()
    assert (done["deleted_count"], done["failed_count"], done["ok"]) == (1, 0, True)
    body = {"conversationIds": [second, first, "x", third]}
    answer = await server.admin.request("DELETE", BASE, json=body)
    assert told(answer) == (409, "conversation_bulk_delete_partial_failure")
    partial = answer.json()
    assert (partial["deleted_count"], partial["failed_count"], partial["ok"]) == (2, 2, False)
    assert [(one["conversation_id"], one["status"]) for one in partial["conversations"]] == [
        (second, "deleted"),
        (first, "failed"),
        ("x", "failed"),
        (third, "deleted"),
    ]
    message = "2 of 4 conversations could not be deleted"
    assert partial["error"] == {"code": "conversation_bulk_delete_partial_failure", "message": message}
    why = {"code": "conversation_not_found", "message": f"no conversation {first!r}"}
    assert (partial["conversations"][1]["deleted_at"], partial["conversations"][1]["error"]) == (None, why)
    assert partial["conversations"][0]["error"] is None
    nobody: list[dict[str, Any]] = [{}, {"conversation_ids": []}]
    for wrong in nobody:
        assert told(await server.admin.request("DELETE", BASE, json=wrong)) == (400, "conversation_ids_required")


async def test_a_deletion_of_many_that_the_store_refuses_is_in_the_log_by_its_request(
    server: LinkServer, caplog: pytest.LogCaptureFixture
) -> None:
    made, link = (await make(server))["id"], server.link

    class FullDisk(Conversations):
        async def delete(self, conversation_id: str) -> Deletion:
            raise StoreUnavailable("no space left for link.db")

    link.conversations = FullDisk(link.database, link.log, link.blobs, link.clock, link.servers.home)
    body = {"conversation_ids": [made]}
    answer = await server.admin.request("DELETE", BASE, json=body, headers={"X-Request-Id": "mine"})
    [failed] = answer.json()["conversations"]
    assert (failed["error"]["code"], failed["error"]["request_id"]) == ("store_unavailable", "mine")
    assert "link.db" not in answer.text
    assert "no space left for link.db" in caplog.text


async def test_what_is_not_there_is_404_on_every_route(server: LinkServer) -> None:
    asked: list[tuple[str, str, Any]] = [
        ("DELETE", "", None),
        ("GET", "/messages", None),
        ("GET", "/events", None),
        ("PATCH", "/title", {"title": "x"}),
        ("PATCH", "/model", {"model_id": None}),
        ("PATCH", "/profile", {"profile": "default"}),
        ("POST", "/ack", {"seq": 1}),
        ("POST", "/archive", None),
        ("POST", "/unarchive", None),
    ]
    for conversation_id in (NOBODY, "x", "conv_" + "g" * 32, "%00", "%F0%28"):
        for method, rest, body in asked:
            answer = await server.admin.request(method, f"{BASE}/{conversation_id}{rest}", json=body)
            assert told(answer) == (404, "conversation_not_found"), (method, rest)


async def test_usage_of_an_answer_is_shown_in_the_conversation_and_its_messages(server: LinkServer) -> None:
    of = (await make(server))["id"]
    answer = message(of, role=Role.ASSISTANT, status=MessageStatus.STREAMING)

    def finish(conn: Any) -> None:
        message_store.insert(conn, answer)
        usage = {"input_tokens": 100, "output_tokens": 20}
        message_store.finish(conn, answer.id, MessageStatus.COMPLETED, 1.0, text="Done", usage=usage)
        conversation_store.add_usage(
            conn, of, 1.0, input_tokens=100, output_tokens=20, model="m", provider="p", context_window=8000
        )

    await server.link.database.write(finish)
    [seen] = (await server.admin.get(BASE)).json()["conversations"]
    assert seen["stats"] == {
        "input_tokens": 100,
        "output_tokens": 20,
        "total_tokens": 120,
        "message_count": 1,
        "run_count": 1,
        "profile": "default",
        "model": "m",
        "provider": "p",
        "context_window": 8000,
        "updated_at": "1970-01-01T00:00:01.000Z",
    }
    page = (await server.admin.get(f"{BASE}/{of}/messages")).json()
    assert page["runtime"] == {"profile": "default", "model": "m", "context": {"window": 8000, "used_tokens": 120}}

    def go_on(conn: Any, model: str) -> None:
        conversation_store.add_usage(conn, of, 2.0, input_tokens=1, output_tokens=1, model=model)

    for model, window in (("m", 8000), ("other", None)):  # the window of one model is not the other's
        await server.link.database.write(go_on, model)
        [seen] = (await server.admin.get(BASE)).json()["conversations"]
        assert (seen["stats"]["model"], seen["stats"]["context_window"]) == (model, window)


async def listed(server: LinkServer, path: str, **params: str) -> list[str]:
    answer = await server.admin.get(BASE + path, params=params)
    assert answer.status_code == 200, answer.text
    return [one["id"] for one in answer.json()["conversations"]]
