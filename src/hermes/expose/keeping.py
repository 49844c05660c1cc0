"""Publishing, for a while or until it is told to stop: by this process, or by one in the background.

What is kept by Tailscale's own service needs no process. Everything else is kept by one that holds the lock.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict
from enum import StrEnum
from pathlib import Path
from types import FrameType
from typing import Any

from hermes.core.errors import Conflict, HermesError, InvalidInput
from hermes.core.redact import is_secret_name
from hermes.expose.exposure import Exposure, ExposureFile, Via
from hermes.expose.tailscale import PORTS, Tailscale
from hermes.expose.tunnels import START_SECONDS, Opened, Say, Wish, open_tunnel
from hermes.home.files import open_private
from hermes.home.locks import take_lock

LOOK_SECONDS = 0.2
STOP_SECONDS = 15.0


class Ended(StrEnum):
    """Why a tunnel is no longer there."""

    STOPPED = "stopped"
    OVER = "over"
    DIED = "died"


def keep(
    wish: Wish, run_dir: Path, environ: Mapping[str, str], *, say: Say, opened: Callable[[Exposure], None]
) -> tuple[Ended, str]:
    """Until its time is over, SIGTERM or Ctrl+C; with what its program said last. For the main thread: signals are its
    own for so long. Raises what `open_tunnel` raises, and Conflict `expose_running`."""
    file = ExposureFile(run_dir)
    with _signals():
        lock = _hold(file, environ)
        tunnel: Opened | None = None
        try:
            file.write(_exposure(wish, Opened(""), pid=os.getpid()))  # the doors know before anybody comes through
            tunnel = open_tunnel(wish, environ, lock=lock, say=say)
            exposure = _exposure(wish, tunnel, pid=os.getpid())
            file.write(exposure)
            opened(exposure)
            return _wait(tunnel, wish.until), tunnel.program.said() if tunnel.program else ""
        except KeyboardInterrupt:
            return Ended.STOPPED, ""
        finally:
            _ignore_signals()
            if tunnel is not None and tunnel.program is not None:
                tunnel.program.end()
            file.remove()
            os.close(lock)


def publish(wish: Wish, run_dir: Path, environ: Mapping[str, str], *, say: Say) -> Exposure:
    """In the background. Raises what `keep` raises."""
    if not wish.is_kept_by_tool:
        return detach(wish, run_dir, environ)
    file = ExposureFile(run_dir)
    lock = _hold(file, environ)
    try:
        exposure = _exposure(wish, open_tunnel(wish, environ, lock=None, say=say), pid=None)
        file.write(exposure)
        return exposure
    finally:
        os.close(lock)


def off(run_dir: Path, environ: Mapping[str, str]) -> Exposure | None:
    """Ends what this home's own command published, and nothing else; None where there was nothing. Raises HermesError
    where it does not end."""
    file = ExposureFile(run_dir)
    found = file.read()
    if found is None:
        return None
    if found.is_kept_by_tool:
        _take_away(found, Tailscale(environ))
        file.remove()
        return found
    was_there = file.is_held
    if was_there:
        _end(found, file)
    lock = take_lock(file.lock_path)
    if lock is None:  # another one began meanwhile
        return found
    file.remove()
    os.close(lock)
    return found if was_there and found.url else None


def current(run_dir: Path, environ: Mapping[str, str]) -> Exposure | None:
    """As the file says; what Tailscale keeps is looked for there, where it can be asked."""
    found = ExposureFile(run_dir).current(time.time())
    if found is None or not found.is_kept_by_tool:
        return found
    with suppress(HermesError):
        return found if _is_served(found, Tailscale(environ)) else None
    return found


def stamp_of(pid: int) -> str | None:
    """When it began, as the kernel counts: a number that comes again with the same pid is another process. None where
    the kernel does not tell."""
    with suppress(OSError, IndexError):
        return Path(f"/proc/{pid}/stat").read_text("ascii", "replace").rpartition(")")[2].split()[19]
    return None


def _exposure(wish: Wish, tunnel: Opened, *, pid: int | None) -> Exposure:
    return Exposure(
        url=tunnel.url,
        via=wish.via,
        port=wish.port,
        started_at=time.time(),
        until=wish.until,
        slot=tunnel.slot,
        pid=pid,
        pid_stamp=stamp_of(pid) if pid is not None else None,
        tool_pid=tunnel.program.pid if tunnel.program else None,
    )


def _wait(tunnel: Opened, until: float | None) -> Ended:
    while until is None or time.time() < until:
        if tunnel.program is not None and tunnel.program.exit_code is not None:
            return Ended.DIED
        if tunnel.program is not None:
            tunnel.program.lines()  # nobody reads them any more: a log of each request would grow for days
        time.sleep(LOOK_SECONDS)
    return Ended.OVER


def _take_away(found: Exposure, tailscale: Tailscale) -> None:
    """What somebody has changed since is not ours any more."""
    if found.slot is not None and _is_served(found, tailscale):
        tailscale.take_away("funnel" if found.via is Via.TAILSCALE else "serve", found.slot)


def _is_served(found: Exposure, tailscale: Tailscale) -> bool:
    return any(mount.slot == found.slot and not mount.is_raw for mount in tailscale.serving().of(found.port))


def _hold(file: ExposureFile, environ: Mapping[str, str]) -> int:
    """The lock, where nothing is published. Raises Conflict `expose_running`."""
    lock = file.hold()
    found = file.read()  # of a process that is gone, or what Tailscale keeps
    if found is not None and found.is_kept_by_tool and current(file.path.parent, environ) is not None:
        os.close(lock)
        raise Conflict(
            f"it is published already, at {found.url}; end that first with: expose off", code="expose_running"
        )
    return lock


def _end(found: Exposure, file: ExposureFile) -> None:
    if found.pid is not None and stamp_of(found.pid) == found.pid_stamp:
        with suppress(ProcessLookupError):
            os.kill(found.pid, signal.SIGTERM)
        if _is_free_within(file, STOP_SECONDS):
            return
    if found.tool_pid is not None:  # whoever kept it was killed, and its program lives on
        with suppress(OSError):
            (os.killpg if hasattr(os, "killpg") else os.kill)(found.tool_pid, signal.SIGTERM)
    if not _is_free_within(file, STOP_SECONDS):
        raise HermesError(
            f"the tunnel does not end (pid {found.pid}, its program: {found.tool_pid}); end it by hand",
            code="expose_failed",
        )


def _is_free_within(file: ExposureFile, seconds: float) -> bool:
    ends_at = time.monotonic() + seconds
    while file.is_held:
        if time.monotonic() > ends_at:
            return False
        time.sleep(LOOK_SECONDS / 4)
    return True


def detach(wish: Wish, run_dir: Path, environ: Mapping[str, str]) -> Exposure:
    """By a process in a session of its own, which tells in one line how it went. What it says then goes to
    run/expose.out. For a process that has other things to do; raises what `keep` raises."""
    file = ExposureFile(run_dir)
    os.close(_hold(file, environ))  # to be told at once, and without a process, that there is one
    handle = open_private(run_dir / "expose.out", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    try:
        child = subprocess.Popen(
            [sys.executable, "-P", "-m", "hermes.expose", str(run_dir)],
            env={name: value for name, value in environ.items() if not is_secret_name(name)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=handle,
            text=True,
            start_new_session=True,
            creationflags=getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0),
        )
    finally:
        os.close(handle)
    told = _first_line(child, json.dumps(asdict(wish)))
    if "error" in told:
        raise _error_of(told["error"])
    found = file.current(time.time())
    if found is None:
        raise HermesError("the tunnel ended at its start; its program's words are in run/expose.out of the home")
    return found


def _first_line(child: subprocess.Popen[str], text: str) -> dict[str, Any]:
    """Of the process that is left alone then: it forked, so that this one has no child to wait for."""
    stdin, stdout = child.stdin, child.stdout
    assert stdin is not None and stdout is not None
    lines: list[str] = []
    reading = threading.Thread(target=lambda: lines.append(stdout.readline()), daemon=True)
    reading.start()
    with suppress(BrokenPipeError):
        stdin.write(text)
        stdin.close()
    reading.join(len(PORTS) * START_SECONDS)
    if not reading.is_alive():
        stdout.close()
    if os.name != "nt":
        child.wait(STOP_SECONDS)
    try:
        told = json.loads(lines[0])
    except (IndexError, ValueError):
        told = {"error": {"kind": "", "code": "expose_failed", "message": "the tunnel's process said nothing"}}
    return told if isinstance(told, dict) else {}


def _error_of(told: Mapping[str, str]) -> HermesError:
    kind = {"InvalidInput": InvalidInput, "Conflict": Conflict}.get(told.get("kind", ""), HermesError)
    return kind(told["message"], code=told["code"])


@contextmanager
def _signals() -> Iterator[None]:
    """SIGTERM and a terminal that is closed end it as Ctrl+C does."""

    def stop(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    numbers = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP", "SIGINT") if hasattr(signal, name)]
    before = {number: signal.signal(number, stop) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _ignore_signals() -> None:
    """What is left to do is short, and must be done."""
    for name in ("SIGTERM", "SIGHUP", "SIGINT"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)
