from __future__ import annotations

import asyncio
import json
import secrets
import shutil
from pathlib import Path

import pytest

from hermes.core.errors import ToolFailed
from hermes.core.ports import ActionKind
from hermes.toolsets.settings import TerminalSettings

from .conftest import Bench, MakeBench, alive_within, gone_within


def number() -> str:
    """Seconds for a sleep that no other test sleeps: what it runs can be found by it."""
    return f"{secrets.randbelow(10**6) + 10**6}.{secrets.randbelow(10**6):06d}"


async def test_output_and_exit_code_come_back(bench: Bench) -> None:
    good = await bench.sh("echo one; echo two >&2")
    bad = await bench.sh("echo gone wrong; exit 3")

    assert good.content == "one\ntwo\n[exit code 0]"
    assert not good.is_error
    assert bad.content == "gone wrong\n[exit code 3]"
    assert bad.is_error
    assert bad.preview == "exit code 3: gone wrong"


async def test_directory_and_exported_variables_last_from_call_to_call(bench: Bench) -> None:
    (bench.workdir / "deep").mkdir()

    moved = await bench.sh("cd deep; export GREETING='hello\n  there'; hidden=1; greet() { echo \"$GREETING\"; }")
    later = await bench.sh('pwd; greet; echo "[$hidden]"')

    assert f"[directory is now {bench.workdir / 'deep'}]" in moved.content
    assert later.content == f"{bench.workdir / 'deep'}\nhello\n  there\n[]\n[exit code 0]"


async def test_an_unset_variable_stays_unset(bench: Bench) -> None:
    bench.environment["COLOUR"] = "red"
    await bench.sh("unset COLOUR")

    assert (await bench.sh('echo "[$COLOUR]"')).content.startswith("[]")


async def test_state_lasts_past_exit_set_e_and_a_failing_command(bench: Bench) -> None:
    await bench.sh("set -eu; export A=1; cd /; exit 7")
    await bench.sh("export B=2; false")

    assert (await bench.sh('echo "$A$B$PWD"; echo "${NOTHING}ok"')).content.startswith("12/\nok")


async def test_sessions_do_not_share_state(bench: Bench) -> None:
    await bench.sh("export A=mine; cd /", session="alice")

    assert (await bench.sh('echo "[$A]"; pwd', session="bob")).content.startswith(f"[]\n{bench.workdir}")


async def test_a_session_goes_on_where_it_was_after_a_restart(make_bench: MakeBench) -> None:
    before = make_bench()
    await before.sh("cd /; export A=kept")
    await before.registry.close()

    after = make_bench()

    assert (await after.sh('echo "$A"; pwd')).content.startswith("kept\n/")


async def test_workdir_counts_for_one_call(bench: Bench) -> None:
    (bench.workdir / "elsewhere").mkdir()

    there = await bench.sh("pwd", workdir="elsewhere")
    after = await bench.sh("pwd")

    assert there.content.startswith(str(bench.workdir / "elsewhere"))
    assert after.content == f"{bench.workdir}\n[exit code 0]"


async def test_a_workdir_that_is_none_is_told(bench: Bench) -> None:
    with pytest.raises(ToolFailed, match=r"workdir: .*nowhere is not a directory"):
        await bench.sh("pwd", workdir="nowhere")


async def test_a_directory_that_is_gone_is_told_and_left(bench: Bench) -> None:
    await bench.sh("mkdir gone && cd gone && rmdir ../gone")

    assert f"[{bench.workdir / 'gone'} is gone; this ran in {bench.workdir}]" in (await bench.sh("pwd")).content


async def test_standard_input_is_closed(bench: Bench) -> None:
    assert (await bench.sh("cat; read x || echo no input")).content.startswith("no input")


async def test_a_time_out_ends_the_whole_group_and_keeps_the_session(bench: Bench) -> None:
    nap = number()
    await bench.sh("cd /; export A=kept")

    result = await bench.sh(f"export A=lost; echo begun; (sleep {nap} & sleep {nap}) ", timeout=0.5)

    assert result.is_error
    assert "begun" in result.content
    assert "[killed after 0.5 seconds" in result.content
    assert gone_within(1, f"sleep {nap}")
    assert (await bench.sh('echo "$A$PWD"')).content.startswith("kept/")


async def test_what_ignores_sigterm_is_killed_after_the_grace(bench: Bench) -> None:
    nap = number()

    await bench.sh(f"trap '' TERM; while true; do sleep {nap}; done", timeout=0.3)

    assert gone_within(1, f"sleep {nap}")


async def test_cancelling_ends_setsid_grandchildren_within_a_second(bench: Bench) -> None:
    nap = number()
    deaf = f"setsid -f sh -c 'trap \"\" TERM HUP; sleep {nap}'"
    call = asyncio.create_task(bench.sh(f"{deaf}; env -i setsid -f sleep {nap}; (sleep {nap} &); sleep {nap}"))
    while not await asyncio.to_thread(alive_within, 0, f"sleep {nap}"):
        await asyncio.sleep(0)

    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        async with asyncio.timeout(5):
            await call

    assert gone_within(1, f"sleep {nap}")


async def test_a_child_that_leaves_the_pipe_open_does_not_hold_the_call(bench: Bench) -> None:
    nap = number()

    result = await bench.sh(f"sleep {nap} & echo started")

    assert result.content.startswith("started\n[1 process(es) it started still run, as proc_")
    assert alive_within(0, f"sleep {nap}")
    listed = await bench.call("process", action="list")
    assert "still run" in listed.content
    await bench.registry.end_run("run_1")
    assert gone_within(1, f"sleep {nap}")


async def test_pkill_with_the_commands_own_word_does_not_end_the_command(bench: Bench) -> None:
    word = f"marker{number()}"

    result = await bench.sh(f"pkill -f {word}; echo still here")

    assert "still here" in result.content


async def test_long_output_is_cut_in_the_middle_and_kept_on_disk(make_bench: MakeBench) -> None:
    bench = make_bench(TerminalSettings(output_characters=1000))

    result = await bench.sh("seq 1 100000")

    assert result.content.startswith("1\n2\n3\n")
    assert "99999\n100000\n[588,895 bytes of output in all, kept in " in result.content
    assert len(result.content) < 1400
    kept = Path(result.content.split("kept in ")[1].split("]")[0])
    assert kept.read_text().split() == [str(n) for n in range(1, 100001)]
    assert kept.stat().st_mode & 0o777 == 0o600


async def test_a_flood_of_output_neither_fills_the_disk_nor_hides_the_end(make_bench: MakeBench) -> None:
    bench = make_bench(TerminalSettings(piece_bytes=1 << 20))

    result = await bench.sh("head -c 20000000 /dev/zero | tr '\\0' x; echo; echo the end")

    assert "20,000,009 bytes of output in all" in result.content
    assert result.content.endswith("the end\n" + result.content[result.content.rindex("[20,000") :])
    on_disk = sum(path.stat().st_size for path in bench.run_dir.rglob("*.log*"))
    assert on_disk <= 3 << 20


async def test_short_output_leaves_nothing_on_disk(bench: Bench) -> None:
    await bench.sh("echo hi")

    assert not list(bench.run_dir.rglob("*.log*"))
    assert not list(bench.run_dir.rglob("*.sh"))
    assert not list((bench.run_dir / "processes").iterdir())


async def test_binary_output_and_escape_sequences_become_plain_text(bench: Bench) -> None:
    result = await bench.sh(r"printf '\033[31mred\033[0m \xff\x00 10%%\r100%%\n\a'")

    assert result.content == "100%\n\N{REPLACEMENT CHARACTER}\n[exit code 0]"


async def test_secrets_are_hidden_in_the_output(make_bench: MakeBench) -> None:
    bench = make_bench(secrets=("correct-horse-battery",))

    result = await bench.sh("echo correct-horse-battery; echo token sk-proj-abcdefghijklmnopqrstuvwx")

    assert result.content == "[redacted]\ntoken [redacted]\n[exit code 0]"


async def test_the_time_limit_has_an_upper_bound(bench: Bench) -> None:
    with pytest.raises(ToolFailed, match="at most 1800 seconds"):
        await bench.sh("true", timeout=10_000)


async def test_wrong_arguments_are_named(bench: Bench) -> None:
    tool = bench.tool("terminal")

    with pytest.raises(ToolFailed, match="terminal: command: is missing"):
        tool.parse("{}")
    with pytest.raises(ToolFailed, match="terminal: timeout: "):
        tool.parse('{"command": "ls", "timeout": -1}')
    with pytest.raises(ToolFailed, match="terminal: the arguments are not valid JSON"):
        tool.parse('{"command": ')


async def test_a_nul_byte_is_refused(bench: Bench) -> None:
    with pytest.raises(ToolFailed, match="NUL byte"):
        await bench.sh("echo \0")


async def test_the_action_is_the_real_command_where_it_would_run(bench: Bench) -> None:
    (bench.workdir / "deep").mkdir()
    await bench.sh("cd deep")
    tool = bench.tool("terminal")

    action = tool.action(tool.parse(json.dumps({"command": "rm -rf ../x"})), bench.context())

    assert action is not None
    assert (action.kind, action.text, action.workdir) == (ActionKind.COMMAND, "rm -rf ../x", bench.workdir / "deep")


async def test_it_works_where_bash_is_missing(make_bench: MakeBench) -> None:
    sh = shutil.which("dash") or "/bin/sh"
    bench = make_bench(TerminalSettings(shell=sh))

    await bench.sh("cd /; export A='x\ny'; exit 2")
    result = await bench.sh('echo "$A"; pwd')

    assert result.content == "x\ny\n/\n[exit code 0]"


async def test_calls_of_one_session_run_one_after_another(bench: Bench) -> None:
    first, second = await asyncio.gather(bench.sh("cd /; export A=1"), bench.sh('echo "$A$PWD"'))

    assert not first.is_error
    assert second.content.startswith("1/")


async def test_a_syntax_error_is_told(bench: Bench) -> None:
    result = await bench.sh("if")

    assert result.is_error
    assert "syntax error" in result.content


async def test_children_get_no_secrets(make_bench: MakeBench) -> None:
    bench = make_bench()

    listed = (await bench.sh("env; cat /proc/self/environ | tr '\\0' '\\n'; cat /proc/$PPID/environ")).content

    assert "API_KEY" not in listed
    assert "HERMES_HOME" not in listed
