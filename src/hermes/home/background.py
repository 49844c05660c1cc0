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
from typing import TypeVar

from hermes.core.errors import ConfigError, HermesError
from hermes.home.disk import is_full, no_room
from hermes.home.files import make_private_directory, open_private

START_SECONDS = 60.0
"""A start takes a second; a machine that boots may take longer."""
LOOK_SECONDS = 0.05
OUTPUT_BYTES = 1 << 20
TAIL_LINES = 20

Found = TypeVar("Found")


@dataclass(frozen=True, slots=True)
class Service:
    """`called` in sentences: "the gateway", "Link". `kind` begins the codes of its errors, `program` the lines it
    prints. `out` is where they go, `logs` the command that shows more."""

    called: str
    kind: str
    program: str
    out: Path
    logs: str

    def start(
        self, arguments: Sequence[str], environ: Mapping[str, str], ready: Callable[[int], Found | None]
    ) -> tuple[Found, int]:
        """`python -P -m ARGUMENTS`. Returns what `ready` gives for its pid as soon as that is something, and where its
        words begin in `out`.

        Raises HermesError `KIND_not_started` with the last lines it printed; ConfigError where it ended with 2.
        """
        begin = self._begin()
        child = self._spawn(arguments, environ)
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            code = child.poll()
            if code is not None:
                raise self._not_started(f"ended at its start (exit code {code})", begin, code)
            found = ready(child.pid)
            if found is not None:
                child.returncode = 0  # it lives on without us: Popen would warn that nobody waited for it
                return found, begin
            time.sleep(LOOK_SECONDS)
        child.kill()
        child.wait()
        raise self._not_started(f"was not ready within {START_SECONDS:g} s", begin, 1)

    def stop(self, pid: int, running: Callable[[], int | None], limit_seconds: float) -> float:
        """How many seconds it took. `running` gives the pid that has the lock now.

        Raises HermesError, `KIND_not_stopped` where it takes longer.
        """
        began = time.monotonic()
        try:
            os.kill(pid, signal.SIGTERM)
        except ProcessLookupError:
            return 0.0
        except PermissionError as error:
            raise HermesError(f"{self.called} (pid {pid}) belongs to another user, who has to stop it") from error
        while time.monotonic() - began < limit_seconds:
            if running() != pid and not _lives(pid):
                return time.monotonic() - began
            time.sleep(LOOK_SECONDS)
        raise HermesError(
            f"{self.called} (pid {pid}) was told to stop and has not ended within {limit_seconds:g} s; see why with: "
            f"{self.logs}, and end it with: kill -9 {pid}",
            code=f"{self.kind}_not_stopped",
        )

    def words(self, begin: int) -> str:
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
        lines = [line.removeprefix(f"{self.program}: ") for line in self.words(begin).splitlines() if line.strip()]
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
