"""The update of this installation: started here, done by a process of its own (`updater`), told by a file.

That process outlives Link and the gateway, both of which it restarts. Its lock says whether it lives, the file what it
did: a file that says `running` while nobody holds the lock is of an update that was killed.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from pathlib import Path

from hermes.core.errors import Conflict, HermesError
from hermes.home.files import make_private_directory, open_private, write_private
from hermes.home.locks import file_lock, is_locked
from hermes.home.updates.installation import checked

START_SECONDS = 30.0
"""What an interpreter takes to begin, on a machine that has much else to do."""
LOOK_SECONDS = 0.05
MAX_LINES = 240
MAX_LINE_CHARS = 2000


class UpdateState(StrEnum):
    IDLE = "idle"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    RESTART_REQUIRED = "restart_required"


FINAL = frozenset({UpdateState.SUCCEEDED, UpdateState.FAILED, UpdateState.RESTART_REQUIRED})


@dataclass(frozen=True, slots=True)
class UpdateStatus:
    """The last update. `number` grows with every change, over all updates of a home; `stage` is what it does, for a
    person. `lines` are the last of `line_count`. Times in unix seconds. `exit_code` is the installer's."""

    number: int = 0
    state: UpdateState = UpdateState.IDLE
    stage: str = ""
    job_id: str | None = None
    from_version: str | None = None
    target_version: str | None = None
    started_at: float | None = None
    finished_at: float | None = None
    exit_code: int | None = None
    error: str | None = None
    manual_command: str | None = None
    line_count: int = 0
    lines: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class UpdateFiles:
    """Under `run/` of the home that holds the profiles."""

    run_dir: Path

    @classmethod
    def of(cls, root: Path) -> UpdateFiles:
        return cls(root / "run")

    @property
    def status(self) -> Path:
        return self.run_dir / "update.json"

    @property
    def lock(self) -> Path:
        return self.run_dir / "update.lock"

    @property
    def start_lock(self) -> Path:
        return self.run_dir / "update-start.lock"

    @property
    def output(self) -> Path:
        """What the process itself prints: nothing, unless it breaks."""
        return self.run_dir / "update.out"

    @property
    def copies(self) -> Path:
        """Databases as they were before the newer version opened them."""
        return self.run_dir / "update"


def read_status(root: Path) -> UpdateStatus:
    """IDLE where there was no update, or its file cannot be read."""
    files = UpdateFiles.of(root)
    told = kept_status(files)
    if told.state is not UpdateState.RUNNING or is_locked(files.lock):
        return told
    told = kept_status(files)  # it may have ended between the two looks
    if told.state is not UpdateState.RUNNING:
        return told
    error = f"the update was ended while it was {told.stage}; look which version there is, and do it by hand"
    return replace(told, number=told.number + 1, state=UpdateState.FAILED, error=error)


def kept_status(files: UpdateFiles) -> UpdateStatus:
    """As the file has it."""
    try:
        kept = json.loads(files.status.read_text("utf-8"))
        return UpdateStatus(**{**kept, "state": UpdateState(kept["state"]), "lines": tuple(kept["lines"])})
    except (OSError, ValueError, KeyError, TypeError):
        return UpdateStatus()


def keep_status(files: UpdateFiles, status: UpdateStatus) -> None:
    write_private(files.status, json.dumps(asdict(status)) + "\n")


def start_update(root: Path, version: str, environ: Mapping[str, str], *, is_newest: bool) -> UpdateStatus:
    """Returns when the process has begun; it goes on whatever becomes of this one. `is_newest`: the installer may take
    its usual way, which brings the newest. Blocks.

    Raises UpdateRefused for what is no version, Conflict `update_running`, HermesError `update_not_started`.
    """
    files = UpdateFiles.of(root)
    how = (checked(version), "newest" if is_newest else "exactly")
    make_private_directory(files.run_dir)
    with file_lock(files.start_lock):
        if is_locked(files.lock):
            raise Conflict("an update runs already; see how far it is, and wait for its end", code="update_running")
        job_id = f"upd_{secrets.token_hex(16)}"
        return _begun(_spawn(files, root, (job_id, *how), environ), files, job_id)


def _spawn(
    files: UpdateFiles, root: Path, arguments: tuple[str, ...], environ: Mapping[str, str]
) -> subprocess.Popen[bytes]:
    files.output.unlink(missing_ok=True)
    handle = open_private(files.output, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    command = (*_apart(environ), sys.executable, "-P", "-m", "hermes.home.updates.updater", *arguments)
    try:
        return subprocess.Popen(
            command,
            env={**environ, "HERMES_HOME": str(root)},
            stdin=subprocess.DEVNULL,
            stdout=handle,
            stderr=handle,
            start_new_session=True,
            creationflags=getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0),
        )
    except OSError as error:
        raise _not_started(f"{error}") from error
    finally:
        os.close(handle)


def _apart(environ: Mapping[str, str]) -> tuple[str, ...]:
    """systemd ends what a unit started together with the unit (KillMode=mixed), which the update restarts."""
    if "INVOCATION_ID" not in environ:
        return ()
    program = shutil.which("systemd-run", path=environ.get("PATH"))
    return () if program is None else (program, "--user", "--scope", "--quiet", "--collect", "--")


def _begun(child: subprocess.Popen[bytes], files: UpdateFiles, job_id: str) -> UpdateStatus:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        has_ended = child.poll() is not None
        told = kept_status(files)
        if told.job_id == job_id:
            threading.Thread(target=child.wait, name="update", daemon=True).start()  # or it stays a zombie
            return told
        if has_ended:
            break
        time.sleep(LOOK_SECONDS)
    child.kill()
    child.wait()
    with suppress(OSError):
        raise _not_started(files.output.read_text("utf-8", "replace").strip()[-400:])
    raise _not_started("")


def _not_started(why: str) -> HermesError:
    return HermesError(f"the updater did not start: {why or 'it said nothing'}", code="update_not_started")
