from __future__ import annotations

import asyncio

import pytest

from hermes.core.errors import ToolFailed
from hermes.core.ports import ActionKind
from hermes.toolsets.settings import TerminalSettings

from .conftest import Bench, MakeBench, alive_within, gone_within
from .test_terminal import number


async def poll_until(bench: Bench, process: str, word: str) -> str:
    seen = ""
    async with asyncio.timeout(10):
        while word not in seen:
            seen += (await bench.call("process", action="poll", session_id=process)).content
    return seen


async def test_a_background_process_is_fed_and_followed(bench: Bench) -> None:
    process = await bench.started('while read line; do echo "got $line"; done; echo over')

    await bench.call("process", action="submit", session_id=process, data="one")
    await poll_until(bench, process, "got one")
    await bench.call("process", action="write", session_id=process, data="tw")
    await bench.call("process", action="write", session_id=process, data="o\n")
    await poll_until(bench, process, "got two")
    await bench.call("process", action="close", session_id=process)
    ended = await bench.call("process", action="wait", session_id=process)

    assert ended.content == "[exit code 0]\nover"
    whole = await bench.call("process", action="log", session_id=process)
    assert whole.content == "[exit code 0; lines 1-3 of 3]\ngot one\ngot two\nover"


async def test_poll_gives_only_what_is_new(bench: Bench) -> None:
    process = await bench.started("echo one; cat")
    await poll_until(bench, process, "one")

    assert "(no new output)" in (await bench.call("process", action="poll", session_id=process)).content


async def test_log_is_read_in_pages(bench: Bench) -> None:
    process = await bench.started("seq 1 10")
    await bench.call("process", action="wait", session_id=process)

    part = await bench.call("process", action="log", session_id=process, offset=3, limit=2)
    last = await bench.call("process", action="log", session_id=process, limit=2)

    assert part.content == "[exit code 0; lines 4-5 of 10]\n4\n5"
    assert last.content == "[exit code 0; lines 9-10 of 10]\n9\n10"


async def test_wait_ends_at_its_time_limit_and_the_process_goes_on(bench: Bench) -> None:
    nap = number()
    process = await bench.started(f"sleep {nap}")

    result = await bench.call("process", action="wait", session_id=process, timeout=0.1)

    assert result.content.startswith("[still running after 0.1 seconds]")
    assert alive_within(10, f"sleep {nap}")


async def test_kill_ends_the_process_with_all_it_started(bench: Bench) -> None:
    nap = number()
    process = await bench.started(f"setsid -f sleep {nap}; sleep {nap}")
    await bench.call("process", action="wait", session_id=process, timeout=0.2)

    result = await bench.call("process", action="kill", session_id=process)

    assert result.content == f"{process} and everything it started is ended."
    assert gone_within(1, f"sleep {nap}")


async def test_the_end_of_a_stopped_run_takes_its_background_processes_and_no_others(bench: Bench) -> None:
    mine, other = number(), number()
    await bench.started(f"sleep {mine}", run="run_1")
    await bench.started(f"sleep {other}", run="run_2")

    await bench.registry.end_run("run_1")

    assert gone_within(1, f"sleep {mine}")
    assert alive_within(10, f"sleep {other}")


async def test_closing_a_session_ends_it_and_removes_its_files(bench: Bench) -> None:
    nap = number()
    await bench.started(f"sleep {nap}")

    await bench.registry.close_session("s1")

    assert gone_within(1, f"sleep {nap}")
    assert not list(bench.run_dir.glob("terminal/*"))


async def test_another_sessions_process_is_not_there(bench: Bench) -> None:
    process = await bench.started("cat", session="alice")

    with pytest.raises(ToolFailed, match=f"There is no process '{process}' in this session. Those there are: none"):
        await bench.call("process", action="poll", session_id=process, session="bob")
    assert (await bench.call("process", action="list", session="bob")).content.startswith("No background processes")


async def test_too_many_processes_are_refused_with_the_way_out(make_bench: MakeBench) -> None:
    bench = make_bench(TerminalSettings(max_processes=2))
    await bench.started("cat")
    await bench.started("cat")

    with pytest.raises(ToolFailed, match=r"2 processes of this session still run.*process\(action='kill'"):
        await bench.started("cat")


async def test_a_background_process_starts_where_the_session_is(bench: Bench) -> None:
    await bench.sh("cd /; export A=here")
    process = await bench.started('echo "$A $PWD"')

    assert (await bench.call("process", action="wait", session_id=process)).content == "[exit code 0]\nhere /"


async def test_input_to_a_process_needs_the_same_approval_as_a_command(bench: Bench) -> None:
    tool = bench.tool("process")
    arguments = tool.parse('{"action": "submit", "session_id": "proc_1", "data": "rm -rf /"}')

    action = tool.action(arguments, bench.context())

    assert action is not None
    assert (action.kind, action.text) == (ActionKind.COMMAND, "rm -rf /")
    assert tool.action(tool.parse('{"action": "list"}'), bench.context()) is None


async def test_a_line_written_in_parts_is_judged_whole(bench: Bench) -> None:
    process = await bench.started("sh")
    await bench.call("process", action="write", session_id=process, data="ls\nrm -rf \\\n")
    tool = bench.tool("process")

    action = tool.action(tool.parse(f'{{"action": "write", "session_id": "{process}", "data": "/"}}'), bench.context())

    assert action is not None
    assert action.text == "rm -rf \\\n/"


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ({"action": "poll"}, "session_id: poll needs the id of a process"),
        ({"action": "write", "session_id": "proc_no", "data": "x"}, "There is no process 'proc_no'"),
        ({"action": "dance"}, "process: action: "),
    ],
)
async def test_a_wrong_call_says_what_is_wrong(bench: Bench, arguments: dict[str, str], reason: str) -> None:
    with pytest.raises(ToolFailed, match=reason):
        await bench.call("process", **arguments)
