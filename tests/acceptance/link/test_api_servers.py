"""Link's client in front of a real gateway: what it follows, what it survives, and how it finds a profile."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path

import pytest

from hermes.home.env import read_env, set_env
from hermes.home.paths import Home
from hermes.home.profiles import create_profile
from hermes.models.script import Call, Step
from hermes.models.scripted import ScriptedModelServer
from hermeslink.hermes.events import RemoteEvent
from hermeslink.hermes.problems import RunGone, ServerRefused, ServerUnavailable
from hermeslink.hermes.servers import ApiServer, ApiServers
from hermeslink.hermes.usage import usage_of
from tests.acceptance.conftest import Gateway, StartGateway

DANGEROUS = Call("terminal", {"command": "rm -rf build"}, id="call_1")


@pytest.fixture
async def servers(gateway: Gateway) -> AsyncIterator[ApiServers]:
    async with ApiServers(gateway.home, environ=gateway.environ) as servers:
        yield servers


async def events_of(server: ApiServer, run_id: str, after: int = 0) -> list[RemoteEvent]:
    return [event async for event in server.follow(run_id, after)]


async def test_a_run_of_a_session_is_followed_from_any_event(servers: ApiServers, model: ScriptedModelServer) -> None:
    model.add(Step("Good morning, all of you.", times=0))
    server = servers.of()
    capabilities = await server.capabilities()
    assert capabilities.has_sessions_on_runs
    assert capabilities.is_idempotent

    run_id = await server.start_run({"input": "Hi"}, "key-1", session_id="link-1")
    assert await server.start_run({"input": "Hi"}, "key-1", session_id="link-1") == run_id
    events = await events_of(server, run_id)
    told = await server.run(run_id)

    assert [event.seq for event in events] == list(range(1, len(events) + 1))
    assert "".join(event.data["delta"] for event in events if event.type == "message.delta") == told["output"]
    for after in range(len(events) + 1):
        assert await events_of(server, run_id, after) == events[after:]
    assert usage_of(told).input_tokens > 0
    await server.rename_session("link-1", "Mornings")
    assert (await server.session("link-1"))["title"] == "Mornings"


async def test_a_question_is_answered_and_a_run_is_stopped(servers: ApiServers, model: ScriptedModelServer) -> None:
    model.add(
        Step(when="clean up", after_tool=False, tool_calls=(DANGEROUS,)),
        Step(after_tool=True, text="So be it."),
        Step(when="wait", hang="before"),
    )
    server = servers.of()
    asking = await server.start_run({"input": "clean up"})
    async with aclosing(server.follow(asking)) as events:
        async for event in events:
            if event.type == "approval.request":
                await server.approve(asking, event.data["approval_id"], "deny", "not today")
            if event.type == "approval.responded":
                assert event.data["choice"] == "deny"
                with pytest.raises(ServerRefused) as refused:
                    await server.approve(asking, event.data["approval_id"], "once")
                assert refused.value.status == 409

    waiting = await server.start_run({"input": "wait"})
    async with aclosing(server.follow(waiting)) as events:
        async for event in events:
            if event.type == "run.started":
                await server.stop(waiting)
    assert event.type == "run.cancelled"
    with pytest.raises(ServerRefused) as refused:
        await server.stop(waiting)
    assert refused.value.code == "run_not_active"
    with pytest.raises(RunGone):
        await server.run("run_nobody")


async def test_a_killed_gateway_goes_on_with_the_run_and_its_follower_with_the_events(
    servers: ApiServers, gateway: Gateway, model: ScriptedModelServer
) -> None:
    model.add(Step("one two three four five six", delay_ms=200), Step("and on it went"))
    server = servers.of()
    run_id = await server.start_run({"input": "Hi"}, "key-1")
    seen: list[RemoteEvent] = []

    with pytest.raises(ServerUnavailable):
        async for event in server.follow(run_id):
            seen.append(event)
            if event.type == "message.delta":
                await asyncio.to_thread(gateway.kill)
    assert (await server.state()).state == "offline"
    await asyncio.to_thread(gateway.start)
    async with aclosing(server.follow(run_id, seen[-1].seq)) as events:
        seen += [event async for event in events]

    assert [event.seq for event in seen] == list(range(1, len(seen) + 1))
    assert seen[-1].type == "run.completed"
    assert await server.start_run({"input": "Hi"}, "key-1") == run_id


async def test_a_profile_is_reached_under_the_listener_of_the_default_one(
    servers: ApiServers, gateway: Gateway
) -> None:
    create_profile(gateway.home, "alice", clone=Home(gateway.home))
    server = servers.of("alice")
    assert [one["id"] for one in (await server.models())["data"]] == ["alice"]
    assert (await server.state()).state == "online"
    made = await server.jobs("POST", "", {"schedule": "@daily", "prompt": "look"})
    job_id = made["job"]["id"]
    assert [job["id"] for job in (await server.jobs("GET"))["jobs"]] == [job_id]
    assert (await servers.of().jobs("GET"))["jobs"] == []
    assert (await server.jobs("POST", f"{job_id}/pause"))["job"]["state"] == "paused"
    await server.jobs("DELETE", job_id)

    set_env(gateway.home / "profiles" / "alice" / ".env", "API_SERVER_KEY", "k" * 40)  # it counts at once, in both
    assert (await server.state()).state == "online"


async def test_a_gateway_on_a_port_that_nobody_wrote_down_is_found(start_gateway: StartGateway) -> None:
    gateway = start_gateway()
    set_env(gateway.home / ".env", "API_SERVER_KEY", gateway.key)
    async with ApiServers(gateway.home, environ={}) as servers:
        async with asyncio.timeout(20):
            while (await servers.of().state()).state != "online":  # it says where it listens a moment after it does
                await asyncio.sleep(0.02)
        assert read_env(gateway.home / ".env").get("API_SERVER_PORT") is None


async def test_a_key_that_was_changed_is_followed_once_both_agree(servers: ApiServers, gateway: Gateway) -> None:
    environ = {name: value for name, value in gateway.environ.items() if name != "API_SERVER_KEY"}
    set_env(gateway.home / ".env", "API_SERVER_KEY", "w" * 40)
    async with ApiServers(gateway.home, environ=environ) as others:
        assert (await others.of().state()).state == "unauthorized"
        set_env(Path(gateway.home / ".env"), "API_SERVER_KEY", gateway.key)
        assert (await others.of().state()).state == "online"
