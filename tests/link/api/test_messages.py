"""Messages, cancels and approvals over HTTP, with every named code (spec: link-api, Conversations)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from hermes.home.profiles import create_profile, rename_profile
from tests.support.link import LinkServer, serving_link
from tests.support.link_stand_in import Ask, LinkStandIn, Wait, Wonder, say

pytestmark = pytest.mark.sqlite("Link keeps its data in SQLite")

CONVERSATIONS = "/api/v1/conversations"
UNKNOWN = "conv_" + "0" * 32
PIXEL = bytes.fromhex(
    "89504e470d0a1a0a0000000d4948445200000001000000010802000000907753de0000000c49444154789c63f8cfc0000003010100c9fe92ef"
    "0000000049454e44ae426082"
)


@pytest.fixture
async def stand_in(tmp_path: Path) -> AsyncIterator[LinkStandIn]:
    async with LinkStandIn() as running:
        running.write_env(tmp_path)
        yield running


@pytest.fixture
async def server(tmp_path: Path, stand_in: LinkStandIn) -> AsyncIterator[LinkServer]:
    async with serving_link(tmp_path) as running:
        yield running


def told(answer: httpx.Response) -> tuple[int, str]:
    body = answer.json()
    assert body["ok"] is False
    return answer.status_code, body["error"]["code"]


async def new_conversation(by: httpx.AsyncClient) -> str:
    return str((await by.post(CONVERSATIONS, json={})).json()["conversation"]["id"])


async def messages(by: httpx.AsyncClient, conv: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = (await by.get(f"{CONVERSATIONS}/{conv}/messages")).json()["messages"]
    return found


async def until_ended(by: httpx.AsyncClient, conv: str) -> list[dict[str, Any]]:
    async with asyncio.timeout(20):
        while True:
            found = await messages(by, conv)
            if all(message["status"] not in ("queued", "streaming") for message in found):
                return found
            await asyncio.sleep(0.01)


async def the_question(by: httpx.AsyncClient, conv: str) -> str:
    """The path of what the agent asks, when it does."""
    async with asyncio.timeout(20):
        while not (asked := (await messages(by, conv))[1]["agent_events"]):
            await asyncio.sleep(0.01)
    assert (asked[0]["type"], asked[0]["status"]) == ("approval", "waiting")
    return f"{CONVERSATIONS}/{conv}/approvals/{asked[0]['id']}"


async def test_a_message_is_taken_in_and_answered(server: LinkServer) -> None:
    conv = await new_conversation(server.chat)
    answer = await server.chat.post(
        f"{CONVERSATIONS}/{conv}/messages", json={"content": "Hello", "clientMessageId": "1"}
    )
    assert answer.status_code == 202
    body = answer.json()
    assert set(body) == {
        "ok", "conversation_id", "user_message", "assistant_message", "run", "last_event_seq", "conversation",
    }  # fmt: skip
    assert body["ok"] is True and body["run"]["status"] == "running"
    assert body["user_message"]["client_message_id"] == "1"
    assert body["user_message"]["sender"]["display_name"] == "device of scope chat"
    assert body["conversation"]["active_run_id"] == body["run"]["id"]
    assert body["conversation"]["last_event_seq"] == body["last_event_seq"]
    question, reply = await until_ended(server.chat, conv)
    assert question == body["user_message"]
    assert reply["parts"] == [{"type": "text", "text": "Hello there"}]
    assert reply["id"] == body["assistant_message"]["id"]


async def test_a_profile_that_was_renamed_a_moment_ago_answers_under_its_new_name(
    tmp_path: Path, stand_in: LinkStandIn
) -> None:
    """At the machine, too: nobody told Link."""
    (tmp_path / ".env").unlink()
    alice = create_profile(tmp_path, "alice")
    stand_in.write_env(alice.path)
    async with serving_link(tmp_path) as server:
        made = await server.chat.post(CONVERSATIONS, json={"profile": "alice"})
        conv = made.json()["conversation"]["id"]
        rename_profile(alice, "bella", now=1.0)
        answer = await server.chat.post(f"{CONVERSATIONS}/{conv}/messages", json={"content": "Hello"})
        assert answer.status_code == 202, answer.text
        assert answer.json()["conversation"]["profile"] == "bella"
        [_, reply] = await until_ended(server.chat, conv)
        assert (reply["status"], reply["sender"]["profile"]) == ("completed", "bella")
        gone = await server.chat.post(f"{CONVERSATIONS}/{conv}/messages", json={"content": "A", "profile": "alice"})
        assert told(gone) == (404, "profile_not_found")


@pytest.mark.parametrize("name", ["content", "text", "input"])
async def test_every_name_of_the_text_is_known(server: LinkServer, stand_in: LinkStandIn, name: str) -> None:
    conv = await new_conversation(server.admin)
    sent = await server.admin.post(
        f"{CONVERSATIONS}/{conv}/messages", json={name: "Hello", "model_id": "small", "blobs": None}
    )
    assert sent.status_code == 202
    await until_ended(server.admin, conv)
    assert stand_in.runs[next(iter(stand_in.runs))].body == {"input": "Hello", "model": "small"}


async def test_what_is_attached_reaches_the_agent(server: LinkServer, stand_in: LinkStandIn) -> None:
    conv = await new_conversation(server.admin)
    blobs = []
    for name, data in (("cat.png", PIXEL), ("notes.txt", b"Buy milk")):
        headers = {"Content-Disposition": f'attachment; filename="{name}"'}
        made = await server.admin.post(f"{CONVERSATIONS}/{conv}/blobs", content=data, headers=headers)
        blobs.append(made.json()["blob_id"])
    sent = await server.admin.post(f"{CONVERSATIONS}/{conv}/messages", json={"text": "Look", "blobs": blobs})
    assert [one["filename"] for one in sent.json()["user_message"]["attachments"]] == ["cat.png", "notes.txt"]
    await until_ended(server.admin, conv)
    (said,) = stand_in.runs[next(iter(stand_in.runs))].body["input"]
    text, picture, notes = said["content"]
    assert text == {"type": "text", "text": "Look"}
    assert picture["image_url"]["url"].startswith("data:image/png;base64,")
    assert "Buy milk" in notes["text"]
    deleted = await server.admin.delete(f"{CONVERSATIONS}/{conv}/blobs/{blobs[0]}")
    assert told(deleted) == (409, "blob_in_use")
    alone = await server.admin.post(
        f"{CONVERSATIONS}/{conv}/messages", json={"content": None, "attachments": [blobs[1]]}
    )
    assert alone.status_code == 202


async def test_every_refusal_has_its_code(server: LinkServer, stand_in: LinkStandIn) -> None:
    conv = await new_conversation(server.admin)
    path = f"{CONVERSATIONS}/{conv}/messages"
    post = server.admin.post
    assert told(await post(path, json={"content": " "})) == (400, "message_content_required")
    assert told(await post(path, json={})) == (400, "message_content_required")
    assert told(await post(path, json={"content": 5})) == (422, "validation_error")
    for unknown in (UNKNOWN, "conv_1", "nonsense"):
        answer = await post(f"{CONVERSATIONS}/{unknown}/messages", json={"content": "Hi"})
        assert told(answer) == (404, "conversation_not_found")
        answer = await post(f"{CONVERSATIONS}/{unknown}/runs/run_1/cancel")
        assert told(answer) == (404, "conversation_not_found")
        answer = await post(f"{CONVERSATIONS}/{unknown}/approvals/appr_1/approve")
        assert told(answer) == (404, "conversation_not_found")
    answer = await post(path, json={"content": "Hi", "attachments": ["blob_" + "0" * 32]})
    assert told(answer) == (404, "blob_not_found")
    assert told(await post(path, json={"content": "Hi", "profile": "nobody"})) == (404, "profile_not_found")
    answer = await post(path, json={"content": "Hi"}, headers={"Idempotency-Key": "a b"})
    assert told(answer) == (400, "invalid_idempotency_key")
    await stand_in.stop()
    assert told(await post(path, json={"content": "Hi"})) == (503, "hermes_api_server_unavailable")
    assert await messages(server.admin, conv) == []


async def test_the_same_key_gives_the_first_answer_and_never_another_message(server: LinkServer) -> None:
    conv = await new_conversation(server.admin)
    path, headers = f"{CONVERSATIONS}/{conv}/messages", {"Idempotency-Key": "one"}
    first = await server.admin.post(path, json={"content": "Hi"}, headers=headers)
    again = await server.admin.post(path, json={"content": "Hi"}, headers=headers)
    assert (again.status_code, again.json()) == (202, first.json())
    other = await server.admin.post(path, json={"content": "Ho"}, headers=headers)
    assert told(other) == (409, "idempotency_key_conflict")
    theirs = await server.chat.post(path, json={"content": "Ho"}, headers=headers)
    assert theirs.status_code == 202, "another device's key is another key"


async def test_a_run_is_cancelled_once(server: LinkServer, stand_in: LinkStandIn) -> None:
    stand_in.script = [say("Half"), Wait()]
    conv = await new_conversation(server.chat)
    run_id = (await server.chat.post(f"{CONVERSATIONS}/{conv}/messages", json={"content": "Go"})).json()["run"]["id"]
    path = f"{CONVERSATIONS}/{conv}/runs/{run_id}/cancel"
    answer = await server.chat.post(path)
    assert answer.json() == {"ok": True, "run": {"id": run_id, "status": "cancelled"}}
    assert told(await server.chat.post(path)) == (409, "run_not_active")
    for unknown in ("run_" + "0" * 32, "nonsense"):
        answer = await server.chat.post(f"{CONVERSATIONS}/{conv}/runs/{unknown}/cancel")
        assert told(answer) == (404, "run_not_found")
    assert (await messages(server.chat, conv))[1]["status"] == "cancelled"


async def test_a_question_is_answered_once(server: LinkServer, stand_in: LinkStandIn) -> None:
    stand_in.script = [Ask(), say("Done")]
    conv = await new_conversation(server.chat)
    await server.chat.post(f"{CONVERSATIONS}/{conv}/messages", json={"content": "Clean up"})
    path = await the_question(server.chat, conv)
    approval_id = path.rpartition("/")[2]
    assert told(await server.chat.post(f"{path}/approve", json={"scope": "always"})) == (403, "scope_required")
    assert told(await server.chat.post(f"{path}/approve", json={"scope": "for ever"})) == (422, "validation_error")
    answer = await server.chat.post(f"{path}/approve", json={"scope": None, "reason": None})
    assert answer.json() == {"ok": True, "approval_id": approval_id, "decision": "approve", "scope": "once"}
    for verb in ("approve", "deny"):
        assert told(await server.chat.post(f"{path}/{verb}")) == (409, "approval_resolved")
    unknown = f"{CONVERSATIONS}/{conv}/approvals/appr_{'0' * 32}/deny"
    assert told(await server.chat.post(unknown, json={"reason": "no"})) == (404, "approval_not_found")
    assert (await until_ended(server.chat, conv))[1]["parts"] == [{"type": "text", "text": "Done"}]
    entries = (await server.admin.get("/api/v1/audit")).json()["entries"]
    assert [entry["subject"] for entry in entries if entry["action"] == "approval.approved"] == [approval_id]


@pytest.mark.parametrize(
    ("status", "code", "shown"),
    [
        (422, "invalid_request", (400, "invalid_approval_choice")),
        (429, "rate_limit_exceeded", (429, "rate_limit_exceeded")),
        (500, "internal_error", (502, "internal_error")),
    ],
)
async def test_a_server_that_cannot_take_an_answer_now_is_no_wrong_choice(
    server: LinkServer, stand_in: LinkStandIn, status: int, code: str, shown: tuple[int, str]
) -> None:
    stand_in.script = [Ask(), say("Done")]
    conv = await new_conversation(server.chat)
    await server.chat.post(f"{CONVERSATIONS}/{conv}/messages", json={"content": "Clean up"})
    path = await the_question(server.chat, conv)
    there = ("POST", f"/v1/runs/{next(iter(stand_in.runs))}/approval")
    stand_in.answers[there] = (status, {"error": {"message": "not now", "code": code}})
    assert told(await server.chat.post(f"{path}/approve")) == shown
    del stand_in.answers[there]
    assert (await server.chat.post(f"{path}/approve")).status_code == 200
    await until_ended(server.chat, conv)


async def wonders(by: httpx.AsyncClient, conv: str) -> tuple[str, str]:
    """The path for an answer to what the agent asks, and the question's id, when it does."""
    async with asyncio.timeout(20):
        while not (asked := (reply := (await messages(by, conv))[1])["agent_events"]):
            await asyncio.sleep(0.01)
    assert (asked[0]["type"], asked[0]["status"]) == ("question", "waiting")
    assert (asked[0]["payload"]["question"], asked[0]["payload"]["choices"]) == ("Which colour?", ["red", "blue"])
    return f"{CONVERSATIONS}/{conv}/runs/{reply['run_id']}/answer", asked[0]["id"]


async def test_what_the_agent_wants_to_know_is_told_once_by_any_device(
    server: LinkServer, stand_in: LinkStandIn
) -> None:
    stand_in.script = [Wonder(), say("Done")]
    conv = await new_conversation(server.chat)
    await server.chat.post(f"{CONVERSATIONS}/{conv}/messages", json={"content": "Paint it"})
    path, question = await wonders(server.chat, conv)
    for body, shown in (
        ({"answer": " ", "question_id": question}, (400, "answer_required")),
        ({"answer": "green"}, (422, "validation_error")),
        ({"answer": "green", "question_id": "clar_0"}, (409, "question_answered")),
    ):
        assert told(await server.chat.post(path, json=body)) == shown
    unknown = path.replace("/runs/", "/runs/x")
    assert told(await server.chat.post(unknown, json={"answer": "a", "question_id": "q"})) == (404, "run_not_found")
    answer = await server.chat.post(path, json={"answer": " green ", "questionId": question})
    assert (answer.status_code, answer.json()["answer"], answer.json()["question_id"]) == (200, "green", question)
    for by in (server.chat, server.admin):
        again = await by.post(path, json={"answer": "red", "question_id": question})
        assert told(again) == (409, "question_answered")
    _, reply = await until_ended(server.chat, conv)
    assert reply["parts"] == [{"type": "text", "text": "Done"}]
    [event] = reply["agent_events"]
    assert (event["status"], event["payload"]["answer"], event["payload"]["outcome"]) == ("completed", "green", "user")


async def test_a_question_that_nobody_answered_ends_with_its_run(server: LinkServer, stand_in: LinkStandIn) -> None:
    stand_in.script = [Wonder()]
    conv = await new_conversation(server.chat)
    await server.chat.post(f"{CONVERSATIONS}/{conv}/messages", json={"content": "Paint it"})
    path, question = await wonders(server.chat, conv)
    await server.chat.post(path.replace("/answer", "/cancel"))
    [event] = (await until_ended(server.chat, conv))[1]["agent_events"]
    assert (event["status"], event["payload"]["answer"], event["payload"]["outcome"]) == ("failed", None, "ended")
    assert told(await server.chat.post(path, json={"answer": "red", "question_id": question})) == (
        409,
        "question_answered",
    )


async def test_a_deleted_conversation_stops_its_agent(server: LinkServer, stand_in: LinkStandIn) -> None:
    stand_in.script = [say("Half"), Wait()]
    conv = await new_conversation(server.chat)
    await server.chat.post(f"{CONVERSATIONS}/{conv}/messages", json={"content": "Go"})
    async with asyncio.timeout(20):
        while not (await messages(server.chat, conv))[1]["parts"]:
            await asyncio.sleep(0.01)
        assert (await server.chat.delete(f"{CONVERSATIONS}/{conv}")).status_code == 200
        run = next(iter(stand_in.runs.values()))
        while not run.has_ended:
            await run.changed.wait()
    assert run.status == "cancelled"
