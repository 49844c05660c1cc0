"""The gateway in the background: a process in a session of its own, that commands start, stop and restart.

One command at a time (a lock); whether a gateway runs is asked of its own lock, so that a pid which a killed one left
behind is never believed. What it prints goes to logs/gateway.out.
"""

from __future__ import annotations

import http.client
import os
import signal
import subprocess
import sys
import time
import urllib.parse
from collections.abc import Mapping
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from pathlib import Path

from hermes.core.errors import ConfigError, Conflict, HermesError
from hermes.home.disk import is_full, no_room
from hermes.home.files import make_private_directory, open_private
from hermes.home.keys import check_key
from hermes.home.locks import GatewayProcess, file_lock, last_gateway, running_gateway
from hermes.home.paths import Home
from hermes.home.settings import Settings, load_settings

START_SECONDS = 60.0
"""A start takes half a second; a machine that boots may take longer."""
MARGIN_SECONDS = 2.0
"""What a gateway may take beyond its drain_timeout to end."""
LOOK_SECONDS = 0.05
OUTPUT_BYTES = 1 << 20
TAIL_LINES = 20
MODEL_LINE = "Model: "
"""How the gateway begins the line that names its model."""
MODEL_SECONDS = 3.0
"""What a start in the background waits for that line."""


@dataclass(frozen=True, slots=True)
class Started:
    """`output` is what it printed at its start, empty when it ran already (`was_running`)."""

    process: GatewayProcess
    output: str = ""
    was_running: bool = False


@dataclass(frozen=True, slots=True)
class Stopped:
    process: GatewayProcess
    seconds: float


def start(home: Home, environ: Mapping[str, str]) -> Started:
    """Returns when /health answers, or, with the API switched off, when its jobs run.

    Raises ConfigError or HermesError `gateway_not_started` with the last lines it printed.
    """
    with _control(home):
        running = running_gateway(home.pid_file)
        return Started(running, was_running=True) if running is not None else _start(home, environ)


def stop(home: Home, environ: Mapping[str, str]) -> Stopped | None:
    """None when it did not run. Raises HermesError `gateway_not_stopped` when it takes longer than it should."""
    if not home.exists():
        return None  # and nothing is made of a name that was mistyped
    with _control(home):
        process = running_gateway(home.pid_file)
        return _stop(home, environ, process) if process is not None else None


def restart(home: Home, environ: Mapping[str, str]) -> tuple[Stopped | None, Started]:
    """Open runs get their time, then a new process takes the same address. One that was killed is just started.

    Raises ConfigError, with the old process still at work, for settings that the new one would refuse.
    """
    check_start(home, load_settings(home, environ))
    with _control(home):
        process = running_gateway(home.pid_file)
        port = kept_port(home, environ, process or last_gateway(home.pid_file))
        stopped = _stop(home, environ, process) if process is not None else None
        return stopped, _start(home, environ, port=port)


def check_start(home: Home, settings: Settings) -> list[str]:
    """What the owner is warned of. Raises ConfigError for what he has to change first.

    Spec: api-server section 10. Nothing listens before this has passed; where nothing will, no key is needed.
    """
    api = settings.api_server
    if not api.enabled:
        return settings.problems
    verdict = check_key(api.key, api.host, command=home.command)
    if verdict.is_refused:
        raise ConfigError(verdict.text)
    return [*([verdict.text] if verdict.text else []), *settings.problems]


def made_home(home: Home) -> str:
    return f"Made a home in {home.path}, with a random API key in {home.env_file}.\n"


def kept_port(home: Home, environ: Mapping[str, str], process: GatewayProcess | None) -> int | None:
    """The port it had, unless the settings name one: then the owner may have changed it."""
    if process is None or process.url is None:
        return None
    settings = _settings(home, environ)
    if "api_server.port" in settings.sources and settings.api_server.port != 0:
        return None
    return urllib.parse.urlsplit(process.url).port


def answers(url: str, timeout_seconds: float = 2.0) -> bool:
    """Whether /health of a gateway at `url` says that it lives."""
    where = urllib.parse.urlsplit(reachable(url))
    connection = http.client.HTTPConnection(where.hostname or "127.0.0.1", where.port, timeout=timeout_seconds)
    try:
        connection.request("GET", "/health")
        return connection.getresponse().status in (200, 503)  # 503: it lives, and is about to stop
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def reachable(url: str) -> str:
    """An address of every interface, as one that this machine can call."""
    return url.replace("//0.0.0.0:", "//127.0.0.1:").replace("//[::]:", "//[::1]:")


def _control(home: Home) -> AbstractContextManager[None]:
    return file_lock(home.run_dir / "control.lock")


def _start(home: Home, environ: Mapping[str, str], *, port: int | None = None) -> Started:
    out, begin = _output_file(home)
    child = _spawn(home, environ, out, port)
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        code = child.poll()
        if code is not None:
            raise _not_started(f"the gateway ended at its start (exit code {code})", out, begin, code)
        said = last_gateway(home.pid_file)
        if said is not None and said.pid == child.pid and said.is_ready and (said.url is None or answers(said.url)):
            child.returncode = 0  # it lives on without us: Popen would warn that nobody waited for it
            return Started(said, _first_words(out, begin))
        time.sleep(LOOK_SECONDS)
    child.kill()
    child.wait()
    raise _not_started(f"the gateway was not ready within {START_SECONDS:g} s", out, begin, 1)


def _spawn(home: Home, environ: Mapping[str, str], out: Path, port: int | None) -> subprocess.Popen[bytes]:
    profile = ("-p", home.name) if home.is_profile else ()
    own = {"HERMES_HOME": str(home.root), **({"API_SERVER_PORT": str(port)} if port is not None else {})}
    handle = open_private(out, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    try:
        return subprocess.Popen(
            [sys.executable, "-P", "-m", "hermes", *profile, "gateway", "run"],
            env={**environ, **own},
            stdin=subprocess.DEVNULL,
            stdout=handle,
            stderr=handle,
            start_new_session=True,
            creationflags=getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0),
        )
    finally:
        os.close(handle)


def _stop(home: Home, environ: Mapping[str, str], process: GatewayProcess) -> Stopped:
    if process.is_guest:
        raise Conflict(
            f"profile {home.name} is open in the default profile's gateway (pid {process.pid}), which serves others, "
            "too; stop that one with: hermes -p default gateway stop",
            code="gateway_running",
        )
    api = _settings(home, environ).api_server
    limit = api.drain_delay + api.drain_timeout + MARGIN_SECONDS
    began = time.monotonic()
    try:
        os.kill(process.pid, signal.SIGTERM)
    except ProcessLookupError:
        return Stopped(process, 0.0)
    except PermissionError as error:
        raise HermesError(f"the gateway (pid {process.pid}) belongs to another user, who has to stop it") from error
    while time.monotonic() - began < limit:
        other = running_gateway(home.pid_file)
        if (other is None or other.pid != process.pid) and not _lives(process.pid):
            return Stopped(process, time.monotonic() - began)
        time.sleep(LOOK_SECONDS)
    raise HermesError(
        f"the gateway (pid {process.pid}) was told to stop and has not ended within {limit:g} s; see why with: "
        f"{home.command} logs, and end it with: kill -9 {process.pid}",
        code="gateway_not_stopped",
    )


def _lives(pid: int) -> bool:
    """A process that only waits to be collected by its parent has ended."""
    with suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text("ascii", "replace").rpartition(")")[2].split()[0] != "Z"
    if Path("/proc/self").exists():
        return False
    try:
        os.kill(pid, 0)
    except OSError:
        return False
    return True


def _settings(home: Home, environ: Mapping[str, str]) -> Settings:
    return load_settings(home, environ, is_lenient=True)


def _output_file(home: Home) -> tuple[Path, int]:
    """The file and where this start begins in it. What a long life printed makes room for the next one."""
    make_private_directory(home.logs_dir)
    out = home.logs_dir / "gateway.out"
    try:
        size = out.stat().st_size
    except OSError:
        return out, 0
    if size > OUTPUT_BYTES:
        out.replace(out.with_name("gateway.out.1"))
        return out, 0
    return out, size


def _first_words(out: Path, begin: int) -> str:
    """With the line that says which model answers, if it comes soon: without one nothing else works."""
    deadline = time.monotonic() + MODEL_SECONDS
    while f"\n{MODEL_LINE}" not in f"\n{_text(out, begin)}" and time.monotonic() < deadline:
        time.sleep(LOOK_SECONDS)
    return _text(out, begin)


def _text(out: Path, begin: int) -> str:
    with out.open("rb") as file:
        file.seek(begin)
        return file.read(OUTPUT_BYTES).decode("utf-8", "replace")


def _not_started(what: str, out: Path, begin: int, code: int) -> HermesError:
    lines = [line.removeprefix("hermes: ") for line in _text(out, begin).splitlines() if line.strip()]
    if not lines and is_full(out):  # what it said found no room either
        return HermesError(f"{what}: {no_room(out.parent.parent)}", code="gateway_not_started")
    said = "\n".join(f"  {line}" for line in lines[-TAIL_LINES:]) or "  it printed nothing"
    message = f"{what}. It said:\n{said}"
    return ConfigError(message) if code == 2 else HermesError(message, code="gateway_not_started")
