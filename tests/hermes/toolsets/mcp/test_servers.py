"""MCP servers as toolsets: real child processes and real HTTP servers, good ones and bad ones."""

from __future__ import annotations

import asyncio
import gzip
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil  # type: ignore[import-untyped]
import pytest

from hermes.core.errors import ToolFailed
from hermes.core.ports import Action, ActionKind
from hermes.toolsets.mcp.server import McpServer, Transport, Trust
from tests.support.clock import FakeClock
from tests.support.mcp_servers import ROOT, ROUGH, a_server, room
from tests.support.waiting import eventually

NAMES = ["echo", "write_note_v2", "environment", "slow", "cancelled", "die", "huge", "fails", "raises"]
NAMES += ["picture", "grow", "evil"]


def rough() -> McpServer:
    return McpServer(name="rough", transport=Transport.STDIO, command=sys.executable, args=(ROUGH,))


@pytest.fixture
def http_server() -> Iterator[str]:
    """The address of the server over HTTP."""
    yield from _over_http("--http", "mcp")


@pytest.fixture
def sse_server() -> Iterator[str]:
    """The same over the older transport."""
    yield from _over_http("--sse", "sse")


def _over_http(option: str, path: str) -> Iterator[str]:
    import socket

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    argv = [sys.executable, "-m", "tests.support.mcp_server", option, str(port)]
    with subprocess.Popen(argv, cwd=ROOT) as process:
        try:
            eventually(lambda: _answers(port), 30)
            yield f"http://127.0.0.1:{port}/{path}"
        finally:
            process.kill()


def _lives(pid: int) -> bool:
    """An orphan that was killed may wait for whoever is process 1 to notice."""
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def _answers(port: int) -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{port}/").status_code > 0
    except httpx.TransportError:
        return False


@pytest.mark.parametrize("era", [(), ("--legacy",)])
async def test_the_tools_of_a_server_are_a_toolset(tmp_path: Path, era: tuple[str, ...]) -> None:
    async with room(tmp_path, a_server("my.server", *era)) as there:
        state = next(one for one in there.registry.toolsets() if one.name == "mcp-my.server")
        assert (state.is_enabled, state.is_configured, state.problem) == (True, True, "")
        assert state.tools == tuple(f"mcp_my_server_{name}" for name in NAMES)
        assert there.state("my.server") == "connected 12"
        echo = there.registry.tools["mcp_my_server_echo"]
        assert echo.spec.description == "Give the text back"
        assert echo.spec.parameters == {
            "type": "object",
            "properties": {"text": {"type": "string", "description": "What to say"}},
            "required": ["text"],
        }
        assert (await there.call("mcp_my_server_echo", '{"text": "hi"}')).content == "echo: hi"
        evil = there.registry.tools["mcp_my_server_evil"]
        assert evil.spec.description == "(its description is left out: it tells its reader to ignore instructions)"


@pytest.mark.parametrize("era", [(), ("--legacy",)])
async def test_a_list_of_tools_that_changes_is_read_again(tmp_path: Path, era: tuple[str, ...]) -> None:
    async with room(tmp_path, a_server("s", *era)) as there:
        await there.call("mcp_s_grow")
        async with asyncio.timeout(10):
            while "mcp_s_grown0" not in there.registry.tools:
                await asyncio.sleep(0.01)
        assert (await there.call("mcp_s_grown0")).content == "called grown0"


@pytest.mark.parametrize("era", [(), ("--legacy",)])
async def test_a_call_that_is_cancelled_or_late_is_cancelled_at_the_server(
    tmp_path: Path, era: tuple[str, ...]
) -> None:
    async with room(tmp_path, a_server("s", *era, timeout_seconds=0.5)) as there:
        call = asyncio.create_task(there.call("mcp_s_slow"))
        await asyncio.sleep(0.2)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        with pytest.raises(ToolFailed, match=r"did not answer within 0.5 s \(setting mcp_servers.s.timeout\)"):
            await there.call("mcp_s_slow")
        assert (await there.call("mcp_s_cancelled")).content == "slow,slow"


async def test_calls_go_side_by_side_over_one_connection(tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    async with room(tmp_path, a_server("s", env={"MCP_TEST_MARK": str(mark)})) as there:
        slow = asyncio.create_task(there.call("mcp_s_slow"))
        said = await asyncio.gather(*(there.call("mcp_s_echo", f'{{"text": "{n}"}}') for n in range(20)))
        assert [one.content for one in said] == [f"echo: {n}" for n in range(20)]
        slow.cancel()
    assert len(mark.read_text().split()) == 1


async def test_what_a_tool_gives_is_made_text_and_cut(tmp_path: Path) -> None:
    async with room(tmp_path, a_server("s")) as there:
        huge = (await there.call("mcp_s_huge")).content
        assert len(huge) < 31_000
        assert "[… 2,970,000 characters left out …]" in huge
        assert (await there.call("mcp_s_picture")).content == (
            "[image, image/png, 3 bytes; it cannot be shown here]\n\n[resource plan at file:///plan.md]\n\n"
            '{"answer": 42}'
        )
        with pytest.raises(ToolFailed, match=r"^the disk of the service is full$"):
            await there.call("mcp_s_fails")
        with pytest.raises(ToolFailed, match=r"^The MCP server 's' refused the call: "):
            await there.call("mcp_s_raises")
        with pytest.raises(ToolFailed, match="mcp_s_echo: the arguments are not valid JSON"):
            await there.call("mcp_s_echo", '{"text": ')
        with pytest.raises(ToolFailed, match="mcp_s_echo: the arguments are not valid JSON"):
            await there.call("mcp_s_echo", r'{"text": "\ud83d"}')


async def test_a_server_that_dies_in_a_call_is_started_again_for_the_next(tmp_path: Path) -> None:
    async with room(tmp_path, a_server("s")) as there:
        with pytest.raises(ToolFailed, match="went away during the call; whether it took effect is not known"):
            await there.call("mcp_s_die")
        tool = there.registry.tools["mcp_s_echo"]  # as a turn has it that began before
        assert (await tool.run({"text": "again"}, there.context())).content == "echo: again"
        assert there.state("s") == "connected 12"


async def test_a_server_that_cannot_be_reached_has_a_problem_and_stops_nobody(tmp_path: Path, http_server: str) -> None:
    async with room(
        tmp_path,
        a_server("dead", "--dead"),
        McpServer(name="none", transport=Transport.STDIO, command="no-such-program"),
        McpServer(name="refused", transport=Transport.HTTP, url="http://127.0.0.1:9/mcp"),
        McpServer(name="wrong", transport=Transport.HTTP, url=http_server.replace("/mcp", "/other")),
        McpServer(name="cloud", transport=Transport.HTTP, url="http://169.254.169.254/mcp"),
        a_server("off", is_enabled=False),
        a_server("unset", problem="mcp_servers.unset.env.X asks for ${X}, which .env does not set"),
        a_server("good"),
        clock=FakeClock(),
    ) as there:
        assert there.state("dead") == (
            "failed 0 it ended before it answered; it said last: this server cannot start: no licence"
        )
        assert there.state("none") == "failed 0 there is no program 'no-such-program' on this machine"
        assert there.state("refused") == "failed 0 All connection attempts failed"
        assert there.state("wrong") == "failed 0 Not Found; it said last: POST /other: 404 Not Found"
        assert there.state("cloud").endswith("an address that hands out credentials of this machine")
        assert there.state("off") == "off 0 it is switched off in the settings (mcp_servers)"
        assert there.state("unset") == "off 0 mcp_servers.unset.env.X asks for ${X}, which .env does not set"
        offered = there.registry.select(None)
        assert [name for name in offered if name.startswith("mcp_")] == [f"mcp_good_{name}" for name in NAMES]
        assert there.registry.select(("mcp-dead",)) == {}
    assert "no licence" in (tmp_path / "mcp-dead.log").read_text()


async def test_a_server_that_keeps_few_rules_costs_only_what_is_wrong_of_it(tmp_path: Path) -> None:
    async with room(tmp_path, rough(), clock=FakeClock()) as there:
        specs = {name: tool.spec for name, tool in there.registry.tools.items() if name.startswith("mcp_")}
        assert list(specs) == [
            "mcp_rough_plain",
            "mcp_rough_a_b",
            "mcp_rough_a_b_82b8e658",
            "mcp_rough_" + "n" * 45 + "_3e879367",
            "mcp_rough_no_schema",
            "mcp_rough_list_schema",
            "mcp_rough_deep",
            "mcp_rough_wide",
            "mcp_rough_loop",
        ]
        assert all(len(name) <= 64 for name in specs)
        assert specs["mcp_rough_plain"].description == "Says its name"
        assert all(len(str(spec.parameters)) < 13_000 and len(spec.description) <= 1_000 for spec in specs.values())
        assert (
            await there.call("mcp_rough_a_b")
        ).content == '{"type": "hologram", "light": 3}\n\n"bare"\n\n{"type": "text"}'
        assert (await there.call("mcp_rough_loop")).content == 'called loop\n\n{"odd": true}'
        with pytest.raises(ToolFailed, match="answered with something that is no result of a tool"):
            await there.call("mcp_rough_a_b_82b8e658")


async def test_a_server_over_http_is_one_like_any_other(tmp_path: Path, http_server: str) -> None:
    server = McpServer(name="h", transport=Transport.HTTP, url=http_server, headers={"X-Key": "k" * 20})
    async with room(tmp_path, server) as there:
        assert there.state("h") == "connected 12"
        assert (await there.call("mcp_h_echo", '{"text": "hi"}')).content == "echo: hi"
        await there.call("mcp_h_grow")
        async with asyncio.timeout(10):
            while "mcp_h_grown0" not in there.registry.tools:
                await asyncio.sleep(0.01)
        with pytest.raises(ToolFailed, match="went away during the call"):
            await there.call("mcp_h_die")
        async with asyncio.timeout(10):
            while there.state("h").startswith("connected"):
                await asyncio.sleep(0.01)


async def test_a_server_of_the_older_kind_over_http_is_one_like_any_other(tmp_path: Path, sse_server: str) -> None:
    async with room(tmp_path, McpServer(name="h", transport=Transport.SSE, url=sse_server)) as there:
        assert there.state("h") == "connected 12"
        assert (await there.call("mcp_h_echo", '{"text": "hi"}')).content == "echo: hi"
        with pytest.raises(ToolFailed, match="went away during the call"):
            await there.call("mcp_h_die")
    assert not [task for task in asyncio.all_tasks() if task.get_name().startswith("mcp-")]


async def test_an_answer_over_http_that_is_packed_is_refused_unread(tmp_path: Path) -> None:
    bomb = gzip.compress(b" " * (64 << 20))
    asked: list[bytes] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append(await reader.readuntil(b"\r\n\r\n"))
        head = f"content-type: application/json\r\ncontent-encoding: gzip\r\ncontent-length: {len(bomb)}"
        writer.write(f"HTTP/1.1 200 OK\r\n{head}\r\n\r\n".encode() + bomb)
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/mcp"
        bad = McpServer(name="h", transport=Transport.HTTP, url=url)
        async with room(tmp_path, bad, clock=FakeClock()) as there:
            assert there.state("h") == "failed 0 the answer is packed (gzip), which was not asked for"
    assert b"accept-encoding: identity" in asked[0].lower()


async def test_a_session_that_brings_fewer_servers_is_offered_no_more_of_the_others(tmp_path: Path) -> None:
    async with room(tmp_path) as there:
        await there.servers.connect_session("sess_acp", [a_server("one"), a_server("two")])
        await there.servers.connect_session("sess_acp", [a_server("one")])
        assert set(there.registry.brought("sess_acp")) == {f"mcp_one_{name}" for name in NAMES}


async def test_who_waits_for_a_server_that_is_given_up_goes_on(tmp_path: Path) -> None:
    silent = McpServer(name="silent", transport=Transport.STDIO, command="sleep", args=("600",))
    async with room(tmp_path) as there, asyncio.timeout(10):
        first = asyncio.create_task(there.servers.connect_session("sess_acp", [silent]))
        while not any(tmp_path.joinpath("processes").glob("proc_*")):
            await asyncio.sleep(0.01)
        assert await there.servers.connect_session("sess_acp", []) == []
        [state] = await first
        assert (state.name, state.tools) == ("silent", 0)


async def test_a_child_gets_no_environment_but_its_own_and_its_words_are_redacted(tmp_path: Path) -> None:
    server = a_server("s", env={"TOKEN": "tok-of-the-server-1"}, secrets=("tok-of-the-server-1",))
    async with room(tmp_path, server) as there:
        there.registry.redactor.add(server.secrets)
        seen = (await there.call("mcp_s_environment")).content
        assert "'SEEN': 'yes'" in seen
        assert "'TOKEN': '[redacted]'" in seen
        assert "HERMES_HOME" not in seen


async def test_what_a_server_started_goes_with_it(tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    async with room(tmp_path, a_server("s", env={"MCP_TEST_MARK": str(mark)})):
        pid = int(mark.read_text())
        assert psutil.pid_exists(pid)
        assert len(list((tmp_path / "processes").iterdir())) == 1
    assert not psutil.pid_exists(pid)
    assert list((tmp_path / "processes").iterdir()) == []


@pytest.mark.parametrize("is_held", [True, False])
async def test_a_server_that_will_not_go_is_gone_within_two_seconds(tmp_path: Path, is_held: bool) -> None:
    mark = tmp_path / "mark"
    async with room(tmp_path, a_server("s", "--stubborn", env={"MCP_TEST_MARK": str(mark)})) as there:
        pids = [int(pid) for pid in mark.read_text().split()]
        assert [psutil.pid_exists(pid) for pid in pids] == [True, True]
        if not is_held:
            psutil.Process(pids[0]).parent().kill()  # its supervisor
            async with asyncio.timeout(10):
                while there.state("s").startswith("connected"):
                    await asyncio.sleep(0.01)
        began = time.monotonic()
        await there.registry.close()
        assert time.monotonic() - began < 2
    assert not any(_lives(int(pid)) for pid in mark.read_text().split())
    assert list((tmp_path / "processes").iterdir()) == []


async def test_the_owner_says_which_tools_there_are_and_which_need_no_question(tmp_path: Path) -> None:
    chosen = {"include": ("e*", "write*"), "exclude": ("evil",)}
    async with room(
        tmp_path,
        a_server("ask", **chosen),
        a_server("reading", trust=Trust.READ_ONLY, **chosen),
        a_server("all", trust=Trust.ALL, **chosen),
    ) as there:
        tools = there.registry.tools
        judged = {
            name: tool.action(tool.parse('{"text": "é"}'), there.context())
            for name, tool in tools.items()
            if name.startswith("mcp_") and "environment" not in name
        }
        trusted = {"mcp_reading_echo", "mcp_all_echo", "mcp_all_write_note_v2"}
        names = [f"mcp_{server}_{tool}" for server in ("ask", "reading", "all") for tool in ("echo", "write_note_v2")]
        assert judged == {
            name: Action(ActionKind.CALL, f'{name} {{"text": "é"}}', is_trusted=name in trusted) for name in names
        }


async def test_what_a_session_brings_is_seen_by_its_runs_alone_and_goes_with_it(tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    async with room(tmp_path, a_server("s")) as there:
        own = a_server("own", env={"MCP_TEST_MARK": str(mark)})
        states = await there.servers.connect_session("sess_acp", [own, a_server("bad", "--dead")])
        assert [(one.name, str(one.state), one.tools) for one in states] == [
            ("own", "connected", 12),
            ("bad", "failed", 0),
        ]
        assert (await there.call("mcp_own_echo", '{"text": "hi"}', "sess_acp")).content == "echo: hi"
        assert set(there.registry.brought("sess_acp")) == {f"mcp_own_{name}" for name in NAMES}
        assert there.registry.brought("sess_other") == {}
        assert "mcp_own_echo" not in there.registry.select(None)
        assert [one.name for one in there.registry.toolsets() if one.name.startswith("mcp")] == ["mcp-s"]
        await there.registry.close_session("sess_acp")
        assert there.registry.brought("sess_acp") == {}
        assert not psutil.pid_exists(int(mark.read_text()))


async def test_of_servers_that_are_changed_what_is_the_same_stays_and_what_is_gone_ends(tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    stays, goes = a_server("stays"), a_server("goes", env={"MCP_TEST_MARK": str(mark)})
    async with room(tmp_path, stays, goes, a_server("other")) as there:
        kept = there.servers._held["stays"].connection
        around = there.servers._surroundings
        other = a_server("other", exclude=("echo",))
        gone = await there.servers.change([a_server("new"), other, stays], around)
        assert gone == ("mcp-goes",)
        assert not psutil.pid_exists(int(mark.read_text()))
        there.registry.remove(*gone)
        await there.registry.ready(None)
        assert [(one.name, str(one.state), one.tools) for one in there.servers.states()] == [
            ("new", "connected", 12),
            ("other", "connected", 11),
            ("stays", "connected", 12),
        ]
        assert there.servers._held["stays"].connection is kept
        assert {one.name for one in there.registry.toolsets() if one.name.startswith("mcp")} == {
            "mcp-new",
            "mcp-other",
            "mcp-stays",
        }
        assert (await there.call("mcp_new_echo", '{"text": "hi"}')).content == "echo: hi"


async def test_a_change_that_was_cancelled_is_finished_by_the_next(tmp_path: Path) -> None:
    stays, goes, back = a_server("stays"), a_server("goes"), a_server("back")
    async with room(tmp_path, stays, goes, back) as there:
        around = there.servers._surroundings
        before = there.servers._held["back"].connection
        first = asyncio.create_task(there.servers.change([stays], around))
        await asyncio.sleep(0)
        first.cancel()
        await asyncio.wait([first])
        assert first.cancelled()
        assert await there.servers.change([stays, back], around) == ("mcp-goes",)
        await there.registry.ready(None)
        assert [(one.name, str(one.state)) for one in there.servers.states()] == [
            ("stays", "connected"),
            ("back", "connected"),
        ]
        assert there.servers._held["back"].connection is not before
