"""One gateway a home."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from hermes.core.errors import Conflict
from hermes.home.locks import GatewayProcess, lock_gateway, running_gateway

HOLDER = """
import sys, time
from pathlib import Path
from hermes.home.locks import lock_gateway
lock_gateway(Path(sys.argv[1]), now=12.5)
print("locked", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def holder(tmp_path: Path):
    path = tmp_path / "run" / "gateway.pid"
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout and process.stdout.readline() == "locked\n"
    yield path, process
    process.kill()
    process.communicate()


def test_a_second_gateway_is_refused_with_the_pid_of_the_first(holder) -> None:
    path, process = holder
    with pytest.raises(Conflict, match=rf"already runs \(pid {process.pid}\)") as caught:
        lock_gateway(path, now=0.0)
    assert caught.value.code == "gateway_running"
    assert running_gateway(path) == GatewayProcess(process.pid, 12.5)


def test_a_killed_gateway_leaves_no_lock_behind(holder) -> None:
    path, process = holder
    process.kill()
    process.wait()
    assert path.read_text()
    assert running_gateway(path) is None
    lock_gateway(path, now=0.0).release()


def test_it_says_where_it_listens_while_it_runs_and_nothing_afterwards(tmp_path: Path) -> None:
    path = tmp_path / "gateway.pid"
    assert running_gateway(path) is None
    lock = lock_gateway(path, now=1.0)
    process = GatewayProcess(os.getpid(), 1.0, "http://127.0.0.1:8642")
    lock.announce(process)
    assert running_gateway(path) == process
    lock.release()
    lock.release()
    assert running_gateway(path) is None
    assert path.read_text() == ""
