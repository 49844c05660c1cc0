"""Link in the background: a process in a session of its own, that commands start, stop and restart.

One command at a time (a lock); whether it runs is asked of its own lock, so that a pid which a killed one left behind
is never believed. What it prints goes to logs/link.out.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import AbstractContextManager

from hermes.core.errors import HermesError
from hermes.home import background
from hermes.home.autostart.entry import Program
from hermes.home.autostart.systemd import Systemd
from hermes.home.background import LOOK_SECONDS, START_SECONDS, Started, Stopped
from hermes.home.locks import file_lock
from hermeslink.home import LinkHome, hermes_root
from hermeslink.service import lock
from hermeslink.settings import load_settings
from hermeslink.system.autostart import link_program

STOP_SECONDS = 15.0


def start(home: LinkHome, environ: Mapping[str, str]) -> Started:
    """Returns when it answers, also where somebody else has just started it.

    Raises ConfigError, or HermesError `link_not_started` with the last lines it printed.
    """
    load_settings(home, environ)
    home.make()
    with _control(home):
        running = _service(home).running()
        return Started(running, was_running=True) if running is not None else _start(home, environ)


def stop(home: LinkHome) -> Stopped | None:
    """None when it did not run. Raises HermesError `link_not_stopped` when it takes longer than it should."""
    if not home.run_dir.exists():
        return None
    with _control(home):
        process = lock.running(home)
        return _service(home).stop(process, STOP_SECONDS) if process is not None else None


def restart(home: LinkHome, environ: Mapping[str, str]) -> tuple[Stopped | None, Started]:
    """Raises ConfigError, with the old process still at work, for settings that the new one would refuse."""
    load_settings(home, environ)
    home.make()
    with _control(home):
        process = lock.running(home)
        stopped = _service(home).stop(process, STOP_SECONDS) if process is not None else None
        return stopped, _start(home, environ)


def answers(url: str, timeout_seconds: float = 2.0) -> bool:
    """Whether a Link at `url` says its version."""
    return background.answers(url, "/api/v1/system/version", timeout_seconds=timeout_seconds)


def _control(home: LinkHome) -> AbstractContextManager[None]:
    return file_lock(home.run_dir / "control.lock")


def _start(home: LinkHome, environ: Mapping[str, str]) -> Started:
    systemd, program = Systemd(environ), link_program(home, hermes_root(environ), environ)
    if systemd.is_enabled(program) and systemd.is_reachable():
        return _start_unit(home, systemd, program)
    arguments = ("hermeslink", "start", "--foreground")
    return _service(home).start(arguments, {**environ, "HERMESLINK_HOME": str(home.path)})


def _start_unit(home: LinkHome, systemd: Systemd, program: Program) -> Started:
    """By systemd, which starts it again when it crashed, from what the unit says."""
    unit = systemd.unit_name(program)
    why = systemd.start(program)
    deadline = time.monotonic() + START_SECONDS
    while why is None and time.monotonic() < deadline:
        said = lock.running(home)
        if said is not None and _service(home).is_up(said):
            return Started(said)
        time.sleep(LOOK_SECONDS)
    raise HermesError(
        f"systemd did not start {unit}: {why or 'it is not ready'}; see: journalctl --user -u {unit}",
        code="link_not_started",
    )


def _service(home: LinkHome) -> background.Service:
    out = home.logs_dir / "link.out"
    return background.Service("Link", "link", "hermeslink", home.pid_file, out, "hermeslink logs", answers)
