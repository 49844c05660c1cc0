"""Profiles through Link: who they are, what they are called, and where they go. Nothing here needs an API server."""

from __future__ import annotations

import asyncio
import json
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from hermes.home.env import set_env
from hermes.home.locks import GatewayProcess, lock_gateway
from hermes.home.paths import Home
from hermes.home.profiles import create_profile
from hermes.home.wanted import wanted
from hermeslink.core.run import RunStatus
from hermeslink.store import runs
from tests.support.link import LinkServer

pytestmark = pytest.mark.sqlite("Link keeps its data in SQLite")


@pytest.fixture
def alice(server: LinkServer, tmp_path: Path) -> Home:
    return create_profile(tmp_path, "alice")


async def ask(server: LinkServer, method: str, path: str, body: Any = None) -> tuple[int, Any]:
    """Status, and the body or the error's code."""
    answer = await server.admin.request(method, f"/api/v1{path}", json=body)
    if not answer.content:
        return answer.status_code, None
    told = answer.json()
    return answer.status_code, told["error"]["code"] if "error" in told and not told["ok"] else told


async def conversation(server: LinkServer, profile: str) -> str:
    _, made = await ask(server, "POST", "/conversations", {"profile": profile, "title": f"of {profile}"})
    return str(made["conversation"]["id"])


async def test_a_profile_says_who_it_is(server: LinkServer, alice: Home) -> None:
    status, told = await ask(server, "GET", "/profiles/alice/status")
    assert status == 200
    uid = told["profile"].pop("uid")
    assert uid.startswith("prof_")
    assert told["profile"] == {
        "name": "alice",
        "active": False,
        "path": str(alice.path),
        "configPath": str(alice.config_file),
        "displayName": None,
        "description": None,
        "avatarType": "initials",
        "avatarUrl": None,
        "exists": True,
        "apiKeyConfigured": True,
    }
    default = (await ask(server, "GET", "/profiles/default/status"))[1]["profile"]
    assert (default["name"], default["active"], default["apiKeyConfigured"]) == ("default", True, False)


async def test_files_that_cannot_be_read_do_not_hide_a_profile(server: LinkServer, alice: Home) -> None:
    alice.config_file.write_text("a: [\n")
    assert (await ask(server, "GET", "/profiles/alice/status"))[1]["profile"]["apiKeyConfigured"] is True
    alice.env_file.write_bytes(b"\xff\xfe\x00")
    assert (await ask(server, "GET", "/profiles/alice/status"))[1]["profile"]["apiKeyConfigured"] is False


async def test_what_is_said_of_a_profile_stays_until_it_is_taken_away(server: LinkServer, alice: Home) -> None:
    said = {
        "displayName": " Alice \u202e of the garden ",
        "description": "Knows\nroses",
        "avatarUrl": "https://a.example/a",
    }
    _, told = await ask(server, "PATCH", "/profiles/alice", said)
    shown = told["profile"]
    assert (shown["displayName"], shown["description"]) == ("Alice of the garden", "Knows\nroses")
    assert (shown["avatarType"], shown["avatarUrl"]) == ("image", "https://a.example/a")
    _, told = await ask(server, "PATCH", "/profiles/alice", {"avatar_type": "initials", "description": None})
    assert told["profile"]["avatarUrl"] is None
    assert told["profile"]["description"] is None
    assert told["profile"]["displayName"] == "Alice of the garden"
    assert (await ask(server, "PATCH", "/profiles/default", {"display_name": "Home"}))[0] == 200


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({}, "profile_update_empty"),
        ({"display_name": "x" * 65}, "invalid_profile_display_name"),
        ({"description": "x" * 501}, "invalid_profile_description"),
        ({"avatar_type": "film"}, "invalid_profile_avatar_type"),
        ({"avatar_type": {}, "avatar_url": ""}, "invalid_profile_avatar_type"),
        ({"avatar_type": 0}, "invalid_profile_avatar_type"),
        ({"avatar_type": ["image"]}, "invalid_profile_avatar_type"),
        ({"avatar_type": "image"}, "invalid_profile_avatar_url"),
        ({"avatar_url": "http://a.example/a.png"}, "invalid_profile_avatar_url"),
        ({"name": None}, "invalid_profile_name"),
        ({"name": 5}, "invalid_profile_name"),
        ({"name": "bob", "avatar_type": "film"}, "invalid_profile_avatar_type"),
    ],
)
async def test_a_wrong_word_changes_nothing(server: LinkServer, alice: Home, body: Any, code: str) -> None:
    before = await ask(server, "GET", "/profiles/alice/status")
    assert await ask(server, "PATCH", "/profiles/alice", body) == (400, code)
    assert await ask(server, "GET", "/profiles/alice/status") == before


async def test_a_new_name_takes_conversations_sessions_and_usage_along(server: LinkServer, alice: Home) -> None:
    mine = await conversation(server, "alice")
    other = await conversation(server, "default")
    _, before = await ask(server, "GET", "/profiles/alice/status")
    events = server.link.log.follow(None, await server.link.conversations.newest_event())

    status, told = await ask(server, "PATCH", "/profiles/alice", {"name": "bob", "display_name": "Bob"})

    assert status == 200
    assert (told["profile"]["name"], told["profile"]["uid"]) == ("bob", before["profile"]["uid"])
    assert told["profile"]["displayName"] == "Bob"
    assert not alice.path.exists()
    _, listed = await ask(server, "GET", "/conversations")
    assert {one["id"]: one["profile"] for one in listed["conversations"]} == {mine: "bob", other: "default"}
    async with asyncio.timeout(5):
        event = await anext(events)
    assert (event.type, event.conversation_id) == ("conversation.updated", mine)
    assert json.loads(event.envelope)["payload"]["conversation"]["profile"] == "bob"
    assert await ask(server, "GET", "/profiles/alice/status") == (404, "profile_not_found")
    _, audit = await ask(server, "GET", "/audit")
    entry = next(one for one in audit["entries"] if one["action"] == "profile.renamed")
    assert (entry["subject"], entry["details"], entry["device_id"]) == (
        "bob",
        {"from": "alice"},
        server.admin_device.device.id,
    )


async def test_a_deleted_profile_lies_in_the_trash_and_its_conversations_in_the_archive(
    server: LinkServer, alice: Home, tmp_path: Path
) -> None:
    mine = await conversation(server, "alice")
    assert await ask(server, "DELETE", "/profiles/alice") == (204, None)
    assert await ask(server, "DELETE", "/profiles/alice") == (404, "profile_not_found")
    assert len(list((tmp_path / "trash").glob("alice-*"))) == 1
    _, listed = await ask(server, "GET", "/conversations?status=archived")
    assert [(one["id"], one["profile"]) for one in listed["conversations"]] == [(mine, "alice")]
    assert (await ask(server, "GET", f"/conversations/{mine}/messages"))[0] == 200
    assert await ask(server, "POST", f"/conversations/{mine}/messages", {"content": "hello"}) == (
        404,
        "profile_not_found",
    )
    assert (await ask(server, "PATCH", f"/conversations/{mine}/profile", {"profile": "default"}))[0] == 200
    assert (await ask(server, "POST", f"/conversations/{mine}/unarchive", {}))[0] == 200


async def test_the_default_profile_stays(server: LinkServer) -> None:
    assert await ask(server, "DELETE", "/profiles/default") == (400, "default_profile_not_mutable")
    assert await ask(server, "PATCH", "/profiles/default", {"name": "x"}) == (400, "default_profile_not_mutable")


async def test_a_profile_at_work_stays(server: LinkServer, alice: Home) -> None:
    lock = lock_gateway(alice.pid_file, now=1.0, name="alice")
    for process, code in (
        (GatewayProcess(7, 1.0, "http://127.0.0.1:8643", is_ready=True), "gateway_running"),
        (GatewayProcess(7, 1.0, "http://127.0.0.1:8642/p/alice", is_ready=True, is_busy=True), "profile_busy"),
    ):
        lock.announce(process)
        assert await ask(server, "DELETE", "/profiles/alice") == (409, code)
        assert await ask(server, "PATCH", "/profiles/alice", {"name": "bob", "description": "x"}) == (409, code)
    lock.release()
    with wanted(alice):  # another device is about to
        assert await ask(server, "DELETE", "/profiles/alice") == (409, "profile_busy")
    assert alice.exists()
    assert (await ask(server, "GET", "/profiles/alice/status"))[1]["profile"]["description"] is None


async def test_a_profile_that_still_has_to_answer_stays(server: LinkServer, alice: Home) -> None:
    asked = await conversation(server, "alice")
    await server.link.database.write(
        partial(
            runs.add,
            run_id="run_1",
            conversation_id=asked,
            user_message_id="msg_1",
            assistant_message_id="msg_2",
            status=RunStatus.QUEUED,
            profile="alice",
            model=None,
            now=1.0,
        )
    )
    assert await ask(server, "DELETE", "/profiles/alice") == (409, "profile_busy")
    assert await ask(server, "PATCH", "/profiles/alice", {"name": "bob"}) == (409, "profile_busy")
    assert alice.exists()


async def test_of_two_that_delete_one_wins(server: LinkServer, alice: Home, tmp_path: Path) -> None:
    answers = await asyncio.gather(*(ask(server, "DELETE", "/profiles/alice") for _ in range(4)))
    assert [status for status, _ in answers].count(204) == 1
    assert {code for status, code in answers if status != 204} <= {"profile_busy", "profile_not_found"}
    assert len(list((tmp_path / "trash").iterdir())) == 1
    assert not alice.path.exists()


async def test_data_that_others_may_use_too_is_renamed_at_the_machine(server: LinkServer, alice: Home) -> None:
    set_env(alice.env_file, "HERMES_DATABASE_URL", "postgresql://ada:word@db.example/hermes")
    assert await ask(server, "PATCH", "/profiles/alice", {"name": "bob"}) == (409, "profile_database_shared")


async def test_only_an_admin_changes_profiles(server: LinkServer, alice: Home) -> None:
    for method, path in (("POST", "/profiles"), ("PATCH", "/profiles/alice"), ("DELETE", "/profiles/alice")):
        answer = await server.chat.request(method, f"/api/v1{path}", json={"name": "x"})
        assert (answer.status_code, answer.json()["error"]["code"]) == (403, "scope_required")
    assert (await server.chat.get("/api/v1/profiles/alice/status")).status_code == 200
