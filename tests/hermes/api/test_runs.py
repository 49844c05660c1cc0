from __future__ import annotations

import asyncio
from typing import Any

import pytest

from hermes.core import event as events
from hermes.core.ports import ApprovalQuestion
from tests.support.api import (
    STARTED_AT,
    USAGE,
    FakeRunner,
    Pending,
    Sent,
    Server,
    hello,
    make_services,
    serving,
    sse_events,
)

RUN_ID = f"run_{1:032x}"
QUESTION = ApprovalQuestion(
    id="appr_1",
    run_id=RUN_ID,
    session_id="sess_1",
    tool="terminal",
    tool_call_id="call_1",
    command="rm -rf x",
    description="recursive delete",
    pattern="rm -rf *",
)


def kept(seq: int, name: str, **fields: Any) -> Sent:
    return Sent(
        None, {"event": name, "run_id": RUN_ID, "seq": seq, "timestamp": STARTED_AT + seq, **fields}, id=str(seq)
    )


HELLO = [
    kept(1, "run.started", session_id="sess_1", model="scripted"),
    kept(2, "message.delta", delta="Hello"),
    kept(3, "message.delta", delta=" there"),
    kept(4, "run.completed", output="Hello there", usage=USAGE, finish_reason="stop", model="scripted"),
]


async def test_a_run_is_told_whole(server: Server) -> None:
    await server.chat()
    server.runner.pending.append(Pending(QUESTION, 1_700_000_060.0))
    told = (await server.client.get(f"/v1/runs/{RUN_ID}")).json()
    assert told == {
        "object": "hermes.run",
        "run_id": RUN_ID,
        "status": "running",
        "session_id": "sess_1",
        "model": "scripted",
        "created_at": STARTED_AT,
        "updated_at": STARTED_AT,
        "started_at": None,
        "finished_at": None,
        "last_event": None,
        "last_seq": 0,
        "output": None,
        "finish_reason": None,
        "usage": {
            "input_tokens": 0,
            "output_tokens": 0,
            "total_tokens": 0,
            "cache_read_tokens": 0,
            "cache_write_tokens": 0,
            "reasoning_tokens": 0,
            "api_calls": 0,
            "cost_usd": None,
        },
        "parent_run_id": None,
        "delegated_usage": None,
        "error": None,
        "approvals": [
            {
                "approval_id": "appr_1",
                "request_id": "appr_1",
                "tool": "terminal",
                "tool_call_id": "call_1",
                "command": "rm -rf x",
                "description": "recursive delete",
                "choices": ["once", "session", "always", "deny"],
                "allow_permanent": True,
                "expires_at": 1_700_000_060.0,
                "subagent_id": None,
            }
        ],
        "clarifications": [],
        "pending_steer": False,
        "resumed": 0,
    }


@pytest.mark.parametrize(
    "run_id", ["run_unknown", "..", "%2e%2e", "a%2Fb", "x" * 200, "run_1'--", "%00", "run_%C3%A4", "*", "run_1;x"]
)
@pytest.mark.parametrize(
    ("method", "path"), [("GET", ""), ("GET", "/events"), ("POST", "/approval"), ("POST", "/stop")]
)
async def test_an_id_that_names_no_run_is_404(server: Server, run_id: str, method: str, path: str) -> None:
    response = await server.client.request(
        method, f"/v1/runs/{run_id}{path}", json={"choice": "once"} if method == "POST" else None
    )
    assert response.status_code == 404
    assert response.json()["error"]["code"] in ("run_not_found", "not_found")


@pytest.mark.parametrize(
    ("method", "path"), [("GET", ""), ("GET", "/events"), ("POST", "/approval"), ("POST", "/stop")]
)
async def test_somebody_elses_run_is_as_unknown_as_none(server: Server, method: str, path: str) -> None:
    await server.chat()
    runner = server.runner
    from dataclasses import replace

    runner.runs[RUN_ID] = replace(runner.runs[RUN_ID], owner="key_2")
    sent = {"choice": "once"} if method == "POST" else None
    foreign = await server.client.request(method, f"/v1/runs/{RUN_ID}{path}", json=sent)
    unknown = await server.client.request(method, f"/v1/runs/run_{9:032x}{path}", json=sent)
    assert foreign.status_code == unknown.status_code == 404
    assert foreign.text.replace(RUN_ID, "ID") == unknown.text.replace(f"run_{9:032x}", "ID")
    assert (runner.answers, runner.stopped) == ([], [])


async def test_events_are_told_from_the_first_to_the_last_with_their_numbers(server: Server) -> None:
    await server.chat()
    response = await server.client.get(f"/v1/runs/{RUN_ID}/events")
    assert response.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert sse_events(response.text) == HELLO
    assert response.text.endswith(": stream closed\n\n")


@pytest.mark.parametrize("after", [0, 1, 2, 3, 4, 99])
async def test_a_reader_goes_on_after_the_last_event_it_has(server: Server, after: int) -> None:
    await server.chat()
    by_query = await server.client.get(f"/v1/runs/{RUN_ID}/events?after={after}")
    by_header = await server.client.get(f"/v1/runs/{RUN_ID}/events", headers={"Last-Event-ID": str(after)})
    assert sse_events(by_query.text) == sse_events(by_header.text) == HELLO[after:]


async def test_a_reader_that_comes_again_to_the_same_url_gets_no_event_twice(server: Server) -> None:
    await server.chat()
    again = await server.client.get(f"/v1/runs/{RUN_ID}/events?after=1", headers={"Last-Event-ID": "3"})
    assert sse_events(again.text) == HELLO[3:]


@pytest.mark.parametrize("after", ["-1", "x", "1.5", "9" * 20, "+1", "%20"])
async def test_an_after_that_is_no_number_is_refused(server: Server, after: str) -> None:
    await server.chat()
    response = await server.client.get(f"/v1/runs/{RUN_ID}/events?after={after}")
    assert (response.status_code, response.json()["error"]["param"]) == (400, "after")


async def test_a_reader_that_leaves_does_not_stop_the_run() -> None:
    hold = asyncio.Event()
    async with serving(make_services(FakeRunner([*hello("Hi")[:2], hold, *hello("Hi")[2:]]))) as server:
        asking = asyncio.ensure_future(server.chat(headers={"X-Hermes-Detach": "true"}))
        async with asyncio.timeout(10):
            while not server.runner.runs:
                await asyncio.sleep(0.001)
        async with server.client.stream("GET", f"/v1/runs/{RUN_ID}/events") as response:
            assert "run events" in await anext(response.aiter_text())
        hold.set()
        assert (await asking).status_code == 200
        assert server.runner.stopped == []


async def test_an_open_reader_is_told_when_the_server_stops() -> None:
    async with serving(make_services(FakeRunner([hello("Hi")[0], asyncio.Event()]))) as server:
        asking = asyncio.ensure_future(server.chat(headers={"X-Hermes-Detach": "true"}))
        async with asyncio.timeout(10):
            while not server.runner.runs:
                await asyncio.sleep(0.001)
        async with server.client.stream("GET", f"/v1/runs/{RUN_ID}/events") as response:
            text = ""
            async for chunk in response.aiter_text():
                text += chunk
                if "run.started" in text:
                    server.services.stop.set()
        told = sse_events(text)
        assert (told[-1].event, told[-1].data["error"]["code"]) == ("error", "gateway_draining")
        await asyncio.wait((asking,))


async def test_an_approval_event_has_its_id_under_both_names() -> None:
    asked = events.ApprovalRequested("appr_1", "terminal", "call_1", "rm", "delete", ("once", "deny"), False, 1.0)
    async with serving(make_services(FakeRunner([asked, *hello("Hi")]))) as server:
        await server.chat()
        told = sse_events((await server.client.get(f"/v1/runs/{RUN_ID}/events")).text)
        assert told[0] == kept(
            1,
            "approval.request",
            approval_id="appr_1",
            tool="terminal",
            tool_call_id="call_1",
            command="rm",
            description="delete",
            choices=["once", "deny"],
            allow_permanent=False,
            expires_at=1.0,
            subagent_id=None,
            request_id="appr_1",
        )


async def test_an_answer_reaches_the_run_with_the_name_of_the_key(server: Server) -> None:
    await server.chat()
    path = f"/v1/runs/{RUN_ID}/approval"
    response = await server.client.post(path, json={"choice": "once", "approval_id": "appr_1", "reason": "ok"})
    assert response.json() == {
        "object": "hermes.run.approval_response",
        "run_id": RUN_ID,
        "choice": "once",
        "resolved": 1,
    }
    await server.client.post(path, json={"decision": "session", "request_id": "appr_2"})
    await server.client.post(path, json={"choice": "deny", "all": True})
    assert server.runner.answers == [
        (RUN_ID, "once", "appr_1", False, "owner", "ok"),
        (RUN_ID, "session", "appr_2", False, "owner", None),
        (RUN_ID, "deny", None, True, "owner", None),
    ]


@pytest.mark.parametrize("alias", ["approve", "approved", "allow"])
async def test_an_alias_is_told_back_as_the_choice_it_means(server: Server, alias: str) -> None:
    await server.chat()
    response = await server.client.post(f"/v1/runs/{RUN_ID}/approval", json={"choice": alias})
    assert response.json()["choice"] == "once"


@pytest.mark.parametrize("choice", ["maybe", None, 1, ["once"], {}, ""])
async def test_a_choice_that_is_none_is_refused(server: Server, choice: Any) -> None:
    await server.chat()
    response = await server.client.post(f"/v1/runs/{RUN_ID}/approval", json={"choice": choice})
    assert (response.status_code, response.json()["error"]["code"]) == (400, "invalid_approval_choice")
    assert server.runner.answers == []


@pytest.mark.parametrize("body", [{"approval_id": 1}, {"all": "yes"}, {"reason": []}, {"request_id": {}}])
async def test_a_wrong_field_of_an_answer_is_refused(server: Server, body: dict[str, Any]) -> None:
    await server.chat()
    response = await server.client.post(f"/v1/runs/{RUN_ID}/approval", json={"choice": "once", **body})
    assert (response.status_code, response.json()["error"]["param"]) == (400, next(iter(body)))


async def test_a_run_is_stopped_once(server: Server) -> None:
    await server.chat()
    first = await server.client.post(f"/v1/runs/{RUN_ID}/stop")
    again = await server.client.post(f"/v1/runs/{RUN_ID}/stop")
    assert (first.status_code, first.json()) == (200, {"run_id": RUN_ID, "status": "stopping"})
    assert (again.status_code, again.json()["error"]["code"]) == (409, "run_not_active")
