"""A message that was taken in is answered once, in order, whatever happens to Link and to the API server meanwhile."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import update

from hermes.core.errors import Conflict, Forbidden, HermesError, InvalidInput, NotFound
from hermes.store.database import Connection, Database
from hermeslink.core.conversation import LinkEvent
from hermeslink.hermes.problems import ServerUnauthorized, ServerUnavailable
from hermeslink.store import conversations as conversation_store
from hermeslink.store import usage as usage_store
from hermeslink.store.schema import runs
from tests.support.link_conversations import link_database
from tests.support.link_sending import GUEST, PHONE, Desk, desk, text_of, types, unknown_conversation
from tests.support.link_stand_in import Ask, Emit, Fail, LinkStandIn, Wait, say

pytestmark = pytest.mark.sqlite("Link keeps its data in SQLite")

TOOL = Emit("tool.started", {"tool": "terminal", "tool_call_id": "c1", "preview": "ls", "args": {"command": "ls"}})
TOOL_DONE = Emit("tool.completed", {"tool": "terminal", "tool_call_id": "c1", "duration": 0.1, "error": None})


@pytest.fixture
async def stand_in(tmp_path: Path) -> AsyncIterator[LinkStandIn]:
    async with LinkStandIn() as running:
        running.write_env(tmp_path)
        yield running


@pytest.fixture
async def database() -> AsyncIterator[Database]:
    async with link_database() as opened:
        yield opened


@pytest.fixture
async def at(tmp_path: Path, database: Database, stand_in: LinkStandIn) -> AsyncIterator[Desk]:
    async with desk(tmp_path, database) as opened:
        yield opened


def asked(stand_in: LinkStandIn) -> list[dict[str, Any]]:
    """The bodies of the runs that were started."""
    return [body for method, path, body in stand_in.asked if (method, path) == ("POST", "/v1/runs")]


class TestAMessage:
    async def test_is_answered_and_everything_is_told_in_order(self, at: Desk, stand_in: LinkStandIn) -> None:
        stand_in.script = [say("Look:"), TOOL, TOOL_DONE, say("Two ", "files.")]
        conv = await at.new_conversation()
        answer = await at.send(conv, "How many files are here?")
        assert (answer["run"]["status"], answer["assistant_message"]["status"]) == ("running", "streaming")
        await at.until_run_ends(conv, answer["run"]["id"])
        events = await at.events(conv)
        deltas = [event for event in events if event.type == "message.delta"]
        assert [kind for kind in types(events) if kind != "message.delta"] == [
            "message.created",
            "message.created",
            "run.started",
            "conversation.updated",
            "tool.started",
            "tool.completed",
            "message.completed",
            "run.completed",
            "conversation.updated",
        ]
        assert [event.seq for event in events] == list(range(1, len(events) + 1))
        assert [event.payload["index"] for event in deltas] == list(range(len(deltas)))
        question, reply = await at.messages(conv)
        assert (question.text, question.status) == ("How many files are here?", "completed")
        assert (reply.text, reply.status) == ("Look:\n\nTwo files.", "completed")
        assert text_of(events, reply.id) == reply.text
        assert [(one.type, one.status) for one in reply.agent_events] == [("tool", "completed")]
        assert reply.usage == {"input_tokens": 7, "output_tokens": 3, "total_tokens": 10, "cost_usd": 0.5}

    async def test_counts_what_it_took_and_gives_the_conversation_a_title(self, at: Desk) -> None:
        conv = await at.new_conversation()
        answer = await at.send(conv, "Hello! How do tides work? Tell me all.")
        await at.until_run_ends(conv, answer["run"]["id"])
        found = await at.database.read(conversation_store.get, conv)
        assert found.title == "How do tides work?"
        stats = found.stats
        assert (stats.input_tokens, stats.output_tokens, stats.run_count, stats.message_count) == (7, 3, 1, 2)
        assert (stats.model, found.active_run_id) == ("stand-in", None)
        used = await at.database.read(lambda conn: usage_store.read(conn, "0000", "9999", most=5))
        assert (used.totals.run_count, used.totals.cost_usd, list(used.models)) == (1, 0.5, ["stand-in"])

    async def test_that_comes_again_gets_its_first_answer(self, at: Desk, stand_in: LinkStandIn) -> None:
        conv = await at.new_conversation()
        first = await at.send(conv, "Hello", "key", client_message_id="c1")
        await at.until_run_ends(conv, first["run"]["id"])
        assert await at.send(conv, "Hello", "key") == first
        assert await at.send(conv, "Hello", client_message_id="c1") == first
        await stand_in.stop()
        assert await at.send(conv, "Hello", "key") == first
        for again in ({"key": "key"}, {"client_message_id": "c1"}):
            with pytest.raises(Conflict) as told:
                await at.send(conv, "Something else", **again)
            assert told.value.code == "idempotency_key_conflict"
        assert len(await at.messages(conv)) == 2

    async def test_that_comes_many_times_at_once_is_one(self, at: Desk) -> None:
        conv = await at.new_conversation()
        answers = await asyncio.gather(*(at.send(conv, "Hello", "key") for _ in range(20)))
        assert all(answer == answers[0] for answer in answers)
        await at.until_idle(conv)
        assert len(await at.messages(conv)) == 2

    async def test_needs_something_to_say_and_somewhere_to_say_it(self, at: Desk) -> None:
        conv = await at.new_conversation()
        for text, values, code, kind in (
            ("  ", {}, "message_content_required", InvalidInput),
            ("Hi", {"attachments": (f"blob_{'0' * 32}",)}, "blob_not_found", NotFound),
            ("Hi", {"profile": "nobody"}, "profile_not_found", NotFound),
        ):
            with pytest.raises(kind) as told:
                await at.send(conv, text, **values)
            assert told.value.code == code
        with pytest.raises(NotFound) as told:
            await at.send(unknown_conversation(), "Hi")
        assert told.value.code == "conversation_not_found"
        assert await at.messages(conv) == [] and await at.events(conv) == []

    async def test_whose_model_fails_says_why_and_the_next_one_goes_on(self, at: Desk, stand_in: LinkStandIn) -> None:
        stand_in.scripts = [[say("Well"), Fail("the model is gone")], [say("Hello")]]
        conv = await at.new_conversation()
        first, second = await at.send(conv, "One"), await at.send(conv, "Two")
        failed = await at.until_run_ends(conv, first["run"]["id"])
        assert (failed.type, failed.payload["error"]["message"]) == ("run.failed", "the model is gone")
        await at.until_run_ends(conv, second["run"]["id"])
        texts = [(message.text, message.status.value) for message in await at.messages(conv)]
        assert texts[1::2] == [("Well", "failed"), ("Hello", "completed")]

    async def test_that_the_server_refuses_fails_with_the_servers_reason(self, at: Desk, stand_in: LinkStandIn) -> None:
        refusal = {"error": {"message": "no model is connected", "code": "no_model"}}
        stand_in.answers[("POST", "/v1/runs")] = (400, refusal)
        conv = await at.new_conversation()
        answer = await at.send(conv, "One")
        ended = await at.until_run_ends(conv, answer["run"]["id"])
        assert ended.payload["error"] == {"code": "no_model", "message": "no model is connected"}


class TestTheQueue:
    async def test_goes_on_in_order(self, at: Desk, stand_in: LinkStandIn) -> None:
        stand_in.scripts = [[Wait(), say("1")], [say("2")], [say("3")]]
        conv = await at.new_conversation()
        answers = [await at.send(conv, text) for text in ("One", "Two", "Three")]
        assert [answer["run"]["status"] for answer in answers] == ["running", "queued", "queued"]
        assert answers[1]["user_message"]["status"] == "queued"
        stand_in_waits = await _first_run(stand_in)
        stand_in.release()
        await at.until_idle(conv)
        assert stand_in_waits.status == "completed"
        assert [message.text for message in await at.messages(conv)] == ["One", "1", "Two", "2", "Three", "3"]
        assert [body["input"] for body in asked(stand_in)] == ["One", "Two", "Three"]
        assert all(message.status == "completed" for message in await at.messages(conv))

    async def test_is_still_there_after_a_restart(
        self, tmp_path: Path, database: Database, stand_in: LinkStandIn
    ) -> None:
        stand_in.scripts = [[Wait(), say("1")], [say("2")], [say("3")]]
        async with desk(tmp_path, database) as at:
            conv = await at.new_conversation()
            for text in ("One", "Two", "Three"):
                await at.send(conv, text)
            await _first_run(stand_in)
        stand_in.release()
        async with desk(tmp_path, database) as at:
            await at.until_idle(conv)
            assert [message.text for message in await at.messages(conv)] == ["One", "1", "Two", "2", "Three", "3"]
        assert len(stand_in.runs) == 3

    async def test_tells_each_run_what_was_said_before(self, at: Desk, stand_in: LinkStandIn) -> None:
        conv = await at.new_conversation()
        for text in ("One", "Two"):
            await at.until_run_ends(conv, (await at.send(conv, text))["run"]["id"])
        await at.send(conv, "Three")
        await at.until_idle(conv)
        assert "conversation_history" not in asked(stand_in)[0]
        assert asked(stand_in)[2]["conversation_history"] == [
            {"role": "user", "content": "One"},
            {"role": "assistant", "content": "Hello there"},
            {"role": "user", "content": "Two"},
            {"role": "assistant", "content": "Hello there"},
        ]

    async def test_takes_a_switch_of_model_with_the_next_message(self, at: Desk, stand_in: LinkStandIn) -> None:
        conv = await at.new_conversation(model_override="small")
        await at.send(conv, "One")
        await at.send(conv, "Two", model="large")
        await at.send(conv, "Three")
        await at.until_idle(conv)
        assert [body["model"] for body in asked(stand_in)] == ["small", "large", "large"]


class TestTheApiServer:
    async def test_that_does_not_answer_is_told_to_who_sends_into_an_idle_conversation(
        self, at: Desk, stand_in: LinkStandIn
    ) -> None:
        conv = await at.new_conversation()
        await stand_in.stop()
        with pytest.raises(ServerUnavailable):
            await at.send(conv, "Hello")
        await stand_in.start("another-key-that-is-long")
        with pytest.raises(ServerUnauthorized):
            await at.send(conv, "Hello")
        assert await at.messages(conv) == []

    async def test_that_went_away_gets_what_waits_when_it_is_back(self, at: Desk, stand_in: LinkStandIn) -> None:
        stand_in.scripts = [[say("1"), Wait(), say("!")], [say("2")]]
        conv = await at.new_conversation()
        await at.send(conv, "One")
        await at.until(conv, lambda event: event.type == "message.delta")
        await stand_in.stop()
        assert (await at.send(conv, "Two"))["run"]["status"] == "queued"
        stand_in.release()
        await stand_in.start()
        await at.until_idle(conv)
        messages = await at.messages(conv)
        assert [message.text for message in messages] == ["One", "1!", "Two", "2"]
        assert text_of(await at.events(conv), messages[1].id) == "1!"

    async def test_that_forgot_the_run_ends_it_with_the_reason(self, at: Desk, stand_in: LinkStandIn) -> None:
        stand_in.scripts = [[say("Half"), Wait()]]
        conv = await at.new_conversation()
        answer = await at.send(conv, "One")
        await at.until(conv, lambda event: event.type == "message.delta")
        await stand_in.stop()
        await stand_in.forget()
        await stand_in.start()
        ended = await at.until_run_ends(conv, answer["run"]["id"])
        assert (ended.type, ended.payload["error"]["code"]) == ("run.failed", "run_lost")
        reply = (await at.messages(conv))[1]
        assert (reply.text, reply.status) == ("Half", "failed")

    async def test_that_stays_away_is_not_waited_for_for_ever_and_is_told_to_stop_when_it_is_back(
        self, tmp_path: Path, database: Database, stand_in: LinkStandIn
    ) -> None:
        stand_in.scripts = [[say("Half"), Wait()]]
        async with desk(tmp_path, database, patience_seconds=0.0) as at:
            conv = await at.new_conversation()
            answer = await at.send(conv, "One")
            await at.until(conv, lambda event: event.type == "message.delta")
            await stand_in.stop()
            ended = await at.until_run_ends(conv, answer["run"]["id"])
            assert ended.payload["error"]["code"] == "hermes_api_server_unavailable"
            await stand_in.start()
            run = next(iter(stand_in.runs.values()))
            async with asyncio.timeout(20):
                while not run.has_ended:
                    await run.changed.wait()
            assert run.status == "cancelled"

    async def test_that_has_another_key_goes_on_when_it_is_known(
        self, at: Desk, stand_in: LinkStandIn, tmp_path: Path
    ) -> None:
        stand_in.scripts = [[say("1"), Wait(), say("!")]]
        conv = await at.new_conversation()
        answer = await at.send(conv, "One")
        await at.until(conv, lambda event: event.type == "message.delta")
        await stand_in.stop()
        await stand_in.start("another-key-that-is-long")
        assert (await at.servers.of("default").state()).state == "unauthorized"
        stand_in.write_env(tmp_path)
        stand_in.release()
        ended = await at.until_run_ends(conv, answer["run"]["id"])
        assert ended.type == "run.completed"
        assert (await at.messages(conv))[1].text == "1!"

    async def test_whose_events_have_no_numbers_is_followed_too(self, at: Desk, stand_in: LinkStandIn) -> None:
        stand_in.has_numbers = False
        conv = await at.new_conversation()
        await at.send(conv, "One")
        await at.until_idle(conv)
        assert (await at.messages(conv))[1].text == "Hello there"

    async def test_that_gives_an_answer_anew_takes_the_old_one_back(self, at: Desk, stand_in: LinkStandIn) -> None:
        resumed = Emit("run.resumed", {"reason": "restart", "void_after": 3})
        end = Emit("run.completed", {"output": "Three", "usage": {}})
        stand_in.script = [TOOL, TOOL_DONE, say("Two fi"), Wait(), resumed, say("Three"), end]
        conv = await at.new_conversation()
        await at.send(conv, "One")
        await at.until(conv, lambda event: event.type == "message.delta")
        stand_in.release()
        await at.until_idle(conv)
        reply = (await at.messages(conv))[1]
        assert reply.text == "Three"
        assert text_of(await at.events(conv), reply.id) == "Three"


class TestACancel:
    async def test_of_a_run_stops_the_agent(self, at: Desk, stand_in: LinkStandIn) -> None:
        stand_in.scripts = [[say("Half"), Wait(), say("never")], [say("Next")]]
        conv = await at.new_conversation()
        first, second = await at.send(conv, "One"), await at.send(conv, "Two")
        await at.until(conv, lambda event: event.type == "message.delta")
        run_id = first["run"]["id"]
        assert await at.sending.cancel(conv, run_id) == {"id": run_id, "status": "cancelled"}
        assert next(iter(stand_in.runs.values())).status == "cancelled"
        with pytest.raises(Conflict) as told:
            await at.sending.cancel(conv, run_id)
        assert told.value.code == "run_not_active"
        await at.until_run_ends(conv, second["run"]["id"])
        shown = [(message.text, message.status.value) for message in await at.messages(conv)]
        assert shown[1::2] == [("Half", "cancelled"), ("Next", "completed")]

    async def test_of_a_message_that_waits_takes_it_out_of_what_is_said(self, at: Desk, stand_in: LinkStandIn) -> None:
        stand_in.scripts = [[Wait()], [say("Three")]]
        conv = await at.new_conversation()
        first, second = await at.send(conv, "One"), await at.send(conv, "Two")
        await at.send(conv, "Three")
        assert (await at.sending.cancel(conv, second["run"]["id"]))["status"] == "cancelled"
        await _first_run(stand_in)
        await at.sending.cancel(conv, first["run"]["id"])
        await at.until_idle(conv)
        shown = [message.status.value for message in await at.messages(conv)]
        assert shown == ["completed", "cancelled", "cancelled", "cancelled", "completed", "completed"]
        history = asked(stand_in)[-1]["conversation_history"]
        assert history == [{"role": "user", "content": "One"}]

    async def test_while_the_server_is_away_ends_it_here_and_stops_it_there_later(
        self, at: Desk, stand_in: LinkStandIn
    ) -> None:
        stand_in.scripts = [[say("Half"), Wait(), say("never")]]
        conv = await at.new_conversation()
        answer = await at.send(conv, "One")
        await at.until(conv, lambda event: event.type == "message.delta")
        await stand_in.stop()
        assert (await at.sending.cancel(conv, answer["run"]["id"]))["status"] == "cancelled"
        await stand_in.start()
        run = next(iter(stand_in.runs.values()))
        async with asyncio.timeout(20):
            while not run.has_ended:
                await run.changed.wait()
        assert run.status == "cancelled"

    async def test_does_not_wait_for_a_server_that_says_nothing(
        self, tmp_path: Path, database: Database, stand_in: LinkStandIn
    ) -> None:
        stand_in.scripts = [[say("Half"), Wait(), say("never")]]
        async with desk(tmp_path, database, stop_seconds=0.1) as at:
            conv = await at.new_conversation()
            answer = await at.send(conv, "One")
            await at.until(conv, lambda event: event.type == "message.delta")
            stand_in.stall()
            assert (await at.sending.cancel(conv, answer["run"]["id"]))["status"] == "cancelled"
            stand_in.unstall()
            run = next(iter(stand_in.runs.values()))
            async with asyncio.timeout(20):
                while not run.has_ended:
                    await run.changed.wait()
            assert run.status == "cancelled"

    async def test_of_no_run_is_no_run(self, at: Desk) -> None:
        conv, other = await at.new_conversation(), await at.new_conversation()
        answer = await at.send(conv, "One")
        for where in (other, unknown_conversation()):
            with pytest.raises(NotFound):
                await at.sending.cancel(where, answer["run"]["id"])
        await at.until_idle(conv)

    async def test_of_a_conversation_that_is_deleted_stops_the_agent(self, at: Desk, stand_in: LinkStandIn) -> None:
        stand_in.scripts = [[say("Half"), Wait(), say("never")]]
        conv = await at.new_conversation()
        await at.send(conv, "One")
        await at.until(conv, lambda event: event.type == "message.delta")
        run = next(iter(stand_in.runs.values()))
        await at.log.write(conversation_store.delete, conv, 9.0, durable=True)
        at.sending.forget(conv)
        async with asyncio.timeout(20):
            while not run.has_ended:
                await run.changed.wait()
        assert run.status == "cancelled"


class TestAQuestion:
    async def ask(self, at: Desk, stand_in: LinkStandIn) -> tuple[str, str, dict[str, Any]]:
        stand_in.script = [Ask(), say("Done")]
        conv = await at.new_conversation()
        answer = await at.send(conv, "Clean up")
        event = await at.until(conv, lambda event: event.type == "approval.requested")
        return conv, answer["run"]["id"], event.payload

    async def test_reaches_the_devices_and_the_answer_the_run(self, at: Desk, stand_in: LinkStandIn) -> None:
        conv, run_id, asked_for = await self.ask(at, stand_in)
        assert (asked_for["command"], asked_for["tool"]) == ("rm -rf build", "terminal")
        assert asked_for["choices"] == ["once", "session", "deny"] and asked_for["expires_at"].endswith("Z")
        await self.decide(at, conv, asked_for["approval_id"], scope="session")
        await at.until_run_ends(conv, run_id)
        run = next(iter(stand_in.runs.values()))
        assert run.choices == {"appr_1": "session"}
        told = [event.payload for event in await at.events(conv) if event.type == "approval.resolved"]
        assert [(one["decision"], one["scope"]) for one in told] == [("approve", "session")]
        with pytest.raises(Conflict) as refused:
            await self.decide(at, conv, asked_for["approval_id"])
        assert refused.value.code == "approval_resolved"

    async def test_that_is_denied_is_denied(self, at: Desk, stand_in: LinkStandIn) -> None:
        conv, run_id, asked_for = await self.ask(at, stand_in)
        await self.decide(at, conv, asked_for["approval_id"], approved=False, reason="not now")
        await at.until_run_ends(conv, run_id)
        assert next(iter(stand_in.runs.values())).choices == {"appr_1": "deny"}
        reply = (await at.messages(conv))[1]
        assert [(one.type, one.status) for one in reply.agent_events] == [("approval", "failed")]

    async def test_that_two_answer_has_one_answer(self, at: Desk, stand_in: LinkStandIn) -> None:
        conv, run_id, asked_for = await self.ask(at, stand_in)
        both = await asyncio.gather(
            *(self.decide(at, conv, asked_for["approval_id"], approved=yes) for yes in (True, False)),
            return_exceptions=True,
        )
        assert sum(isinstance(one, HermesError) for one in both) == 1
        await at.until_run_ends(conv, run_id)
        resolved = [event for event in await at.events(conv) if event.type == "approval.resolved"]
        assert len(resolved) == 1

    async def test_is_answered_for_ever_by_an_admin_alone(self, at: Desk, stand_in: LinkStandIn) -> None:
        conv, run_id, asked_for = await self.ask(at, stand_in)
        with pytest.raises(Forbidden) as told:
            await at.approvals.decide(
                conv, asked_for["approval_id"], approved=True, scope="always", reason=None, caller=GUEST
            )
        assert told.value.code == "scope_required"
        await at.sending.cancel(conv, run_id)
        with pytest.raises(Conflict):
            await self.decide(at, conv, asked_for["approval_id"])

    async def test_of_a_run_that_ends_is_closed_with_it(self, at: Desk, stand_in: LinkStandIn) -> None:
        conv, run_id, asked_for = await self.ask(at, stand_in)
        await at.sending.cancel(conv, run_id)
        told = [event.payload for event in await at.events(conv) if event.type == "approval.resolved"]
        assert [(one["approval_id"], one["decision"]) for one in told] == [(asked_for["approval_id"], "deny")]

    async def test_is_unknown_elsewhere(self, at: Desk, stand_in: LinkStandIn) -> None:
        conv, _, asked_for = await self.ask(at, stand_in)
        other = await at.new_conversation()
        for where, which in ((other, asked_for["approval_id"]), (conv, f"appr_{'0' * 32}")):
            with pytest.raises(NotFound) as told:
                await self.decide(at, where, which)
            assert told.value.code == "approval_not_found"
        await self.decide(at, conv, asked_for["approval_id"])
        await at.until_idle(conv)

    async def decide(
        self,
        at: Desk,
        conv: str,
        approval_id: str,
        *,
        approved: bool = True,
        scope: str = "once",
        reason: str | None = None,
    ) -> None:
        await at.approvals.decide(conv, approval_id, approved=approved, scope=scope, reason=reason, caller=PHONE)


class TestSessions:
    @pytest.fixture
    def with_sessions(self, stand_in: LinkStandIn) -> LinkStandIn:
        stand_in.features |= {"session_resources": True, "session_continuity_header": "X-Hermes-Session-Id"}
        return stand_in

    async def say(self, at: Desk, conv: str, text: str) -> None:
        await at.until_run_ends(conv, (await at.send(conv, text))["run"]["id"])

    async def test_are_one_a_conversation_and_know_the_history_themselves(
        self, at: Desk, with_sessions: LinkStandIn
    ) -> None:
        conv = await at.new_conversation()
        with_sessions.answers[("GET", f"/api/sessions/{conv}")] = (200, {"session": {"id": conv, "title": None}})
        for text in ("One", "Two", "Three"):
            await self.say(at, conv, text)
        bodies = asked(with_sessions)
        assert [body["session_id"] for body in bodies] == [conv] * 3
        assert not any("conversation_history" in body for body in bodies)

    async def test_that_are_gone_are_replaced_and_the_history_is_sent_along(
        self, at: Desk, with_sessions: LinkStandIn
    ) -> None:
        conv = await at.new_conversation()
        for text in ("One", "Two", "Three"):
            await self.say(at, conv, text)
        bodies = asked(with_sessions)
        assert bodies[1]["session_id"] != conv
        assert [len(body.get("conversation_history", ())) for body in bodies] == [0, 2, 4]

    async def test_that_miss_what_was_said_to_another_profile_are_told(
        self, at: Desk, with_sessions: LinkStandIn, tmp_path: Path
    ) -> None:
        conv = await at.new_conversation()
        path = f"/api/sessions/{conv}"
        async with LinkStandIn() as other:
            other.write_env(tmp_path / "profiles" / "work")
            other.features |= with_sessions.features
            for one in (with_sessions, other):
                one.answers[("GET", path)] = (200, {"session": {"id": conv, "title": None}})
            for text, profile in (("1", None), ("2", "work"), ("3", None), ("4", "default"), ("5", None)):
                await at.until_run_ends(conv, (await at.send(conv, text, profile=profile))["run"]["id"])
        messages = await at.messages(conv)
        assert [message.profile for message in messages[::2]] == ["default", "work", "work", "default", "default"]
        lengths = [[len(body.get("conversation_history", ())) for body in asked(one)] for one in (with_sessions, other)]
        assert lengths == [[0, 6, 8], [2, 4]]

    async def test_give_their_title_and_take_the_conversations(self, at: Desk, with_sessions: LinkStandIn) -> None:
        conv = await at.new_conversation()
        path = f"/api/sessions/{conv}"
        with_sessions.answers[("GET", path)] = (200, {"session": {"id": conv, "title": None}})
        with_sessions.answers[("PATCH", path)] = (200, {"session": {}})
        await self.say(at, conv, "How do tides work?")
        await at.send(conv, "And then?")  # the title is given before the next run is begun
        await at.until_idle(conv)
        given = [body for method, _, body in with_sessions.asked if method == "PATCH"]
        assert given[0] == {"title": "How do tides work?"}
        with_sessions.answers[("GET", path)] = (200, {"session": {"id": conv, "title": "Tides"}})
        answer = await at.send(conv, "And now?")
        await at.until(
            conv,
            lambda event: event.type == "conversation.updated" and event.payload["conversation"]["title"] == "Tides",
        )
        await at.until_run_ends(conv, answer["run"]["id"])


class TestARestart:
    async def test_at_any_moment_loses_and_doubles_nothing(
        self, tmp_path: Path, database: Database, stand_in: LinkStandIn
    ) -> None:
        """Link is ended behind each of its events in turn; what was lost of its memory is all but the database."""
        stand_in.script = [say("a", "b"), TOOL, TOOL_DONE, say("c", "d"), say("e")]
        for moment in range(1, 14):
            async with desk(tmp_path, database, gather_seconds=0.0) as at:
                conv = await at.new_conversation()
                await at.send(conv, "One", "key-1" + conv)
                await at.send(conv, "Two", "key-2" + conv)
                await at.until(conv, partial(_is_behind, moment))
            async with desk(tmp_path, database, gather_seconds=0.0) as at:
                await at.until_idle(conv)
                events, messages = await at.events(conv), await at.messages(conv)
            assert [message.text for message in messages] == ["One", "ab\n\ncde", "Two", "ab\n\ncde"]
            assert [event.seq for event in events] == list(range(1, len(events) + 1))
            for kind, count in (("message.created", 4), ("tool.started", 2), ("tool.completed", 2)):
                assert types(events).count(kind) == count
            for kind in ("run.started", "run.completed", "message.completed"):
                assert types(events).count(kind) == 2
            for message in messages[1::2]:
                deltas = [event for event in events if event.message_id == message.id and event.type == "message.delta"]
                assert "".join(event.payload["text"] for event in deltas) == "ab\n\ncde"
                assert [event.payload["index"] for event in deltas] == list(range(len(deltas)))
        assert len(stand_in.runs) == 2 * 13

    @pytest.mark.parametrize("seed", range(4))
    async def test_among_outages_of_the_server_loses_and_doubles_nothing(
        self, tmp_path: Path, database: Database, stand_in: LinkStandIn, seed: int
    ) -> None:
        """Lives of Link end and the server goes away and comes back, at moments drawn by lot."""
        chance = random.Random(seed)
        stand_in.script = [say("a", "b"), TOOL, TOOL_DONE, say("c", "d"), Wait(), say("e")]
        first: dict[str, dict[str, Any]] = {}
        convs: list[str] = []
        for _ in range(12):
            async with desk(tmp_path, database, gather_seconds=0.0) as at:
                convs = convs or [await at.new_conversation() for _ in range(3)]
                for conv in chance.sample(convs, 2):
                    text = f"{conv} {sum(key.startswith(conv) for key in first)}"
                    with suppress(ServerUnavailable):
                        first[text] = await at.send(conv, text, text)
                        assert await at.send(conv, text, text) == first[text]
                for _ in range(chance.randrange(1, 40)):
                    await asyncio.sleep(0)
                match chance.randrange(4):
                    case 0:
                        await stand_in.stop()
                    case 1:
                        await stand_in.stop()
                        await stand_in.start()
                    case 2:
                        stand_in.release()
                for _ in range(chance.randrange(200)):
                    await asyncio.sleep(0)
            if chance.random() < 0.7:
                await stand_in.stop()
                await stand_in.start()
        async with desk(tmp_path, database, gather_seconds=0.0) as at:
            await stand_in.stop()
            await stand_in.start()
            releasing = asyncio.create_task(_release_always(stand_in))
            for conv in convs:
                await at.until_idle(conv)
                sent = [text for text in first if text.startswith(conv)]
                messages, events = await at.messages(conv), await at.events(conv)
                assert [message.text for message in messages[::2]] == sent
                assert {(message.text, message.status.value) for message in messages[1::2]} <= {
                    ("ab\n\ncde", "completed")
                }
                assert [event.seq for event in events] == list(range(1, len(events) + 1))
                assert types(events).count("run.completed") == types(events).count("run.started") == len(sent)
                for message in messages[1::2]:
                    assert text_of(events, message.id) == message.text
            releasing.cancel()
        assert len(stand_in.runs) == len(first), "each was begun once"

    async def test_after_the_run_was_asked_for_asks_for_the_same_one(
        self, tmp_path: Path, database: Database, stand_in: LinkStandIn
    ) -> None:
        """The answer to POST /v1/runs did come, and was lost with the process that read it."""
        async with desk(tmp_path, database) as at:
            conv = await at.new_conversation()
            answer = await at.send(conv, "One")
            before = (await at.until_run_ends(conv, answer["run"]["id"])).seq
        await database.write(_forget_the_answer, answer["run"]["id"])
        async with desk(tmp_path, database) as at:
            await at.until(conv, lambda event: event.type == "run.completed" and event.seq > before)
        assert len(asked(stand_in)) == 2 and asked(stand_in)[0] == asked(stand_in)[1]
        assert len(stand_in.runs) == 1

    async def test_of_a_server_without_idempotency_asks_for_nothing_twice(
        self, tmp_path: Path, database: Database, stand_in: LinkStandIn
    ) -> None:
        stand_in.features["idempotency"] = False
        async with desk(tmp_path, database) as at:
            conv = await at.new_conversation()
            answer = await at.send(conv, "One")
            await at.until_run_ends(conv, answer["run"]["id"])
        await database.write(_forget_the_answer, answer["run"]["id"])
        async with desk(tmp_path, database) as at:
            ended = await at.until(conv, lambda event: event.type == "run.failed")
        assert ended.payload["error"]["code"] == "run_outcome_unknown"
        assert len(stand_in.runs) == 1


async def _release_always(stand_in: LinkStandIn) -> None:
    while True:
        stand_in.release()
        await asyncio.sleep(0.01)


def _is_behind(moment: int, event: LinkEvent) -> bool:
    return event.seq >= moment


def _forget_the_answer(conn: Connection, run_id: str) -> None:
    """As if Link had been killed before it could keep what POST /v1/runs answered."""
    values = {"status": "running", "remote_id": None, "remote_seq": 0, "finished_at": None, "progress": "{}"}
    conn.execute(update(runs).where(runs.c.id == run_id).values(values))


async def _first_run(stand_in: LinkStandIn) -> Any:
    async with asyncio.timeout(20):
        while not stand_in.runs:
            await asyncio.sleep(0.005)
    return next(iter(stand_in.runs.values()))
