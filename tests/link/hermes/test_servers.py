"""Link as a client of API servers: what it is told, and what it makes of those that are not there or refuse it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from hermes.core.errors import NotFound
from hermeslink.hermes.events import RemoteEvent
from hermeslink.hermes.problems import RunGone, ServerRefused, ServerUnauthorized, ServerUnavailable
from hermeslink.hermes.servers import ApiServer, ApiServers
from tests.support.link_stand_in import Ask, LinkStandIn, Wait, say

pytestmark = pytest.mark.sqlite("Link keeps its data in SQLite")


@pytest.fixture
async def stand_in(tmp_path: Path) -> AsyncIterator[LinkStandIn]:
    async with LinkStandIn() as server:
        server.write_env(tmp_path)
        yield server


@pytest.fixture
async def servers(tmp_path: Path, stand_in: LinkStandIn) -> AsyncIterator[ApiServers]:
    async with ApiServers(tmp_path, environ={}) as servers:
        yield servers


async def events_of(server: ApiServer, run_id: str, after: int = 0) -> list[RemoteEvent]:
    return [event async for event in server.follow(run_id, after)]


async def test_a_run_is_started_and_its_events_are_followed_to_the_end(
    servers: ApiServers, stand_in: LinkStandIn
) -> None:
    server = servers.of("default")

    run_id = await server.start_run({"input": "Hi"}, "key-1")
    events = await events_of(server, run_id)

    assert [(event.seq, event.type) for event in events] == [
        (1, "run.started"),
        (2, "message.delta"),
        (3, "message.delta"),
        (4, "run.completed"),
    ]
    assert "".join(event.data.get("delta", "") for event in events) == "Hello there"
    assert [event.seq for event in await events_of(server, run_id, 2)] == [3, 4]
    assert (await server.run(run_id))["status"] == "completed"


async def test_the_same_key_gives_the_same_run_and_another_body_is_a_conflict(servers: ApiServers) -> None:
    server = servers.of("default")
    first = await server.start_run({"input": "Hi"}, "key-1")

    assert await server.start_run({"input": "Hi"}, "key-1") == first
    with pytest.raises(ServerRefused) as refused:
        await server.start_run({"input": "Ho"}, "key-1")
    assert (refused.value.status, refused.value.code) == (409, "idempotency_key_conflict")


async def test_a_stream_that_breaks_off_is_gone_on_with_behind_the_last_event(
    servers: ApiServers, stand_in: LinkStandIn
) -> None:
    stand_in.script = [say("one"), Wait(), say("two")]
    server = servers.of("default")
    run_id = await server.start_run({"input": "Hi"})
    seen: list[RemoteEvent] = []

    with pytest.raises(ServerUnavailable):
        async for event in server.follow(run_id):
            seen.append(event)
            if event.type == "message.delta":
                await stand_in.stop()
    assert (await server.state()).state == "offline"
    await stand_in.start()
    stand_in.release()
    seen += await events_of(server, run_id, seen[-1].seq)

    assert [event.seq for event in seen] == [1, 2, 3, 4]


async def test_a_question_is_answered_and_a_run_is_stopped(servers: ApiServers, stand_in: LinkStandIn) -> None:
    server = servers.of("default")
    stand_in.scripts = [[Ask(), say("done")], [Wait()]]
    asking = await server.start_run({"input": "clean up"})
    async for event in server.follow(asking):
        if event.type == "approval.request":
            await server.approve(asking, event.data["approval_id"], "deny", "not now")
    assert stand_in.runs[asking].choices == {"appr_1": "deny"}

    waiting = await server.start_run({"input": "wait"})
    await server.stop(waiting)
    assert (await events_of(server, waiting))[-1].type == "run.cancelled"
    with pytest.raises(ServerRefused) as refused:
        await server.stop(waiting)
    assert refused.value.code == "run_not_active"


@pytest.mark.parametrize("run_id", ["run_nobody", "..", "a/b", ""])
async def test_an_unknown_run_is_gone(servers: ApiServers, run_id: str) -> None:
    server = servers.of("default")
    with pytest.raises(RunGone):
        await events_of(server, run_id)
    with pytest.raises(RunGone):
        await server.run(run_id)
    with pytest.raises(RunGone):
        await server.stop(run_id)


async def test_state_tells_online_offline_and_another_key(
    servers: ApiServers, stand_in: LinkStandIn, tmp_path: Path
) -> None:
    server = servers.of("default")
    online = await server.state()
    assert (online.state, online.issue, online.version) == ("online", None, "9.9")

    await stand_in.stop()
    offline = await server.state()
    assert offline.state == "offline"
    assert "hermes gateway" in (offline.issue or "")
    with pytest.raises(ServerUnavailable):
        await server.models()

    await stand_in.start(key="another")
    unauthorized = await server.state()
    assert unauthorized.state == "unauthorized"
    assert "API_SERVER_KEY" in (unauthorized.issue or "")
    with pytest.raises(ServerUnauthorized):
        await server.start_run({"input": "Hi"})

    stand_in.write_env(tmp_path)
    assert (await server.state()).state == "online"
    assert await server.models() == {"object": "list", "data": [{"id": "stand-in", "object": "model"}]}


async def test_a_server_that_says_nothing_is_offline_within_seconds(servers: ApiServers, stand_in: LinkStandIn) -> None:
    server = servers.of("default")
    await server.models()
    stand_in.stall()
    async with asyncio.timeout(10):
        assert (await server.state()).state == "offline"
    stand_in.unstall()
    assert (await server.state()).state == "online"


async def test_a_profile_without_a_key_is_told_how_to_get_one(servers: ApiServers, tmp_path: Path) -> None:
    env = tmp_path / ".env"
    env.write_text(env.read_text().replace("API_SERVER_KEY=stand-in-key", "API_SERVER_KEY="))
    state = await servers.of("default").state()
    assert (state.state, "openssl rand" in (state.issue or "")) == ("unauthorized", True)


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (200, [1]),
        (503, {"error": {"code": "gateway_draining", "message": "stopping"}}),
        (502, {}),
        (504, "no"),
        (302, {}),
    ],
)
async def test_what_may_pass_is_unavailable(
    servers: ApiServers, stand_in: LinkStandIn, status: int, body: object
) -> None:
    stand_in.answers["GET", "/v1/models"] = (status, body)
    with pytest.raises(ServerUnavailable):
        await servers.of("default").models()


@pytest.mark.parametrize(
    ("status", "body", "code", "message"),
    [
        (503, {"error": {"code": "no_model", "message": "connect one"}}, "no_model", "connect one"),
        (400, {"detail": "that is none"}, "hermes_api_server_refused", "that is none"),
        (400, {"error": "that is none"}, "hermes_api_server_refused", "that is none"),
        (500, {"error": {"code": 7, "message": None}}, "hermes_api_server_refused", "status 500"),
        (418, "tea", "hermes_api_server_refused", "status 418"),
    ],
)
async def test_what_does_not_pass_is_refused_in_the_servers_words(
    servers: ApiServers, stand_in: LinkStandIn, status: int, body: object, code: str, message: str
) -> None:
    stand_in.answers["GET", "/v1/models"] = (status, body)
    with pytest.raises(ServerRefused, match=message) as refused:
        await servers.of("default").models()
    assert (refused.value.status, refused.value.code) == (status, code)


async def test_a_server_without_capabilities_promises_nothing_and_serves(
    servers: ApiServers, stand_in: LinkStandIn
) -> None:
    stand_in.answers["GET", "/v1/capabilities"] = (404, {"error": {"code": "not_found", "message": "no"}})
    server = servers.of("default")
    assert not (await server.capabilities()).has_sessions_on_runs
    assert (await server.models())["object"] == "list"

    stand_in.answers["GET", "/v1/models"] = (404, "there is nothing here")  # any other web server
    state = await server.state()
    assert (state.state, state.issue) == ("offline", "the API server answers with status 404")


async def test_many_who_ask_at_once_look_for_it_once(servers: ApiServers, stand_in: LinkStandIn) -> None:
    server = servers.of("default")
    await asyncio.gather(*(server.models() for _ in range(20)))
    assert [path for _, path, _ in stand_in.asked].count("/v1/capabilities") == 1


async def test_a_server_that_moved_is_followed_with_the_next_call(
    servers: ApiServers, stand_in: LinkStandIn, tmp_path: Path
) -> None:
    server = servers.of("default")
    await server.models()
    async with LinkStandIn(key="elsewhere") as other:
        other.write_env(tmp_path)
        run_id = await server.start_run({"input": "Hi"})
        assert list(other.runs) == [run_id]


async def test_capabilities_say_whether_runs_have_sessions(servers: ApiServers, stand_in: LinkStandIn) -> None:
    assert not (await servers.of("default").capabilities()).has_sessions_on_runs
    assert (await servers.of("default").capabilities()).is_idempotent
    assert [path for _, path, _ in stand_in.asked] == ["/v1/capabilities"]


async def test_profiles_are_the_homes_and_others_are_not_found(servers: ApiServers, tmp_path: Path) -> None:
    (tmp_path / "profiles" / "alice").mkdir(parents=True)

    assert servers.profiles() == ["default", "alice"]
    assert servers.of("alice").profile == "alice"
    for name in ("bob", "../default", "", "Alice"):
        with pytest.raises(NotFound) as missing:
            servers.of(name)
        assert missing.value.code == "profile_not_found"


async def test_a_profile_is_reached_at_its_own_port(servers: ApiServers, stand_in: LinkStandIn, tmp_path: Path) -> None:
    async with LinkStandIn(key="of-alice") as own:
        own.write_env(tmp_path / "profiles" / "alice")
        run_id = await servers.of("alice").start_run({"input": "Hi"})
        assert run_id in own.runs
        assert not stand_in.runs


async def test_events_without_numbers_are_counted(servers: ApiServers, stand_in: LinkStandIn) -> None:
    stand_in.has_numbers = False
    server = servers.of("default")
    run_id = await server.start_run({"input": "Hi"})

    assert [event.seq for event in await events_of(server, run_id)] == [1, 2, 3, 4]
    assert [event.seq for event in await events_of(server, run_id, 2)] == [3, 4]


async def test_a_follower_that_leaves_leaves_no_connection(servers: ApiServers, stand_in: LinkStandIn) -> None:
    stand_in.script = [Wait()]
    server = servers.of("default")
    run_id = await server.start_run({"input": "Hi"})

    async def first() -> None:
        async for _ in server.follow(run_id):
            await asyncio.Event().wait()

    task = asyncio.create_task(first())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


@pytest.mark.parametrize(
    ("line", "state", "named"),
    [
        ('API_SERVER_KEY="two\\nlines"', "unauthorized", "API_SERVER_KEY"),
        ("API_SERVER_KEY=bell\x07", "unauthorized", "API_SERVER_KEY"),
        ("API_SERVER_HOST=http://somewhere", "offline", "API_SERVER_HOST"),
        ("API_SERVER_HOST=[::1", "offline", "API_SERVER_HOST"),
    ],
)
async def test_what_is_no_key_or_no_host_is_named(
    servers: ApiServers, tmp_path: Path, line: str, state: str, named: str
) -> None:
    with (tmp_path / ".env").open("a") as env:
        env.write(f"{line}\n")
    told = await servers.of().state()
    assert told.state == state
    assert named in (told.issue or "")
    with pytest.raises(ServerUnavailable):
        await servers.of().start_run({"input": "Hi"})
