from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil  # type: ignore[import-untyped]
import pytest

from hermes.toolsets.processes import MARK, Process, Processes, kill_marked, reap

from .conftest import Bench, alive_within, gone_within, living
from .test_terminal import number

GATEWAY = """
import asyncio, os, pathlib, sys
from hermes.core.clock import SystemClock
from hermes.core.ports import ToolContext
from hermes.toolsets.registry import build_registry

async def main(run_dir, command):
    registry = build_registry(run_dir=pathlib.Path(run_dir))
    context = ToolContext("s", "run", "call", pathlib.Path("/"), None, SystemClock(), dict(os.environ), {})
    terminal = registry.tools["terminal"]
    await terminal.run(terminal.parse('{"command": %s}' % __import__("json").dumps(command)), context)

asyncio.run(main(*sys.argv[1:]))
"""


def gateway(run_dir: Path, command: str) -> subprocess.Popen[bytes]:
    """A process of its own that runs a command, to be killed."""
    return subprocess.Popen([sys.executable, "-c", GATEWAY, str(run_dir), command])


def test_nothing_outlives_a_killed_gateway(tmp_path: Path) -> None:
    nap = number()
    process = gateway(tmp_path, f"setsid -f sleep {nap}; env -i setsid -f sleep {nap}; (sleep {nap} &); sleep {nap}")
    assert alive_within(20, f"sleep {nap}")

    process.kill()
    process.wait()

    assert gone_within(3, f"sleep {nap}")


def test_what_survives_even_its_supervisor_is_ended_at_the_next_start(tmp_path: Path) -> None:
    nap = number()
    process = gateway(tmp_path, f"setsid -f sleep {nap}; sleep {nap}")
    assert alive_within(20, f"sleep {nap}")
    (record,) = (tmp_path / "processes").glob("proc_*")
    supervisor = int(record.read_text().split()[2])

    os.kill(process.pid, signal.SIGSTOP)
    os.kill(supervisor, signal.SIGKILL)
    process.kill()
    process.wait()
    assert not gone_within(0, f"sleep {nap}")

    assert reap(tmp_path) >= 1
    assert gone_within(1, f"sleep {nap}")
    assert not list((tmp_path / "processes").iterdir())


def test_what_a_living_gateway_runs_is_left_alone(tmp_path: Path) -> None:
    nap = number()
    process = gateway(tmp_path, f"sleep {nap}")
    assert alive_within(20, f"sleep {nap}")
    try:
        assert reap(tmp_path) == 0
        assert living(f"sleep {nap}")
    finally:
        process.kill()
        process.wait()
    assert gone_within(3, f"sleep {nap}")


def test_a_pid_that_somebody_else_has_now_is_not_killed(tmp_path: Path) -> None:
    innocent = subprocess.Popen(["sleep", number()])
    records = tmp_path / "processes"
    records.mkdir()
    (records / "proc_old").write_text(f"1 1 {innocent.pid} 12345 {innocent.pid} 12345\n")
    try:
        assert reap(tmp_path) == 0
        assert innocent.poll() is None
    finally:
        innocent.kill()
        innocent.wait()


@pytest.mark.parametrize("text", ["", "garbage", "1 2 3", "a b c d e f", "\0\xff"])
def test_a_broken_record_stops_nothing(tmp_path: Path, text: str) -> None:
    (tmp_path / "processes").mkdir()
    (tmp_path / "processes" / "proc_x").write_text(text)

    assert reap(tmp_path) == 0
    assert not list((tmp_path / "processes").iterdir())


def test_a_marked_process_is_found_in_any_group(tmp_path: Path) -> None:
    nap = number()
    process = subprocess.Popen(["sleep", nap], start_new_session=True, env={**os.environ, MARK: f"proc_{nap}"})

    assert kill_marked([f"proc_{nap}"]) == 1
    assert process.wait(5) == -signal.SIGKILL


async def test_a_supervisor_that_is_killed_takes_its_command_with_it(bench: Bench) -> None:
    nap = number()
    process = await bench.started(f"sleep {nap}")
    assert alive_within(5, f"sleep {nap}")
    shell = living(f"sleep {nap}")[0]
    supervisor = next(p for p in [*shell.parents()] if "supervisor" in " ".join(p.cmdline()))

    supervisor.kill()

    result = await bench.call("process", action="wait", session_id=process)
    assert "killed by signal 9" in result.content
    with pytest.raises(psutil.NoSuchProcess):
        psutil.Process(supervisor.pid)


class EndedUnheard(asyncio.SubprocessTransport):
    """A process that has ended, of which its owner was not told yet."""

    def get_pipe_transport(self, fd: int) -> None:
        return None

    def kill(self) -> None:
        raise ProcessLookupError


async def test_a_process_that_ended_while_we_were_slow_is_no_failure_to_kill_it(tmp_path: Path) -> None:
    process = Process("proc_x", "s", "r", "true", tmp_path / "log", background=False)
    process.connection_made(EndedUnheard())

    await process.kill_and_wait(grace_seconds=-6)  # the time to wait for its end is over


def test_a_session_id_names_no_path(tmp_path: Path) -> None:
    processes = Processes(tmp_path)

    for session_id in ("..", ".", "a/../../b", "x" * 256, "a:b"):
        directory = processes.session_dir(session_id)
        assert directory.parent == tmp_path / "terminal"
        assert directory.resolve() == directory
    assert processes.session_dir("..") != processes.session_dir(".")
