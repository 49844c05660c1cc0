"""A service of this machine in the background: a process in a session of its own, whose words go to a file in logs/.

Whether it runs is asked of its own lock, so that a pid which a killed one left behind is never believed.
"""

from __future__ import annotations

import http.client
import os
import signal
import subprocess
import sys
import time
import urllib.parse
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from hermes.core.errors import ConfigError, HermesError
from hermes.home.disk import is_full, no_room
from hermes.home.files import make_private_directory, open_private
from hermes.home.locks import GatewayProcess, last_gateway, running_gateway

START_SECONDS = 60.0
"""A start takes a second; a machine that boots may take longer."""
LOOK_SECONDS = 0.05
OUTPUT_BYTES = 1 << 20
TAIL_LINES = 20
LINE_SECONDS = 3.0
"""What a start waits for a line that tells more."""


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


@dataclass(frozen=True, slots=True)
class Service:
    """`called` in sentences: "the gateway", "Link". `kind` begins the codes of its errors, `program` the lines it
    prints. `out` is where they go, `logs` the command that shows more. `answers`: whether it does, at an address."""

    called: str
    kind: str
    program: str
    pid_file: Path
    out: Path
    logs: str
    answers: Callable[[str], bool]

    def running(self) -> GatewayProcess | None:
        """Which one runs. One that is just starting, as in the foreground, is waited for until it is ready or has
        ended. Raises HermesError `KIND_not_started` where it is neither."""
        deadline = time.monotonic() + START_SECONDS
        while (said := running_gateway(self.pid_file)) is not None and not said.is_ready:
            if time.monotonic() > deadline:
                raise HermesError(
                    f"{self.called} (pid {said.pid}) began to start and is not ready; see why with: {self.logs}, and "
                    f"end it with: kill {said.pid}",
                    code=f"{self.kind}_not_started",
                )
            time.sleep(LOOK_SECONDS)
        return said

    def start(self, arguments: Sequence[str], environ: Mapping[str, str], *, line: str | None = None) -> Started:
        """`python -P -m ARGUMENTS`, unless it runs. Returns when it answers, or is ready where nothing listens.

        `line`: how a line begins that is waited for a moment longer. Raises HermesError `KIND_not_started` with the
        last lines it printed; ConfigError where it ended with 2.
        """
        other = self.running()
        if other is not None:
            return Started(other, was_running=True)
        begin = self._begin()
        child = self._spawn(arguments, environ)
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            code = child.poll()
            if code is not None and (other := self.running()) is not None:  # one in the foreground was faster
                return Started(other, was_running=True)
            if code is not None:
                raise self._not_started(f"ended at its start (exit code {code})", begin, code)
            said = last_gateway(self.pid_file)
            if said is not None and said.pid == child.pid and self.is_up(said):
                child.returncode = 0  # it lives on without us: Popen would warn that nobody waited for it
                return Started(said, self._words(begin, line))
            time.sleep(LOOK_SECONDS)
        child.kill()
        child.wait()
        raise self._not_started(f"was not ready within {START_SECONDS:g} s", begin, 1)

    def is_up(self, said: GatewayProcess) -> bool:
        return said.is_ready and (said.url is None or self.answers(said.url))

    def stop(self, process: GatewayProcess, limit_seconds: float) -> Stopped:
        """Raises HermesError, `KIND_not_stopped` where it takes longer."""
        began, pid = time.monotonic(), process.pid
        try:
            os.kill(pid, signal.SIGTERM)
        except ProcessLookupError:
            return Stopped(process, 0.0)
        except PermissionError as error:
            raise HermesError(f"{self.called} (pid {pid}) belongs to another user, who has to stop it") from error
        while time.monotonic() - began < limit_seconds:
            other = running_gateway(self.pid_file)
            if (other is None or other.pid != pid) and not _lives(pid):
                return Stopped(process, time.monotonic() - began)
            time.sleep(LOOK_SECONDS)
        raise HermesError(
            f"{self.called} (pid {pid}) was told to stop and has not ended within {limit_seconds:g} s; see why with: "
            f"{self.logs}, and end it with: kill -9 {pid}",
            code=f"{self.kind}_not_stopped",
        )

    def _words(self, begin: int, line: str | None = None) -> str:
        deadline = time.monotonic() + LINE_SECONDS
        while line is not None and f"\n{line}" not in f"\n{self._words(begin)}" and time.monotonic() < deadline:
            time.sleep(LOOK_SECONDS)
        with self.out.open("rb") as file:
            file.seek(begin)
            return file.read(OUTPUT_BYTES).decode("utf-8", "replace")

    def _begin(self) -> int:
        """Where this start begins in the file. What a long life printed makes room for the next one."""
        make_private_directory(self.out.parent)
        try:
            size = self.out.stat().st_size
        except OSError:
            return 0
        if size > OUTPUT_BYTES:
            self.out.replace(self.out.with_name(f"{self.out.name}.1"))
            return 0
        return size

    def _spawn(self, arguments: Sequence[str], environ: Mapping[str, str]) -> subprocess.Popen[bytes]:
        handle = open_private(self.out, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        try:
            return subprocess.Popen(
                [sys.executable, "-P", "-m", *arguments],
                env=environ,
                stdin=subprocess.DEVNULL,
                stdout=handle,
                stderr=handle,
                start_new_session=True,
                creationflags=getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0),
            )
        finally:
            os.close(handle)

    def _not_started(self, what: str, begin: int, exit_code: int) -> HermesError:
        lines = [line.removeprefix(f"{self.program}: ") for line in self._words(begin).splitlines() if line.strip()]
        code = f"{self.kind}_not_started"
        if not lines and is_full(self.out):  # what it said found no room either
            return HermesError(f"{self.called} {what}: {no_room(self.out.parent.parent)}", code=code)
        said = "\n".join(f"  {line}" for line in lines[-TAIL_LINES:]) or "  it printed nothing"
        message = f"{self.called} {what}. It said:\n{said}"
        return ConfigError(message) if exit_code == 2 else HermesError(message, code=code)


def answers(url: str, path: str, statuses: Collection[int] = (200,), *, timeout_seconds: float = 2.0) -> bool:
    """Whether a server at `url` says at `path` that it lives."""
    where = urllib.parse.urlsplit(url)
    connection = http.client.HTTPConnection(where.hostname or "127.0.0.1", where.port, timeout=timeout_seconds)
    try:
        connection.request("GET", path)
        return connection.getresponse().status in statuses
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


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
