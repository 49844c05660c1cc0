"""Link in the background: a process in a session of its own, that commands start, stop and restart.

One command at a time (a lock); whether it runs is asked of its own lock, so that a pid which a killed one left behind
is never believed. What it prints goes to logs/link.out.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TypeGuard

from hermes.core.errors import HermesError
from hermes.home import background
from hermes.home.autostart.entry import Program
from hermes.home.autostart.systemd import Systemd
from hermes.home.background import LOOK_SECONDS, START_SECONDS
from hermes.home.locks import file_lock
from hermeslink.home import LinkHome, hermes_root
from hermeslink.service import lock
from hermeslink.settings import load_settings
from hermeslink.system.autostart import link_program

STOP_SECONDS = 15.0


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
    return background.answers(url, "/api/v1/system/version", timeout_seconds=timeout_seconds)


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
    service = _service(home)
    arguments = ("hermeslink", "start", "--foreground")

    def ready(pid: int) -> lock.Process | None:
        said = lock.last(home)
        return said if said is not None and said.pid == pid and _is_ready(said) else None

    try:
        process, begin = service.start(arguments, {**environ, "HERMESLINK_HOME": str(home.path)}, ready)
    except HermesError:
        other = _running(home)
        if other is None:
            raise
        return Started(other, was_running=True)  # one in the foreground was faster
    return Started(process, service.words(begin))


def _start_unit(home: LinkHome, systemd: Systemd, program: Program) -> Started:
    """By systemd, which starts it again when it crashed, from what the unit says."""
    unit = systemd.unit_name(program)
    why = systemd.start(program)
    deadline = time.monotonic() + START_SECONDS
    while why is None and time.monotonic() < deadline:
        said = lock.running(home)
        if _is_ready(said):
            return Started(said)
        time.sleep(LOOK_SECONDS)
    raise HermesError(
        f"systemd did not start {unit}: {why or 'it is not ready'}; see: journalctl --user -u {unit}",
        code="link_not_started",
    )


def _stop(process: lock.Process, home: LinkHome) -> Stopped:
    def running() -> int | None:
        now = lock.running(home)
        return None if now is None else now.pid

    return Stopped(process, _service(home).stop(process.pid, running, STOP_SECONDS))


def _service(home: LinkHome) -> background.Service:
    return background.Service("Link", "link", "hermeslink", home.logs_dir / "link.out", "hermeslink logs")


def _is_ready(said: lock.Process | None) -> TypeGuard[lock.Process]:
    return said is not None and said.is_ready and said.url is not None and answers(said.url)
