"""/v1/responses with the real runner: chains, branches, conversations, background, and what is kept of them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from itertools import pairwise
from typing import Any

import pytest
import sqlalchemy as sa

from hermes.api.services import ApiSettings
from hermes.core.errors import UpstreamError
from hermes.core.model import ModelDone, ModelItem, ReasoningDelta, TextDelta
from hermes.core.run import RunStatus
from hermes.core.untrusted import mark
from hermes.runs.runner import RunnerSettings
from hermes.store import runs as run_store
from hermes.store import sessions as session_store
from hermes.store.database import Connection, Database
from tests.support.api import AUTH
from tests.support.clock import FakeClock
from tests.support.database import new_url
from tests.support.models import ScriptedModel, calls, says
from tests.support.openresponses import check_input_items
from tests.support.responses import OTHER_KEY, Responses, TwoKeys, error_of, open_responses, read_stream, text_of
from tests.support.tools import EchoTool

ECHO = ("call_1", "echo", '{"text": "abc"}')
WEATHER = {"type": "function", "name": "get_weather", "parameters": {"type": "object", "properties": {}}}


@pytest.fixture
def model() -> ScriptedModel:
    return ScriptedModel([says(f"answer {number}") for number in range(1, 200)])


@pytest.fixture
async def api(model: ScriptedModel) -> AsyncIterator[Responses]:
    async with open_responses(model, EchoTool(), keys=TwoKeys()) as running:
        yield running


def asked(model: ScriptedModel, call: int = -1) -> list[tuple[str, str]]:
    """What the model was asked, without the instructions."""
    return [(m.role, m.text) for m in model.requests[call].messages if m.role != "system"]


def system_of(model: ScriptedModel, call: int = -1) -> str:
    return model.requests[call].messages[0].text


class TestChains:
    async def test_a_response_goes_on_with_the_newest_one_in_its_session(
        self, api: Responses, model: ScriptedModel
    ) -> None:
        first = await api.post({"input": "one"})
        second = await api.post({"input": "two", "previous_response_id": first.json()["id"]})
        assert asked(model) == [("user", "one"), ("assistant", "answer 1"), ("user", "two")]
        assert second.json()["previous_response_id"] == first.json()["id"]
        assert second.headers["x-hermes-session-id"] == first.headers["x-hermes-session-id"]

    async def test_one_that_goes_on_with_an_older_one_branches(self, api: Responses, model: ScriptedModel) -> None:
        first = await api.post({"input": "one"})
        await api.create("two", previous_response_id=first.json()["id"])
        branch = await api.post({"input": "other two", "previous_response_id": first.json()["id"]})
        assert asked(model) == [("user", "one"), ("assistant", "answer 1"), ("user", "other two")]
        made, parent = branch.headers["x-hermes-session-id"], first.headers["x-hermes-session-id"]
        session = await api.database.read(session_store.get, made)
        assert session is not None
        assert (made != parent, session.parent_session_id, session.message_count) == (True, parent, 4)

        await api.create("three", previous_response_id=branch.json()["id"])
        assert asked(model)[-3:] == [("user", "other two"), ("assistant", "answer 3"), ("user", "three")]
        assert len(asked(model)) == 5

    async def test_of_two_that_go_on_at_once_one_branches(self, api: Responses, model: ScriptedModel) -> None:
        first = await api.create("one")
        both = await asyncio.gather(
            *(api.post({"input": text, "previous_response_id": first["id"]}) for text in ("left", "right"))
        )
        sessions = {answer.headers["x-hermes-session-id"] for answer in both}
        assert [answer.status_code for answer in both] == [200, 200]
        assert len(sessions) == 2
        for call in (-1, -2):
            assert asked(model, call)[:2] == [("user", "one"), ("assistant", "answer 1")]
            assert asked(model, call)[2][1] in ("left", "right")
            assert len(asked(model, call)) == 3

    async def test_of_many_at_once_all_are_answered_and_each_from_the_same_place(
        self, api: Responses, model: ScriptedModel
    ) -> None:
        first = await api.create("one")
        answers = await asyncio.gather(
            *(api.post({"input": f"way {n}", "previous_response_id": first["id"]}) for n in range(12))
        )
        assert {answer.status_code for answer in answers} == {200}
        assert len({answer.headers["x-hermes-session-id"] for answer in answers}) == 12
        assert all(len(asked(model, -1 - n)) == 3 for n in range(12))

    async def test_a_response_waits_for_the_one_it_goes_on_with(self) -> None:
        going_on = asyncio.Event()
        model = ScriptedModel([[TextDelta("slow"), going_on, ModelDone("stop")], says("fast")])
        async with open_responses(model) as api:
            first = await api.create("one", background=True)
            waiting = await api.create("two", background=True, previous_response_id=first["id"])
            assert (first["status"], waiting["status"]) == ("in_progress", "queued")
            going_on.set()
            events = await api.resume(waiting["id"])
            assert [event["type"] for event in events[:3]] == [
                "response.created",
                "response.queued",
                "response.in_progress",
            ]
            assert events[-1]["response"]["status"] == "completed"
            assert asked(model) == [("user", "one"), ("assistant", "slow"), ("user", "two")]

    async def test_what_came_by_another_way_in_between_makes_it_branch(
        self, api: Responses, model: ScriptedModel
    ) -> None:
        first = await api.post({"input": "one"})
        session = first.headers["x-hermes-session-id"]
        chat = {"model": "hermes-agent", "messages": [{"role": "user", "content": "by chat"}]}
        told = await api.client.post("/v1/chat/completions", json=chat, headers={"X-Hermes-Session-Id": session})
        assert told.status_code == 200
        again = await api.post({"input": "two", "previous_response_id": first.json()["id"]})
        assert again.headers["x-hermes-session-id"] != session
        assert asked(model) == [("user", "one"), ("assistant", "answer 1"), ("user", "two")]

    @pytest.mark.parametrize("previous", ["resp_" + "0" * 32, "nonsense", "", "resp_\u00e9", "resp_" + "x" * 5000])
    async def test_an_unknown_previous_response_is_not_found(self, api: Responses, previous: str) -> None:
        answer = await api.post({"input": "Hi", "previous_response_id": previous})
        assert error_of(answer) == (404, "previous_response_not_found", "previous_response_id")

    async def test_instructions_hold_for_one_response_and_system_items_for_the_chain(
        self, api: Responses, model: ScriptedModel
    ) -> None:
        items = [{"role": "developer", "content": "Talk like a pirate."}, {"role": "user", "content": "one"}]
        first = await api.create(items, instructions="Say it twice.")
        assert first["instructions"] == "Say it twice."
        assert system_of(model).count("Say it twice.") == system_of(model).count("Talk like a pirate.") == 1
        second = await api.create("two", previous_response_id=first["id"])
        assert second["instructions"] is None
        assert "Say it twice." not in system_of(model)
        assert system_of(model).count("Talk like a pirate.") == 1
        third = [{"role": "system", "content": "Talk like a pirate."}, {"role": "user", "content": "three"}]
        await api.create(third, previous_response_id=second["id"])
        assert system_of(model).count("Talk like a pirate.") == 1
        branch = await api.create("other", previous_response_id=first["id"])
        assert branch["status"] == "completed"
        assert "Talk like a pirate." in system_of(model)


class TestConversations:
    async def test_a_named_conversation_is_made_on_first_use_and_gone_on_with(
        self, api: Responses, model: ScriptedModel
    ) -> None:
        first = await api.create("one", conversation="plans")
        second = await api.create("two", conversation={"id": "plans"})
        assert asked(model) == [("user", "one"), ("assistant", "answer 1"), ("user", "two")]
        assert first["conversation"] == second["conversation"] == {"id": "plans"}
        await api.create("three", previous_response_id=second["id"])
        await api.create("four", conversation="plans")
        assert len(asked(model)) == 7

    async def test_of_two_first_uses_at_once_both_are_of_one_conversation(
        self, api: Responses, model: ScriptedModel
    ) -> None:
        both = await asyncio.gather(*(api.post({"input": text, "conversation": "new"}) for text in ("a", "b")))
        assert len({answer.headers["x-hermes-session-id"] for answer in both}) == 1
        assert len(asked(model)) == 3

    async def test_each_owner_has_conversations_of_his_own(self, api: Responses, model: ScriptedModel) -> None:
        await api.create("one", conversation="plans")
        await api.create("two", conversation="plans", headers={"Authorization": f"Bearer {OTHER_KEY}"})
        assert asked(model) == [("user", "two")]

    async def test_a_conversation_and_a_previous_response_cannot_both_be_given(self, api: Responses) -> None:
        first = await api.create()
        answer = await api.post({"input": "x", "conversation": "plans", "previous_response_id": first["id"]})
        assert error_of(answer) == (400, "invalid_request", "conversation")

    @pytest.mark.parametrize("name", ["", "x" * 257, 7, {"id": None}, {}, [], "a\nb"])
    async def test_a_name_that_is_none_is_refused(self, api: Responses, name: Any) -> None:
        answer = await api.post({"input": "x", "conversation": name})
        assert error_of(answer) == (400, "invalid_request", "conversation")


class TestSessionHeaders:
    async def test_the_header_names_the_session_that_every_way_in_shares(
        self, api: Responses, model: ScriptedModel
    ) -> None:
        here = {"X-Hermes-Session-Id": "mine", "X-Hermes-Session-Key": "user 7"}
        answer = await api.post({"input": "one"}, here)
        assert (answer.headers["x-hermes-session-id"], answer.headers["x-hermes-session-key"]) == ("mine", "user 7")
        assert answer.headers["x-hermes-run-id"].startswith("run_")
        second = await api.create("two", here)
        assert second["previous_response_id"] is None
        assert asked(model) == [("user", "one"), ("assistant", "answer 1"), ("user", "two")]
        await api.create("three", here, previous_response_id=second["id"])
        assert len(asked(model)) == 5

    async def test_a_chain_of_another_session_than_the_header_names_is_refused(self, api: Responses) -> None:
        first = await api.create("one", conversation="plans")
        for fields in ({"previous_response_id": first["id"]}, {"conversation": "plans"}):
            answer = await api.post({"input": "x", **fields}, {"X-Hermes-Session-Id": "other"})
            assert error_of(answer) == (400, "invalid_request", next(iter(fields)))

    async def test_a_bad_or_foreign_session_is_refused(self, api: Responses) -> None:
        assert error_of(await api.post({"input": "x"}, {"X-Hermes-Session-Id": "a b"}))[1] == "invalid_session_id"
        assert error_of(await api.post({"input": "x"}, {"X-Hermes-Session-Key": "a" * 257}))[1] == "invalid_session_key"
        await api.create("x", {"X-Hermes-Session-Id": "mine"})
        stranger = {"X-Hermes-Session-Id": "mine", "Authorization": f"Bearer {OTHER_KEY}"}
        assert error_of(await api.post({"input": "x"}, stranger))[:2] == (404, "session_not_found")


class TestUnstored:
    async def test_nothing_of_it_can_be_retrieved_or_gone_on_with(self, api: Responses) -> None:
        response = await api.create(store=False)
        assert response["store"] is False
        assert (await api.client.get(f"/v1/responses/{response['id']}")).status_code == 404
        answer = await api.post({"input": "x", "previous_response_id": response["id"]})
        assert error_of(answer)[1] == "previous_response_not_found"

    async def test_it_reads_a_stored_chain_and_leaves_it_as_it_is(self, api: Responses, model: ScriptedModel) -> None:
        first = await api.create([{"role": "system", "content": "Be brief."}, {"role": "user", "content": "one"}])
        await api.create("aside", previous_response_id=first["id"], store=False)
        assert asked(model) == [("user", "one"), ("assistant", "answer 1"), ("user", "aside")]
        assert "Be brief." in system_of(model)
        await api.create("two", previous_response_id=first["id"])
        assert asked(model) == [("user", "one"), ("assistant", "answer 1"), ("user", "two")]
        await api.create("named", conversation="c")
        await api.create("aside", conversation="c", store=False)
        assert asked(model) == [("user", "named"), ("assistant", "answer 4"), ("user", "aside")]

    async def test_a_resent_history_is_not_stored_again(self, api: Responses, model: ScriptedModel) -> None:
        items = [
            {"role": "user", "content": "one"},
            {"role": "assistant", "content": "first"},
            {"role": "user", "content": "two"},
        ]
        answer = await api.post({"input": items, "store": False})
        assert asked(model) == [("user", "one"), ("assistant", "first"), ("user", "two")]
        session = answer.headers["x-hermes-session-id"]
        kept = await api.database.read(session_store.history, session)
        assert [m.text for m in kept] == ["two", "answer 1"]

    async def test_a_history_of_its_own_stands_in_for_the_stored_one(
        self, api: Responses, model: ScriptedModel
    ) -> None:
        first = await api.post({"input": "one"})
        history = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "instead"}]
        answer = await api.post(
            {"input": "two", "previous_response_id": first.json()["id"], "conversation_history": history}
        )
        assert asked(model) == [("user", "instead"), ("user", "two")]
        assert "Be brief." in system_of(model)
        kept = await api.database.read(session_store.history, answer.headers["x-hermes-session-id"])
        assert [m.text for m in kept] == ["one", "answer 1", "two", "answer 2"]


class TestTools:
    async def test_what_the_server_ran_is_a_call_and_its_whole_output(self) -> None:
        long = "x" * 5000
        model = ScriptedModel([calls(("c", "echo", f'{{"text": "{long}"}}'), text="Let me see."), says("Done")])
        async with open_responses(model, EchoTool()) as api:
            response = await api.create()
            events = await api.resume(response["id"])
            assert [item["type"] for item in response["output"]] == [
                "message",
                "function_call",
                "function_call_output",
                "message",
            ]
            assert response["output"][2]["output"] == f"echo: {long}"
            assert events[-1]["response"] == response == await api.get(response["id"])

    async def test_a_call_id_that_comes_again_is_told_apart(self) -> None:
        model = ScriptedModel([calls(ECHO), calls(("call_1", "echo", '{"text": "def"}')), says("Done")])
        async with open_responses(model, EchoTool()) as api:
            output = (await api.create())["output"]
            assert [(item["type"], item.get("call_id"), item.get("output")) for item in output[:4]] == [
                ("function_call", "call_1", None),
                ("function_call_output", "call_1", "echo: abc"),
                ("function_call", "call_1_2", None),
                ("function_call_output", "call_1_2", "echo: def"),
            ]

    @pytest.mark.parametrize(
        ("headers", "fields", "setting", "expected"),
        [
            ({}, {}, "function_call", "function_call"),
            ({}, {}, "mcp_call", "mcp_call"),
            ({"X-Hermes-Tool-Items": "mcp_call"}, {}, "function_call", "mcp_call"),
            ({"X-Hermes-Tool-Items": "function_call"}, {}, "mcp_call", "function_call"),
            ({}, {"tools": [WEATHER]}, "function_call", "mcp_call"),
            ({"X-Hermes-Tool-Items": "function_call"}, {"tools": [WEATHER]}, "mcp_call", "function_call"),
        ],
    )
    async def test_who_brings_tools_or_asks_sees_the_servers_as_mcp_calls(
        self, headers: dict[str, str], fields: dict[str, Any], setting: Any, expected: str
    ) -> None:
        model = ScriptedModel([calls(ECHO), says("Done")])
        async with open_responses(model, EchoTool(), settings=ApiSettings(tool_items=setting)) as api:
            response = await api.create("Hi", headers, **fields)
            assert response["output"][0]["type"] == expected
            assert await api.get(response["id"]) == response

    async def test_an_mcp_call_says_what_it_gave_or_why_it_failed(self) -> None:
        model = ScriptedModel([calls(ECHO, ("call_2", "none_such", "{}")), says("Done")])
        async with open_responses(model, EchoTool()) as api:
            events = await api.stream("Hi", {"X-Hermes-Tool-Items": "mcp_call"})
            good, bad, _ = events[-1]["response"]["output"]
            assert (good["status"], good["output"], good["error"]) == ("completed", "echo: abc", None)
            assert (good["server_label"], good["name"], good["arguments"]) == ("hermes", "echo", '{"text":"abc"}')
            assert (bad["status"], bad["output"], bad["error"]["type"]) == (
                "failed",
                None,
                "mcp_tool_execution_error",
            )
            assert "none_such" in bad["error"]["message"]
            of_good = [event["type"] for event in events if event.get("output_index") == 0]
            assert of_good == [
                "response.output_item.added",
                "response.mcp_call.in_progress",
                "response.mcp_call_arguments.delta",
                "response.mcp_call_arguments.done",
                "response.mcp_call.completed",
                "response.output_item.done",
            ]

    async def test_a_clients_tool_ends_the_turn_and_its_output_goes_on(self) -> None:
        model = ScriptedModel([calls(("call_w", "get_weather", "{}")), says("Sunny"), says("Again")])
        async with open_responses(model, EchoTool()) as api:
            first = await api.create("Weather?", tools=[WEATHER])
            call = first["output"][-1]
            assert (first["status"], call["type"], call["call_id"]) == ("completed", "function_call", "call_w")
            output = {"type": "function_call_output", "call_id": "call_w", "output": "sun"}
            second = await api.create([output], previous_response_id=first["id"], tools=[WEATHER])
            assert text_of(second) == "Sunny"
            assert [(m.role, m.text) for m in model.requests[1].messages[1:]] == [
                ("user", "Weather?"),
                ("assistant", ""),
                ("tool", mark("get_weather", "sun")),
            ]
            wrong = await api.post({"input": [output], "previous_response_id": second["id"]})
            assert error_of(wrong) == (400, "invalid_request", "input[0].call_id")
            alone = await api.post({"input": [output]})
            assert error_of(alone) == (400, "invalid_request", "input[0].call_id")
            resent = [{"role": "user", "content": "Weather?"}, *first["output"], output]
            assert text_of(await api.create(resent, tools=[WEATHER])) == "Again"

    async def test_what_a_client_sends_back_of_an_answer_is_understood(self) -> None:
        model = ScriptedModel([calls(ECHO, text="Look."), says("Done"), says("Fine")])
        async with open_responses(model, EchoTool()) as api:
            first = await api.create("one", {"X-Hermes-Tool-Items": "mcp_call"})
            await api.create([{"role": "user", "content": "one"}, *first["output"], {"role": "user", "content": "two"}])
            told = model.requests[-1].messages[1:]
            assert [(m.role, m.text) for m in told] == [
                ("user", "one"),
                ("assistant", "Look."),
                ("tool", mark("echo", "echo: abc")),
                ("assistant", "Done"),
                ("user", "two"),
            ]
            assert [call.name for call in told[1].tool_calls] == ["echo"]

    async def test_only_the_allowed_ones_of_a_clients_tools_are_offered(
        self, api: Responses, model: ScriptedModel
    ) -> None:
        tools = [WEATHER, {**WEATHER, "name": "other"}]
        choice = {"type": "allowed_tools", "mode": "auto", "tools": [{"type": "function", "name": "other"}]}
        response = await api.create(tools=tools, tool_choice=choice)
        assert response["tool_choice"] == choice
        assert [tool["name"] for tool in response["tools"]] == ["get_weather", "other"]
        assert [spec.name for spec in model.requests[-1].tools] == ["echo", "other"]


class TestApprovals:
    async def test_a_stream_asks_with_an_event_that_every_client_knows(self) -> None:
        tool = EchoTool(is_dangerous=True)
        model = ScriptedModel([calls(ECHO), says("Done")])
        async with open_responses(model, tool) as api:
            lines: list[str] = []
            request = api.client.stream("POST", "/v1/responses", json={"input": "Hi", "stream": True})
            async with request as answer:
                async for chunk in answer.aiter_text():
                    lines.append(chunk)
                    if '"approval.request"' in chunk:
                        run_id = answer.headers["x-hermes-run-id"]
                        told = await api.client.post(f"/v1/runs/{run_id}/approval", json={"choice": "once"})
                        assert told.status_code == 200
            events = read_stream("".join(lines))
            asked_for, answered = [
                event for event in events if event.get("hermes", {}).get("event", "").startswith("ap")
            ]
            assert asked_for["type"] == answered["type"] == "response.in_progress"
            assert asked_for["hermes"]["run_id"] == answer.headers["x-hermes-run-id"]
            assert (asked_for["hermes"]["command"], answered["hermes"]["choice"]) == ("abc", "once")
            assert tool.ran == ["abc"]
            assert await api.resume(events[0]["response"]["id"]) == events


class TestEnds:
    async def test_a_model_that_fails_is_an_error_and_its_response_says_so_later(self) -> None:
        model = ScriptedModel([[UpstreamError("down")], [TextDelta("Half"), UpstreamError("cut")]])
        async with open_responses(model) as api:
            answer = await api.post({"input": "Hi"})
            assert error_of(answer)[:2] == (502, "upstream_error")
            kept = await api.get(f"resp_{answer.headers['x-hermes-run-id'].removeprefix('run_')}")
            assert (kept["status"], kept["error"]["code"], kept["output"]) == ("failed", "upstream_error", [])
            events = await api.stream()
            assert [event["type"] for event in events[-2:]] == ["response.output_item.done", "response.failed"]
            assert events[-1]["response"]["error"] == {"code": "upstream_error", "message": "cut"}
            assert events[-1]["response"]["output"][0]["status"] == "incomplete"

    async def test_an_answer_that_is_cut_short_is_incomplete(self) -> None:
        model = ScriptedModel([says("Half", finish_reason="length"), says("No", finish_reason="content_filter")])
        async with open_responses(model) as api:
            response = await api.create(max_output_tokens=16)
            assert (response["status"], response["incomplete_details"]) == (
                "incomplete",
                {"reason": "max_output_tokens"},
            )
            assert (response["completed_at"], response["output"][0]["status"]) == (None, "incomplete")
            events = await api.stream()
            assert events[-1]["type"] == "response.incomplete"
            assert events[-1]["response"]["incomplete_details"] == {"reason": "content_filter"}

    async def test_reasoning_is_an_item_of_its_own(self) -> None:
        thinks: list[ModelItem] = [ReasoningDelta("Hm"), ReasoningDelta("m."), TextDelta("Yes"), ModelDone("stop")]
        model = ScriptedModel([thinks])
        async with open_responses(model) as api:
            events = await api.stream()
            assert [(event["type"], event.get("delta")) for event in events[2:9]] == [
                ("response.output_item.added", None),
                ("response.content_part.added", None),
                ("response.reasoning_text.delta", "Hmm."),
                ("response.reasoning_text.done", None),
                ("response.content_part.done", None),
                ("response.output_item.done", None),
                ("response.output_item.added", None),
            ]
            reasoning, message = events[-1]["response"]["output"]
            assert reasoning["content"] == [{"type": "reasoning_text", "text": "Hmm."}]
            assert (message["content"][0]["text"], reasoning["id"][:3]) == ("Yes", "rs_")

    async def test_a_client_that_leaves_ends_its_run_after_the_grace_unless_it_detached(self) -> None:
        clock, never = FakeClock(), asyncio.Event()
        model = ScriptedModel([[TextDelta("Half"), never] for _ in range(3)])
        async with open_responses(model, clock=clock) as api:
            for headers in ({}, {"X-Hermes-Detach": "true"}, {"Idempotency-Key": "k"}):
                body = {"input": "Hi", "stream": True}
                async with api.client.stream("POST", "/v1/responses", json=body, headers=headers) as answer:
                    run_id = answer.headers["x-hermes-run-id"]
                    async for chunk in answer.aiter_text():
                        if "Half" in chunk:
                            break
                if not headers:
                    await clock.someone_sleeps(2)
                    clock.advance(2.1)
                    ended = [one.event async for one in api.runner.follow(run_id)]
                    assert ended[-1].name == "run.cancelled"
                    response = await api.get(f"resp_{run_id.removeprefix('run_')}")
                    assert (response["status"], text_of(response)) == ("cancelled", "Half")
                else:
                    run = await api.runner.get(run_id, "owner")
                    assert run.status is RunStatus.RUNNING
            never.set()


class TestBackground:
    async def test_it_is_answered_at_once_and_read_later(self) -> None:
        going_on = asyncio.Event()
        model = ScriptedModel([[TextDelta("Hello"), going_on, TextDelta(" there"), ModelDone("stop")]])
        async with open_responses(model) as api:
            begun = await api.create(background=True)
            assert (begun["status"], begun["background"], begun["output"]) == ("in_progress", True, [])
            lines: list[str] = []
            async with api.client.stream("GET", f"/v1/responses/{begun['id']}?stream=true") as stream:
                async for chunk in stream.aiter_text():
                    lines.append(chunk)
                    if "Hello" in chunk and not going_on.is_set():
                        now = await api.get(begun["id"])
                        assert (now["status"], text_of(now)) == ("in_progress", "Hello")
                        going_on.set()
            events = read_stream("".join(lines))
            assert text_of(events[-1]["response"]) == "Hello there"
            assert await api.get(begun["id"]) == events[-1]["response"]

    async def test_cancelling_ends_it_and_keeps_what_was_said(self) -> None:
        model = ScriptedModel([[TextDelta("Half"), asyncio.Event()]])
        async with open_responses(model) as api:
            begun = await api.create(background=True)
            async with api.client.stream("GET", f"/v1/responses/{begun['id']}?stream=true") as stream:
                body = ""
                async for chunk in stream.aiter_text():
                    body += chunk
                    if "Half" in chunk:
                        told = await api.client.post(f"/v1/responses/{begun['id']}/cancel")
                        assert (told.json()["status"], text_of(told.json())) == ("cancelled", "Half")
            events = read_stream(body)
            assert (events[-1]["type"], events[-1]["response"]["status"]) == ("response.incomplete", "cancelled")
            again = await api.client.post(f"/v1/responses/{begun['id']}/cancel")
            assert again.json() == events[-1]["response"]

    async def test_only_a_background_response_can_be_cancelled(self, api: Responses) -> None:
        response = await api.create()
        answer = await api.client.post(f"/v1/responses/{response['id']}/cancel")
        assert error_of(answer)[:2] == (400, "response_not_background")

    async def test_it_needs_to_be_stored(self, api: Responses) -> None:
        answer = await api.post({"input": "x", "background": True, "store": False})
        assert error_of(answer) == (400, "invalid_request", "background")

    async def test_a_stream_in_the_background_outlives_its_client_and_starts_while_queued(self) -> None:
        first, second = asyncio.Event(), asyncio.Event()
        model = ScriptedModel([[first, ModelDone("stop")], [second, TextDelta("Late"), ModelDone("stop")]])
        async with open_responses(model, runner_settings=RunnerSettings(max_running=1)) as api:
            await api.create(background=True)
            body = {"input": "two", "background": True, "stream": True}
            async with api.client.stream("POST", "/v1/responses", json=body) as answer:
                response_id = f"resp_{answer.headers['x-hermes-run-id'].removeprefix('run_')}"
                head = await anext(answer.aiter_text())
                assert "response.queued" in head
            first.set()
            second.set()
            events = await api.resume(response_id)
            assert [event["type"] for event in events[:3]] == [
                "response.created",
                "response.queued",
                "response.in_progress",
            ]
            assert text_of(events[-1]["response"]) == "Late"


class TestReading:
    async def test_a_stream_read_again_from_anywhere_is_the_same(self) -> None:
        thinks = [ReasoningDelta("Hm"), TextDelta("Let me"), TextDelta(" see."), *calls(ECHO)]
        model = ScriptedModel([thinks, says("Do", "ne")])
        async with open_responses(model, EchoTool()) as api:
            events = await api.stream()
            response_id = events[0]["response"]["id"]
            assert await api.resume(response_id) == events
            for after in range(len(events)):
                assert await api.resume(response_id, after) == events[after + 1 :]

    async def test_a_strangers_response_is_as_unknown_as_none(self, api: Responses) -> None:
        response = await api.create()
        stranger = {"Authorization": f"Bearer {OTHER_KEY}"}
        for method, path in [
            ("GET", ""),
            ("GET", "?stream=true"),
            ("DELETE", ""),
            ("POST", "/cancel"),
            ("GET", "/input_items"),
        ]:
            theirs = await api.client.request(method, f"/v1/responses/{response['id']}{path}", headers=stranger)
            none = await api.client.request(method, f"/v1/responses/resp_{'0' * 32}{path}")
            assert error_of(theirs) == error_of(none) == (404, "response_not_found", "response_id")
        going_on = await api.client.post(
            "/v1/responses", json={"input": "x", "previous_response_id": response["id"]}, headers=stranger
        )
        assert error_of(going_on)[:2] == (404, "previous_response_not_found")

    @pytest.mark.parametrize(
        ("query", "param"),
        [
            ("?stream=maybe", "stream"),
            ("?stream=true&starting_after=-1", "starting_after"),
            ("?stream=true&starting_after=x", "starting_after"),
            ("?starting_after=1", "starting_after"),
            ("/input_items?limit=0", "limit"),
            ("/input_items?limit=101", "limit"),
            ("/input_items?order=up", "order"),
            ("/input_items?after=none", "after"),
        ],
    )
    async def test_a_bad_query_is_named(self, api: Responses, query: str, param: str) -> None:
        response = await api.create()
        answer = await api.client.get(f"/v1/responses/{response['id']}{query}")
        assert error_of(answer)[::2] == (400, param)

    async def test_input_items_are_paged_newest_first(self, api: Responses) -> None:
        items = [{"role": "user", "content": f"say {n}"} for n in range(5)]
        response = await api.create([{"role": "assistant", "content": "before"}, *items])
        path = f"/v1/responses/{response['id']}/input_items"
        page = (await api.client.get(path, params={"limit": 4})).json()
        assert [item["content"][0]["text"] for item in page["data"]] == ["say 4", "say 3", "say 2", "say 1"]
        assert (page["object"], page["has_more"], page["last_id"]) == ("list", True, page["data"][-1]["id"])
        rest = (await api.client.get(path, params={"after": page["last_id"]})).json()
        assert [item["content"][0]["text"] for item in rest["data"]] == ["say 0", "before"]
        assert rest["has_more"] is False
        oldest = (await api.client.get(path, params={"order": "asc", "limit": 1})).json()
        assert oldest["data"] == [rest["data"][-1]]
        check_input_items([*page["data"], *rest["data"]])

    async def test_a_reference_stands_for_a_stored_item(self, api: Responses, model: ScriptedModel) -> None:
        first = await api.create("What is it?")
        listed = (await api.client.get(f"/v1/responses/{first['id']}/input_items")).json()
        references = [listed["data"][0]["id"], first["output"][0]["id"]]
        items = [{"type": "item_reference", "id": references[0]}, {"id": references[1]}]
        await api.create([*items, {"role": "user", "content": "Why?"}])
        assert asked(model) == [("user", "What is it?"), ("assistant", "answer 1"), ("user", "Why?")]
        stranger = {"Authorization": f"Bearer {OTHER_KEY}"}
        answer = await api.post({"input": [*items, {"role": "user", "content": "Why?"}]}, stranger)
        assert error_of(answer) == (400, "invalid_request", "input[0].id")

    async def test_references_stand_for_no_more_than_a_request_could_have_brought(self) -> None:
        settings = ApiSettings(json_limit_bytes=10_000)
        async with open_responses(ScriptedModel([says("ok"), says("ok")]), settings=settings) as api:
            first = await api.create("x" * 4_000)
            listed = (await api.client.get(f"/v1/responses/{first['id']}/input_items")).json()
            twice = [{"id": listed["data"][0]["id"]}] * 2
            await api.create([*twice, {"role": "user", "content": "Why?"}])
            for path in ("/v1/responses", "/v1/responses/compact"):
                body = {"model": "m", "input": [*twice, twice[0]]}
                assert error_of(await api.client.post(path, json=body)) == (413, "body_too_large", "input")


class TestDeleting:
    async def test_a_deleted_response_is_gone_and_its_chain_goes_on(self, api: Responses, model: ScriptedModel) -> None:
        first = await api.create("one")
        second = await api.post({"input": "two", "previous_response_id": first["id"]})
        gone = await api.client.delete(f"/v1/responses/{first['id']}")
        assert gone.json() == {"id": first["id"], "object": "response", "deleted": True}
        assert (await api.client.get(f"/v1/responses/{first['id']}")).status_code == 404
        assert (await api.client.delete(f"/v1/responses/{first['id']}")).status_code == 404
        third = await api.create("three", previous_response_id=second.json()["id"])
        assert len(asked(model)) == 5
        for response_id in (second.json()["id"], third["id"]):
            await api.client.delete(f"/v1/responses/{response_id}")
        assert await api.database.read(session_store.get, second.headers["x-hermes-session-id"]) is None

    async def test_one_that_runs_is_not_deleted(self) -> None:
        going_on = asyncio.Event()
        async with open_responses(ScriptedModel([[going_on, ModelDone("stop")]])) as api:
            begun = await api.create(background=True)
            answer = await api.client.delete(f"/v1/responses/{begun['id']}")
            assert error_of(answer)[:2] == (409, "response_in_progress")
            going_on.set()


class TestIdempotency:
    @pytest.mark.parametrize("fields", [{}, {"store": False}, {"conversation": "c"}, {"background": True}])
    async def test_the_same_request_is_answered_again_byte_for_byte(
        self, api: Responses, model: ScriptedModel, fields: dict[str, Any]
    ) -> None:
        key = {"Idempotency-Key": "once"}
        first = await api.post({"input": "Hi", **fields}, key)
        if fields == {"background": True}:
            await api.resume(first.json()["id"])
            first = await api.post({"input": "Hi", **fields}, key)
        again = await api.post({"input": "Hi", **fields}, key)
        assert (again.content, again.headers["idempotency-replayed"]) == (first.content, "true")
        assert len(model.requests) == 1
        other = await api.post({"input": "Ho", **fields}, key)
        assert error_of(other)[:2] == (409, "idempotency_key_conflict")

    async def test_a_chain_is_not_branched_by_a_repeated_request(self, api: Responses, model: ScriptedModel) -> None:
        first = await api.create()
        body = {"input": "two", "previous_response_id": first["id"], "stream": True}
        streams = [await api.post(body, {"Idempotency-Key": "k"}) for _ in range(2)]
        assert read_stream(streams[0].text) == read_stream(streams[1].text)
        assert len(model.requests) == 2

    async def test_an_answer_to_a_clients_call_can_be_repeated(self) -> None:
        model = ScriptedModel([calls(("call_w", "get_weather", "{}")), says("Sunny")])
        async with open_responses(model) as api:
            await api.create("Weather?", conversation="c", tools=[WEATHER])
            output = {"type": "function_call_output", "call_id": "call_w", "output": "sun"}
            body = {"input": [output], "conversation": "c", "tools": [WEATHER]}
            answers = [await api.post(body, {"Idempotency-Key": "k"}) for _ in range(2)]
            assert [answer.status_code for answer in answers] == [200, 200]
            assert answers[0].content == answers[1].content


def rows_and_bytes(conn: Connection) -> dict[str, tuple[int, int]]:
    """Of every table that a response writes to."""
    driver: Any = conn.connection.driver_connection
    counted = {}
    for table, columns in {
        "messages": "content || coalesce(parts, '') || coalesce(tool_calls, '')",
        "responses": "request || input",
        "runs": "request || coalesce(output, '')",
        "events": "name || data",
        "response_chains": "session_id",
        "sessions": "id || preview || coalesce(system_prompt, '')",
    }.items():
        row = driver.execute(f"SELECT count(*), coalesce(sum(length({columns})), 0) FROM {table}").fetchone()
        counted[table] = (row[0], row[1])
    return counted


async def test_a_chain_grows_by_its_new_turn_only() -> None:
    turns = 50
    model = ScriptedModel([says("answer text") for _ in range(turns)])
    async with open_responses(model) as api:
        sizes, previous = [], None
        for turn in range(turns):
            fields: dict[str, Any] = {} if previous is None else {"previous_response_id": previous}
            previous = (await api.create(f"turn {turn:02}", **fields))["id"]
            sizes.append(await api.database.read(rows_and_bytes))
        assert len(model.requests[-1].messages) == 2 * turns
        growth = [
            {table: (after[table][0] - before[table][0], after[table][1] - before[table][1]) for table in after}
            for before, after in pairwise(sizes)
        ]
        # the whole size of a turn is the same in the middle of the chain and at its end
        assert growth[0] == growth[24] == growth[-1]
        assert {table: rows for table, (rows, _) in growth[-1].items()} == {
            "messages": 2,
            "responses": 1,
            "runs": 1,
            "events": 3,
            "response_chains": 0,
            "sessions": 0,
        }
        assert sum(size for _, size in growth[-1].values()) < 1500


async def test_a_chain_survives_a_restart(tmp_path: Any) -> None:
    url = new_url(tmp_path / "state.db")
    database = await Database.open(url)
    async with open_responses(ScriptedModel([says("answer 1")]), database=database) as api:
        first = await api.create("one")
    await database.close()
    database, model = await Database.open(url), ScriptedModel([says("answer 2")])
    async with open_responses(model, database=database) as api:
        assert await api.get(first["id"]) == first
        await api.create("two", previous_response_id=first["id"])
        assert asked(model) == [("user", "one"), ("assistant", "answer 1"), ("user", "two")]
    await database.close()


async def test_reading_a_response_keeps_its_chain_young() -> None:
    clock = FakeClock()
    async with open_responses(ScriptedModel([says("a")]), clock=clock) as api:
        answer = await api.post({"input": "Hi"})
        session, began = answer.headers["x-hermes-session-id"], clock.time
        clock.advance(3600)
        await api.get(answer.json()["id"])

        def used(conn: Connection) -> float:
            statement = sa.text("SELECT used_at FROM response_chains WHERE session_id = :session")
            return float(conn.execute(statement, {"session": session}).scalar_one())

        assert await api.database.read(used) == began + 3600


async def test_warnings_are_in_the_header_and_told_once_in_the_stream(api: Responses) -> None:
    fields = {"truncation": "auto", "include": ["message.output_text.logprobs"], "prompt": {"id": "x"}}
    answer = await api.post({"input": "Hi", "stream": True, **fields})
    told = answer.headers["x-hermes-warnings"]
    assert all(name in told for name in ("truncation", "include message.output_text.logprobs", "prompt"))
    events = read_stream(answer.text)
    warned = [event["hermes"]["message"] for event in events if event.get("hermes", {}).get("event") == "run.warning"]
    assert len(warned) == len(set(warned)) == 3


async def test_nothing_is_there_when_the_run_could_not_start(api: Responses) -> None:
    api.runner.is_draining = True
    assert error_of(await api.post({"input": "Hi"}))[:2] == (503, "gateway_draining")
    assert await api.database.read(run_store.list_runs, "owner") == []
    counted = await api.database.read(rows_and_bytes)
    assert (counted["responses"][0], counted["response_chains"][0]) == (0, 0)


async def test_it_needs_a_key(api: Responses) -> None:
    answer = await api.client.post("/v1/responses", json={"input": "x"}, headers={"Authorization": "Bearer no"})
    assert (answer.status_code, AUTH["Authorization"].startswith("Bearer")) == (401, True)
