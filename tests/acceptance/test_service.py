"""The gateway as a service, typed as a person types it: started, asked, restarted, stopped, installed."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent import futures
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest

from hermes.home.locks import running_gateway
from hermes.home.paths import Home
from hermes.models.script import Step
from hermes.models.scripted import ScriptedModelServer

LISTENING = re.compile(r"^\[API Server\] API server listening on (http://127\.0\.0\.1:\d+)$", re.M)


@dataclass
class Shell:
    """`shell("gateway", "start")`, with one home and nothing but a scripted model."""

    home: Path
    environ: dict[str, str]
    started: list[int] = field(default_factory=list)

    def __call__(self, *arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [sys.executable, "-m", "hermes", *arguments],
            env={**self.environ, **environ},
            cwd=self.home.parent,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        for name in ("gateway.pid", *(f"profiles/{each}/run/gateway.pid" for each in ("alice",))):
            with suppress(OSError, ValueError):
                file = self.home / name if "/" in name else self.home / "run" / name
                self.started.append(json.loads(file.read_text())["pid"])
        return done

    def gateway(self, name: str | None = None) -> Any:
        home = Home(self.home) if name is None else Home(self.home / "profiles" / name, name)
        return running_gateway(home.pid_file)


@pytest.fixture
def shell(tmp_path: Path, model: ScriptedModelServer) -> Iterator[Shell]:
    environ = {
        **{name: os.environ[name] for name in ("PATH", "PYTHONPATH") if name in os.environ},
        "HOME": str(tmp_path),
        "HERMES_HOME": str(tmp_path / "home"),
        "API_SERVER_PORT": "0",
        "OPENAI_API_KEY": "sk-x",
        "OPENAI_BASE_URL": model.base_url,
        "PYTHONWARNINGS": "default",
    }
    made = Shell(tmp_path / "home", environ)
    yield made
    for pid in set(made.started):
        with suppress(ProcessLookupError, FileNotFoundError):
            if b"hermes" in Path(f"/proc/{pid}/cmdline").read_bytes():
                os.kill(pid, signal.SIGKILL)


def url_in(text: str) -> str:
    found = LISTENING.search(text)
    assert found is not None, text
    return found[1]


def test_start_returns_when_it_answers_and_says_what_a_foreground_start_says(shell: Shell) -> None:
    done = shell("gateway", "start")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(f"Made a home in {shell.home}")
    assert httpx.get(url_in(done.stdout) + "/health").status_code == 200
    assert re.search(r"^Model: \S+ of ", done.stdout, re.M), "which model answers, also where finding it takes a moment"
    process = shell.gateway()
    assert f"(pid {process.pid})" in done.stdout
    assert os.getsid(process.pid) == process.pid, "a session of its own: it outlives the terminal"
    assert (shell.home / "logs" / "gateway.out").stat().st_mode & 0o777 == 0o600
    again = shell("gateway", "start")
    assert (again.returncode, again.stdout) == (0, f"It runs already: pid {process.pid}, {process.url}, for 0 min\n")
    assert shell.gateway() == process


def test_a_start_without_a_model_says_so(shell: Shell) -> None:
    shell("config", "set", "model.provider", "openai")
    done = shell("gateway", "start", OPENAI_API_KEY="", OPENAI_BASE_URL="")
    assert done.returncode == 0
    assert "OPENAI_API_KEY is not set" in done.stdout
    assert "\nModel: none yet; see: hermes model\n" in done.stdout


def test_two_starts_at_once_make_one_gateway(shell: Shell) -> None:
    with ThreadPoolExecutor(2) as pool:
        both = [each.result() for each in [pool.submit(shell, "gateway", "start") for _ in range(2)]]
    assert [done.returncode for done in both] == [0, 0]
    assert sorted("It runs already" in done.stdout for done in both) == [False, True]


def test_stop_ends_it_and_says_so_and_again_is_no_error(shell: Shell) -> None:
    shell("gateway", "start")
    process = shell.gateway()
    done = shell("gateway", "stop")
    assert done.returncode == 0
    assert re.fullmatch(rf"Stopped \(pid {process.pid}\) after \d\.\d s\.\n", done.stdout)
    assert shell.gateway() is None
    assert shell("gateway", "stop").stdout == "It does not run.\n"


@pytest.mark.slow
def test_restart_lets_the_open_run_end_and_keeps_the_port(shell: Shell, model: ScriptedModelServer) -> None:
    url = url_in(shell("gateway", "start").stdout)
    key = shell("config", "get", "API_SERVER_KEY", "--reveal").stdout.strip()
    model.add(Step(["slow "] * 30, delay_ms=100))
    with httpx.Client(base_url=url, headers={"Authorization": f"Bearer {key}"}, timeout=30) as client:
        run_id = client.post("/v1/runs", json={"input": "Hi"}).raise_for_status().json()["run_id"]
        done = shell("gateway", "restart")
        assert done.returncode == 0, done.stderr
        assert done.stdout.startswith("1 run is open, and may go on for 10 s.\nStopped (pid ")
        assert url_in(done.stdout) == url
        run = client.get(f"/v1/runs/{run_id}").raise_for_status().json()
        assert run["status"] == "completed"


def test_restart_with_settings_that_cannot_start_leaves_the_old_one_at_work(shell: Shell) -> None:
    url = url_in(shell("gateway", "start").stdout)
    process = shell.gateway()
    for wrong in ({"API_SERVER_KEY": "short", "API_SERVER_HOST": "0.0.0.0"}, {"API_SERVER_PORT": "many"}):
        refused = shell("gateway", "restart", **wrong)
        assert (refused.returncode, "Stopped" in refused.stdout) == (2, False)
        assert next(iter(wrong)) in refused.stderr
    assert shell.gateway() == process
    assert httpx.get(url + "/health").status_code == 200


@pytest.mark.slow
def test_restart_after_a_kill_starts_it_where_it_was(shell: Shell) -> None:
    url = url_in(shell("gateway", "start").stdout)
    os.kill(shell.gateway().pid, signal.SIGKILL)
    wait_until_gone(shell)
    assert shell("gateway", "status").returncode == 1
    done = shell("gateway", "restart")
    assert (done.returncode, "Stopped" in done.stdout) == (0, False)
    assert url_in(done.stdout) == url


def wait_until_gone(shell: Shell) -> None:
    deadline = time.monotonic() + 10
    while shell.gateway() is not None:
        assert time.monotonic() < deadline


def test_a_start_that_fails_says_why_with_the_same_exit_code(shell: Shell) -> None:
    refused = shell("gateway", "start", API_SERVER_KEY="short", API_SERVER_HOST="0.0.0.0")
    assert (refused.returncode, refused.stdout) == (
        2,
        f"Made a home in {shell.home}, with a random API key in {shell.home}/.env.\n",
    )
    assert "API_SERVER_KEY has 5 characters" in refused.stderr and "openssl rand -hex 32" in refused.stderr
    assert shell.gateway() is None


@pytest.mark.slow
def test_status_tells_people_and_scripts(shell: Shell) -> None:
    down = shell("gateway", "status")
    assert (down.returncode, down.stdout) == (1, "It does not run. Start it with: hermes gateway start\n")
    url = url_in(shell("gateway", "start").stdout)
    up = shell("gateway", "status", "--json")
    assert up.returncode == 0
    told = json.loads(up.stdout)
    assert (told["running"], told["answers"], told["url"], told["pid"]) == (True, True, url, shell.gateway().pid)
    whole = json.loads(shell("status", "--json").stdout)
    assert (whole["gateway"]["url"], whole["gateway"]["state"]) == (url, "running")
    assert (whole["home"], whole["profile"], whole["runs"], whole["queued"]) == (str(shell.home), "default", 0, 0)
    assert whole["problems"] == []
    text = shell("status").stdout
    assert url in text and "0 going on, 0 in line" in text


@pytest.mark.slow
def test_a_profile_has_a_gateway_of_its_own(shell: Shell) -> None:
    shell("profile", "create", "alice")
    assert shell("-p", "alice", "config", "set", "API_SERVER_ENABLED", "true").returncode == 0
    url = url_in(shell("-p", "alice", "gateway", "start").stdout)
    assert shell.gateway("alice").url == url
    assert shell.gateway() is None
    assert "Stopped" in shell("-p", "alice", "gateway", "stop").stdout


def test_with_the_api_off_it_runs_jobs_and_says_so(shell: Shell) -> None:
    shell.home.mkdir(0o700)
    (shell.home / ".env").write_text("API_SERVER_KEY=\n")
    (shell.home / ".env").chmod(0o600)
    done = shell("gateway", "start")
    assert done.returncode == 0, done.stderr
    assert "this gateway runs jobs only" in done.stdout and "config set API_SERVER_ENABLED true" in done.stdout
    assert shell.gateway().url is None
    assert "jobs only, its API is off" in shell("status").stdout
    assert "Stopped" in shell("gateway", "stop").stdout


def test_what_it_logs_can_be_followed(shell: Shell) -> None:
    url = url_in(shell("gateway", "start").stdout)
    command = [sys.executable, "-m", "hermes", "logs", "--access", "-f", "-n", "0"]
    with subprocess.Popen(command, env=shell.environ, stdout=subprocess.PIPE, text=True) as following:
        try:
            assert following.stdout is not None
            lines = following.stdout
            with ThreadPoolExecutor(1) as pool:  # what was asked of the gateway before may still be on its way there
                reading = pool.submit(lambda: next((line for line in lines if "/followed" in line), ""))
                deadline = time.monotonic() + 20
                while not reading.done() and time.monotonic() < deadline:
                    httpx.get(url + "/followed")  # again and again: the reader may not have begun
                    futures.wait([reading], 0.1)
                following.terminate()
                line = reading.result()
        finally:
            following.kill()
    assert re.search(r"GET /followed 401 \d+\.\dms - req_", line)


def test_install_writes_a_unit_and_says_what_is_left_to_do(shell: Shell) -> None:
    """On a machine with a systemctl that reaches no systemd, as in a container."""
    programs = shell.home.parent / "programs"
    programs.mkdir()
    fake = programs / "systemctl"
    fake.write_text("#!/bin/sh\necho 'Failed to connect to bus: No medium found' >&2\nexit 1\n")
    fake.chmod(0o755)
    done = shell("gateway", "install", PATH=str(programs))
    unit = shell.home.parent / ".config" / "systemd" / "user" / "hermes-gateway-default.service"
    assert done.returncode == 0, done.stderr
    assert (
        f"Wrote {unit}" in done.stdout and "systemctl --user enable --now hermes-gateway-default.service" in done.stdout
    )
    assert "API_SERVER_PORT" in done.stdout, "what only this shell sets is named"
    assert shell("gateway", "install", "--print", PATH=str(programs)).stdout == unit.read_text()
    assert shell("gateway", "uninstall", PATH=str(programs)).stdout == f"Removed {unit}\n"
    nowhere = shell("gateway", "install", PATH=str(shell.home))
    assert (nowhere.returncode, "hermes gateway start" in nowhere.stderr) == (1, True)


SYSTEMCTL = """#!/bin/sh
# what systemd does with the unit, as far as it matters here
unit="$HOME/.config/systemd/user/hermes-gateway-default.service"
echo "$2" >> "$HOME/asked"
case "$2" in
restart)
    eval "$(sed -n 's/^Environment=/export /p' "$unit")"
    unset API_SERVER_PORT OPENAI_API_KEY OPENAI_BASE_URL
    setsid $(sed -n 's/^ExecStart=//p' "$unit") > /dev/null 2>&1 < /dev/null &
    ;;
esac
"""


@pytest.mark.slow
def test_once_installed_it_is_started_through_systemd_from_what_the_unit_says(
    shell: Shell, model: ScriptedModelServer
) -> None:
    programs = shell.home.parent / "programs"
    programs.mkdir()
    (programs / "systemctl").write_text(SYSTEMCTL)
    (programs / "systemctl").chmod(0o755)
    path = f"{programs}:{shell.environ['PATH']}"
    for name, value in {"API_SERVER_PORT": "0", "model.default": "m", "model.base_url": model.base_url}.items():
        assert shell("config", "set", name, value, PATH=path).returncode == 0
    shell("config", "set", "API_SERVER_KEY", "f3" * 16 + "9ab1c5d7")
    shell("config", "set", "API_SERVER_ENABLED", "true")
    (shell.home / "config.yaml").chmod(0o600)
    installed = shell("gateway", "install", PATH=path)
    assert installed.returncode == 0, installed.stderr
    url = url_in(installed.stdout)
    assert "Running as hermes-gateway-default.service" in installed.stdout
    assert httpx.get(url + "/health").status_code == 200
    first = shell.gateway().pid
    again = shell("gateway", "restart", PATH=path)
    assert f"Stopped (pid {first})" in again.stdout and url_in(again.stdout)
    assert shell.gateway().pid != first
    assert "Stopped" in shell("gateway", "stop", PATH=path).stdout
    asked = (shell.home.parent / "asked").read_text().split()
    begun = ["show-environment", "daemon-reload", "enable", "restart"]
    assert asked == [*begun, "show-environment", "restart", "show-environment", "stop"]
