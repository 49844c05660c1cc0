"""Commands run on this machine, with the rights of this process."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import stat
from pathlib import Path

from hermes.core.errors import ToolFailed
from hermes.toolsets.backends.backend import SNAPSHOT_BYTES, Command, Launch, Shell, Start
from hermes.toolsets.supervisor import BASH, SH

WHOLE = "# whole"
"""The last line of a snapshot."""


class Local:
    name = "local"
    shares_workspace = True
    binds: tuple[Path, ...] = ()
    notice = ""
    state: str | None = None

    def __init__(self, shell: str | None = None) -> None:
        self._shell = find_shell(shell)

    def problem(self) -> str:
        return "" if hasattr(os, "fork") else "terminal needs Linux or macOS"

    async def start(self, shell: Shell, asked: str | None, workspace: Path) -> Start:
        return await asyncio.to_thread(_start, shell, asked, workspace)

    async def launch(self, command: Command, script: Path) -> Launch:
        environment = dict(command.environment)
        if command.shell.has_environment:  # the snapshot is the whole truth: what was unset stays unset
            environment = {"PATH": environment.get("PATH", "/usr/bin:/bin")}
        assert command.start.directory is not None
        return Launch(argv=(*self._shell, str(script)), directory=command.start.directory, environment=environment)

    async def remember(self, shell: Shell) -> None:
        await asyncio.to_thread(take_snapshot, shell)

    async def end_session(self, session_id: str) -> None:
        return

    async def close(self) -> None:
        return


def find_shell(shell: str | None) -> tuple[str, ...]:
    """The start of a command line that runs a script file: bash where there is one, else sh."""
    program = shell or shutil.which("bash") or shutil.which("sh") or "/bin/sh"
    return (program, *BASH) if Path(program).name == "bash" else (program, *SH)


def begin(shell: Shell) -> None:
    """Look at what is there of the session, and let go of what a call left that was killed."""
    shell.state.mkdir(mode=0o700, parents=True, exist_ok=True)
    for file in (shell.environment_file, shell.directory_file):
        _remove(file.with_suffix(".new"))
    if not shell.is_open:
        _open(shell)


def take_snapshot(shell: Shell) -> None:
    """What commands wrote is not to be trusted: it may be a link, a pipe or endless."""
    new = shell.environment_file.with_suffix(".new")
    if _read(new).endswith(WHOLE.encode() + b"\n"):
        with contextlib.suppress(OSError):
            new.replace(shell.environment_file)
    with contextlib.suppress(OSError):
        shell.directory_file.with_suffix(".new").replace(shell.directory_file)
    _open(shell)


def _open(shell: Shell) -> None:
    shell.is_open = True
    shell.has_environment = shell.environment_file.exists()
    shell.directory = directory_in(_read(shell.directory_file)) or shell.directory


def directory_in(data: bytes) -> Path | None:
    text = data.decode("utf-8", "surrogateescape").removesuffix("\n")
    return Path(text) if text.startswith("/") and "\0" not in text else None


def _start(shell: Shell, asked: str | None, workspace: Path) -> Start:
    begin(shell)
    last = shell.directory or workspace
    if asked is not None:
        path = last / Path(asked).expanduser()
        if not path.is_dir():
            raise ToolFailed(f"workdir: {path} is not a directory.")
        return Start(directory=path)
    if last.is_dir():
        return Start(directory=last)
    shell.directory = None
    if not workspace.is_dir():
        raise ToolFailed(f"The working directory {workspace} is gone; give another one as workdir.")
    return Start(directory=workspace, note=f"[{last} is gone; this ran in {workspace}]")


def _read(path: Path) -> bytes:
    """The end of a regular file; nothing of anything else."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return b""
    try:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            return b""
        return os.pread(descriptor, SNAPSHOT_BYTES, max(0, found.st_size - SNAPSHOT_BYTES))
    finally:
        os.close(descriptor)


def _remove(path: Path) -> None:
    try:
        path.unlink(missing_ok=True)
    except OSError:  # a directory, put there by a command
        shutil.rmtree(path, ignore_errors=True)
