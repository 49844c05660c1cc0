"""Link in the background: a process in a session of its own, that commands start, stop and restart.

One command at a time (a lock); whether it runs is asked of its own lock, so that a pid which a killed one left behind
is never believed. What it prints goes to logs/link.out.
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

from hermes.core.errors import ConfigError, HermesError
from hermes.home.autostart.entry import Program
from hermes.home.autostart.systemd import Systemd
from hermes.home.files import make_private_directory, open_private
from hermes.home.locks import file_lock
from hermeslink.home import LinkHome, hermes_root
from hermeslink.service import lock
from hermeslink.settings import load_settings
from hermeslink.system.autostart import link_program

START_SECONDS = 60.0
"""A start takes a second; a machine that boots may take longer."""
STOP_SECONDS = 15.0
LOOK_SECONDS = 0.05
OUTPUT_BYTES = 1 << 20
TAIL_LINES = 20


@dataclass(frozen=True, slots=True)
class Started:
    """`output` is what it printed at its start, empty when it ran already."""

    process: lock.Process
    output: str = ""
    was_running: bool = False


@dataclass(frozen=True, slots=True)
class Stopped:
    process: lock.Process
    seconds: float


def start(home: LinkHome, environ: Mapping[str, str]) -> Started:
    """Returns when it answers, also where somebody else has just started it.

    Raises ConfigError, or HermesError `link_not_started` with the last lines it printed.
    """
    load_settings(home, environ)
    home.make()
    with _control(home):
        running = _running(home)
        return Started(running, was_running=True) if running is not None else _start(home, environ)


def stop(home: LinkHome) -> Stopped | None:
    """None when it did not run. Raises HermesError `link_not_stopped` when it takes longer than it should."""
    if not home.run_dir.exists():
        return None
    with _control(home):
        process = lock.running(home)
        return _stop(process, home) if process is not None else None


def restart(home: LinkHome, environ: Mapping[str, str]) -> tuple[Stopped | None, Started]:
    """Raises ConfigError, with the old process still at work, for settings that the new one would refuse."""
    load_settings(home, environ)
    home.make()
    with _control(home):
        process = lock.running(home)
        stopped = _stop(process, home) if process is not None else None
        return stopped, _start(home, environ)


def answers(url: str, timeout_seconds: float = 2.0) -> bool:
    """Whether a Link at `url` says its version."""
    where = urllib.parse.urlsplit(url)
    connection = http.client.HTTPConnection(where.hostname or "127.0.0.1", where.port, timeout=timeout_seconds)
    try:
        connection.request("GET", "/api/v1/system/version")
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def _control(home: LinkHome) -> AbstractContextManager[None]:
    return file_lock(home.run_dir / "control.lock")


def _running(home: LinkHome) -> lock.Process | None:
    """Which one runs. One that is just starting, as in the foreground, is waited for until it is ready or has ended."""
    deadline = time.monotonic() + START_SECONDS
    while (said := lock.running(home)) is not None and not said.is_ready:
        if time.monotonic() > deadline:
            raise HermesError(
                f"Link (pid {said.pid}) began to start and is not ready; see why with: hermeslink logs, and end it "
                f"with: kill {said.pid}",
                code="link_not_started",
            )
        time.sleep(LOOK_SECONDS)
    return said


def _start(home: LinkHome, environ: Mapping[str, str]) -> Started:
    systemd, program = Systemd(environ), link_program(home, hermes_root(environ), environ)
    if systemd.is_enabled(program) and systemd.is_reachable():
        return _start_unit(home, systemd, program)
    out, begin = _output_file(home)
    child = _spawn(home, environ, out)
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        code = child.poll()
        if code is not None and (other := _running(home)) is not None:  # one in the foreground was faster
            return Started(other, was_running=True)
        if code is not None:
            raise _not_started(f"Link ended at its start (exit code {code})", out, begin, code)
        said = lock.last(home)
        if said is not None and said.pid == child.pid and said.is_ready and said.url and answers(said.url):
            child.returncode = 0  # it lives on without us: Popen would warn that nobody waited for it
            return Started(said, _text(out, begin))
        time.sleep(LOOK_SECONDS)
    child.kill()
    child.wait()
    raise _not_started(f"Link was not ready within {START_SECONDS:g} s", out, begin, 1)


def _start_unit(home: LinkHome, systemd: Systemd, program: Program) -> Started:
    """By systemd, which starts it again when it crashed, from what the unit says."""
    unit = systemd.unit_name(program)
    why = systemd.start(program)
    deadline = time.monotonic() + START_SECONDS
    while why is None and time.monotonic() < deadline:
        said = lock.running(home)
        if said is not None and said.is_ready and said.url and answers(said.url):
            return Started(said)
        time.sleep(LOOK_SECONDS)
    raise HermesError(
        f"systemd did not start {unit}: {why or 'it is not ready'}; see: journalctl --user -u {unit}",
        code="link_not_started",
    )


def _spawn(home: LinkHome, environ: Mapping[str, str], out: Path) -> subprocess.Popen[bytes]:
    handle = open_private(out, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    try:
        return subprocess.Popen(
            [sys.executable, "-P", "-m", "hermeslink", "start", "--foreground"],
            env={**environ, "HERMESLINK_HOME": str(home.path)},
            stdin=subprocess.DEVNULL,
            stdout=handle,
            stderr=handle,
            start_new_session=True,
            creationflags=getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0),
        )
    finally:
        os.close(handle)


def _stop(process: lock.Process, home: LinkHome) -> Stopped:
    began = time.monotonic()
    try:
        os.kill(process.pid, signal.SIGTERM)
    except ProcessLookupError:
        return Stopped(process, 0.0)
    except PermissionError as error:
        raise HermesError(f"Link (pid {process.pid}) belongs to another user, who has to stop it") from error
    while time.monotonic() - began < STOP_SECONDS:
        other = lock.running(home)
        if (other is None or other.pid != process.pid) and not _lives(process.pid):
            return Stopped(process, time.monotonic() - began)
        time.sleep(LOOK_SECONDS)
    raise HermesError(
        f"Link (pid {process.pid}) was told to stop and has not ended within {STOP_SECONDS:g} s; see why with: "
        f"hermeslink logs, and end it with: kill -9 {process.pid}",
        code="link_not_stopped",
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


def _output_file(home: LinkHome) -> tuple[Path, int]:
    """The file and where this start begins in it. What a long life printed makes room for the next one."""
    make_private_directory(home.logs_dir)
    out = home.logs_dir / "link.out"
    try:
        size = out.stat().st_size
    except OSError:
        return out, 0
    if size > OUTPUT_BYTES:
        out.replace(out.with_name("link.out.1"))
        return out, 0
    return out, size


def _text(out: Path, begin: int) -> str:
    with out.open("rb") as file:
        file.seek(begin)
        return file.read(OUTPUT_BYTES).decode("utf-8", "replace")


def _not_started(what: str, out: Path, begin: int, code: int) -> HermesError:
    lines = [line.removeprefix("hermeslink: ") for line in _text(out, begin).splitlines() if line.strip()]
    said = "\n".join(f"  {line}" for line in lines[-TAIL_LINES:]) or "  it printed nothing"
    message = f"{what}. It said:\n{said}"
    return ConfigError(message) if code == 2 else HermesError(message, code="link_not_started")
