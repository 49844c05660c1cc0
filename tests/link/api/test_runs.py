"""Direct runs over a socket: started, relayed as they come, cancelled, counted whether anybody reads or not."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest

from hermeslink.app import open_link
from hermeslink.home import LinkHome
from hermeslink.store import usage as usage_store
from hermeslink.store.usage import Sum, Usage
from tests.support.clock import FakeClock
from tests.support.link import LinkServer, serving_link
from tests.support.link_stand_in import Emit, Fail, LinkStandIn, Wait, say

pytestmark = pytest.mark.sqlite("Link keeps its data in SQLite")


@pytest.fixture
async def stand_in(tmp_path: Path) -> AsyncIterator[LinkStandIn]:
    async with LinkStandIn() as server:
        server.write_env(tmp_path)
        yield server


@pytest.fixture
async def server(tmp_path: Path, stand_in: LinkStandIn) -> AsyncIterator[LinkServer]:
    async with serving_link(tmp_path) as serving:
        yield serving


async def started(server: LinkServer, **body: Any) -> str:
    answer = await server.chat.post("/api/v1/runs", json={"input": "Hi", **body})
    assert answer.status_code == 202
    assert answer.json() == {"run_id": answer.json()["run_id"], "fallback": False}
    return str(answer.json()["run_id"])


async def totals(server: LinkServer) -> Sum:
    return await totals_of(server.link)


async def totals_of(link: Any) -> Sum:
    usage: Usage = await link.database.read(lambda conn: usage_store.read(conn, "2000-01-01", "2100-01-01", most=5))
    return usage.totals


def events_in(text: str) -> list[dict[str, Any]]:
    return [orjson.loads(line[6:]) for line in text.splitlines() if line.startswith("data: ")]


async def test_a_run_is_relayed_byte_for_byte_and_counted_before_its_end_is_read(
    server: LinkServer, stand_in: LinkStandIn
) -> None:
    run_id = await started(server, model="m", instructions="be kind", sessionId="s-1")
    relayed = await server.chat.get(f"/api/v1/runs/{run_id}/events")

    own = await server.client.get(
        f"{stand_in.url}/v1/runs/{run_id}/events", headers={"Authorization": f"Bearer {stand_in.key}"}
    )
    assert relayed.headers["content-type"].startswith("text/event-stream")
    assert relayed.text == own.text.removesuffix(": stream closed\n\n")
    assert stand_in.runs[run_id].body == {
        "input": "Hi",
        "model": "m",
        "instructions": "be kind",
        "session_id": "s-1",
    }
    counted = await totals(server)
    assert (counted.run_count, counted.input_tokens, counted.output_tokens, counted.cost_usd) == (1, 7, 3, 0.5)


async def test_a_relay_goes_on_behind_the_last_event_that_was_read(server: LinkServer) -> None:
    run_id = await started(server)
    path = f"/api/v1/runs/{run_id}/events"
    whole = events_in((await server.chat.get(path)).text)

    assert [event["seq"] for event in whole] == [1, 2, 3, 4]
    assert events_in((await server.chat.get(path, headers={"Last-Event-ID": "2"})).text) == whole[2:]
    assert events_in((await server.chat.get(path, params={"after": "3"})).text) == whole[3:]
    assert events_in((await server.chat.get(path, params={"after": "4"})).text) == []


async def test_a_run_is_counted_once_though_nobody_and_though_everybody_reads_it(server: LinkServer) -> None:
    unread, read = await started(server), await started(server)
    await asyncio.gather(*(server.chat.get(f"/api/v1/runs/{read}/events") for _ in range(5)))

    async with asyncio.timeout(10):
        while (await totals(server)).run_count < 2:
            await asyncio.sleep(0.01)
    assert (await totals(server)).input_tokens == 14
    assert unread != read


@pytest.mark.parametrize("finished_at", [1_795_000_000_000, 1e300, -1, True, "2026-11-22T10:00:00Z"])
async def test_a_run_whose_end_is_told_in_another_way_is_counted_at_the_end_of_its_events(
    server: LinkServer, stand_in: LinkStandIn, finished_at: object
) -> None:
    stand_in.script = [say("Hello"), Wait()]
    run_id = await started(server)
    told = {"run_id": run_id, "finished_at": finished_at, "usage": stand_in.usage}
    stand_in.answers["GET", f"/v1/runs/{run_id}"] = (200, told)
    stand_in.release()

    events = events_in((await server.chat.get(f"/api/v1/runs/{run_id}/events")).text)
    assert events[-1]["event"] == "run.completed"
    today = (await server.chat.get("/api/v1/statistics/usage", params={"days": "1"})).json()["usage"]["totals"]
    assert (today["run_count"], today["input_tokens"]) == (1, 7)


async def test_a_run_that_went_on_while_link_was_down_is_counted_after(tmp_path: Path, stand_in: LinkStandIn) -> None:
    stand_in.script = [say("one"), Wait(), say("two")]
    home = LinkHome(tmp_path / "link")
    async with open_link(home, tmp_path, environ={}) as link:
        await link.direct_runs.start("default", {"input": "Hi"}, device_id="dev_1")
        assert (await totals_of(link)).run_count == 0
    stand_in.release()

    async with open_link(home, tmp_path, environ={}) as link, asyncio.timeout(10):
        while (await totals_of(link)).run_count < 1:
            await asyncio.sleep(0.01)


async def test_a_run_is_counted_after_an_outage_of_its_server(tmp_path: Path, stand_in: LinkStandIn) -> None:
    clock = FakeClock()
    stand_in.script = [Wait()]
    async with open_link(LinkHome(tmp_path / "link"), tmp_path, clock=clock, environ={}) as link:
        await link.direct_runs.start("default", {"input": "Hi"}, device_id="dev_1")
        await stand_in.stop()
        async with asyncio.timeout(10):
            await clock.someone_sleeps(1.0)
        stand_in.release()
        await stand_in.start()
        async with asyncio.timeout(10):
            while (await totals_of(link)).run_count < 1:
                clock.advance(1)
                await asyncio.sleep(0.01)


async def test_a_run_that_its_server_forgot_is_looked_for_no_more(
    tmp_path: Path, stand_in: LinkStandIn, server: LinkServer
) -> None:
    stand_in.script = [Wait()]
    run_id = await started(server)
    await stand_in.stop()
    await stand_in.forget()
    await stand_in.start()

    answer = await server.chat.get(f"/api/v1/runs/{run_id}/events")
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "run_not_found")
    assert (await totals(server)).run_count == 0


async def test_the_end_is_read_also_where_a_server_tells_of_runs_by_events_alone(
    server: LinkServer, stand_in: LinkStandIn
) -> None:
    run_id = await started(server)
    path = f"/v1/runs/{run_id}"
    events = server.link.direct_runs.follow(server.link.servers.of(), run_id, 0)
    stand_in.answers["GET", path] = (404, {"error": {"code": "not_found", "message": "no such route"}})
    assert [event.type async for event in events][-1] == "run.completed"
    assert (await totals(server)).input_tokens == 7


async def test_cancel_stops_the_agent_itself(server: LinkServer, stand_in: LinkStandIn) -> None:
    stand_in.script = [say("one"), Wait()]
    run_id = await started(server)

    answer = await server.chat.post(f"/api/v1/runs/{run_id}/cancel")
    assert answer.json() == {"ok": True, "run_id": run_id, "status": "stopping"}
    assert events_in((await server.chat.get(f"/api/v1/runs/{run_id}/events")).text)[-1]["event"] == "run.cancelled"
    again = await server.chat.post(f"/api/v1/runs/{run_id}/cancel")
    assert (again.status_code, again.json()["error"]["code"]) == (409, "run_not_active")


async def test_a_failure_of_the_run_is_an_event_and_no_failure_of_the_relay(
    server: LinkServer, stand_in: LinkStandIn
) -> None:
    stand_in.script = [Emit("tool.started", {"tool": "terminal"}), Fail("no credit")]
    run_id = await started(server)
    events = events_in((await server.chat.get(f"/api/v1/runs/{run_id}/events")).text)
    assert [event["event"] for event in events] == ["run.started", "tool.started", "run.failed"]


async def test_the_same_key_of_a_device_is_the_same_run_and_of_another_device_is_not(
    server: LinkServer, stand_in: LinkStandIn
) -> None:
    named = {"Idempotency-Key": "once"}
    path, body = "/api/v1/runs", {"input": "Hi"}
    first = await server.chat.post(path, json=body, headers=named)
    again = await server.chat.post(path, json=body, headers=named)
    other = await server.admin.post(path, json=body, headers=named)
    clash = await server.chat.post(path, json={"input": "Ho"}, headers=named)

    assert first.json() == again.json() != other.json()
    assert (clash.status_code, clash.json()["error"]["code"]) == (409, "idempotency_key_conflict")
    assert len(stand_in.runs) == 2


@pytest.mark.parametrize("body", [{}, {"input": ""}, {"input": " \n"}, {"input": []}, {"input": None}])
async def test_a_run_needs_something_to_do(server: LinkServer, body: dict[str, Any]) -> None:
    answer = await server.chat.post("/api/v1/runs", json=body)
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "run_input_required")


async def test_a_run_of_a_profile_that_is_none_is_404(server: LinkServer) -> None:
    answer = await server.chat.post("/api/v1/runs", json={"input": "Hi", "profile_name": "nobody"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "profile_not_found")


async def test_without_an_api_server_a_run_is_503_and_nothing_is_kept(
    server: LinkServer, stand_in: LinkStandIn
) -> None:
    await stand_in.stop()
    for answer in (
        await server.chat.post("/api/v1/runs", json={"input": "Hi"}),
        await server.chat.get("/api/v1/models"),
        await server.chat.get("/api/v1/cron-jobs"),
    ):
        assert (answer.status_code, answer.json()["error"]["code"]) == (503, "hermes_api_server_unavailable")


@pytest.mark.parametrize("run_id", ["run_nobody", "..", "a%2Fb", "%00", "x" * 5000])
async def test_a_run_that_was_not_started_here_is_404(server: LinkServer, run_id: str) -> None:
    for method, path in (("GET", "events"), ("POST", "cancel")):
        answer = await server.chat.request(method, f"/api/v1/runs/{run_id}/{path}")
        assert answer.status_code == 404


async def test_what_the_api_server_has_against_a_request_is_passed_on(
    server: LinkServer, stand_in: LinkStandIn
) -> None:
    error = {"message": "no such model 'm'", "code": "model_not_found", "param": "model"}
    stand_in.answers["POST", "/v1/runs"] = (404, {"error": error})
    refused = await server.chat.post("/api/v1/runs", json={"input": "Hi", "model": "m"})
    assert refused.status_code == 404
    told = refused.json()["error"]
    assert (told["code"], told["message"], told["field"]) == ("model_not_found", "no such model 'm'", "model")

    stand_in.answers["POST", "/v1/runs"] = (500, {"error": {"message": "oops", "code": "internal_error"}})
    assert (await server.chat.post("/api/v1/runs", json={"input": "Hi"})).status_code == 502


async def test_a_revoked_device_reads_no_more(server: LinkServer, stand_in: LinkStandIn) -> None:
    stand_in.script = [say("one"), Wait()]
    run_id = await started(server)
    with pytest.raises(httpx.HTTPError):
        async with server.chat.stream("GET", f"/api/v1/runs/{run_id}/events") as answer, asyncio.timeout(10):
            async for line in answer.aiter_lines():
                if "message.delta" in line:
                    await server.link.devices.revoke(None, server.chat_device.device.id)
            raise httpx.HTTPError("it ended in order")
    assert not stand_in.runs[run_id].has_ended
