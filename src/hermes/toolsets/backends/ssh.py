"""Commands run on another machine. One connection is kept open, and each command is a channel of it."""

from __future__ import annotations

import asyncio
import shlex
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from hermes.core.errors import ToolFailed
from hermes.toolsets.backends.backend import Shell
from hermes.toolsets.backends.far import READY, Far, program, python
from hermes.toolsets.processes import Process, Processes

CONNECT_SECONDS = 15.0


@dataclass(frozen=True, slots=True, kw_only=True)
class SshSettings:
    """What is None is as the user's ssh configuration has it. `directory`: where sessions start, else at login's."""

    host: str
    user: str | None = None
    port: int | None = None
    key_file: Path | None = None
    known_hosts: Path | None = None
    directory: str | None = None


class Ssh(Far):
    name = "ssh"

    def __init__(
        self, settings: SshSettings, processes: Processes, environ: Mapping[str, str], shell: str | None = None
    ) -> None:
        super().__init__(processes, environ, shell)
        self._settings = settings
        self._place: tempfile.TemporaryDirectory[str] | None = None
        self._connection: Process | None = None
        self._connecting = asyncio.Lock()
        self._connections = 0
        self._seen: dict[str, int] = {}

    @property
    def notice(self) -> str:  # type: ignore[override]
        return f"Commands run on {self._settings.host}, another machine than this server's."

    def problem(self) -> str:
        if not self._settings.host:
            return "terminal.backend is ssh, and terminal.ssh.host is not set"
        if shutil.which("ssh", path=self._environment["PATH"]) is None:
            return "terminal.backend is ssh, and there is no ssh program: apt install openssh-client"
        return ""

    async def open(self, shell: Shell, workspace: Path) -> bool:
        async with self._connecting:
            if self._connection is None or not self._connection.is_running:
                self._connection = await self._connect()
                self._connections += 1
        is_new = self._seen.get(shell.session_id) not in (None, self._connections)
        self._seen[shell.session_id] = self._connections
        return is_new

    async def _connect(self) -> Process:
        if self._connection is not None:
            await self.drop(self._connection)
        if self._place is None:  # the path of a socket has room for 100 characters only
            self._place = await asyncio.to_thread(tempfile.TemporaryDirectory, prefix="hermes-ssh-")
        await asyncio.to_thread(Path(self._socket).unlink, missing_ok=True)
        words = (
            "ssh",
            *connecting(self._settings),
            "-M",
            "-N",
            "-S",
            self._socket,
            *saying_ready(),
            "--",
            self._target,
        )
        return await self.carry("connection", words, CONNECT_SECONDS)

    def client(self, session_id: str, words: Sequence[str]) -> tuple[str, ...]:
        # sshd allows ten channels a connection; beyond, ssh says so and connects anew, which is nobody's business
        quiet = ("-o", "LogLevel=FATAL")
        return (
            *("ssh", *connecting(self._settings), *quiet, "-T", "-S", self._socket),
            *("--", self._target, shlex.join(words)),
        )

    def first_directory(self, workspace: Path) -> Path | None:
        return Path(self._settings.directory) if self._settings.directory else None

    async def end_session(self, session_id: str) -> None:
        if self._seen.pop(session_id, None) is None or self._connection is None or not self._connection.is_running:
            return
        gone = program("forget", state=self.far_state(session_id))
        with suppress(ToolFailed):  # what is left there goes by itself, in time
            await self.ask(self.client(session_id, python(len(gone))), gone)

    async def close(self) -> None:
        if self._connection is not None:
            await self.drop(self._connection)
            self._connection = None
        if self._place is not None:
            await asyncio.to_thread(self._place.cleanup)
            self._place = None

    @property
    def _socket(self) -> str:
        assert self._place is not None
        return f"{self._place.name}/s"

    @property
    def _target(self) -> str:
        return self._settings.host


def connecting(settings: SshSettings) -> Iterator[str]:
    """Options of every call. Nothing is ever asked for, so an unknown host or a key with a passphrase is a failure."""
    yield from ("-o", "BatchMode=yes", "-o", f"ConnectTimeout={CONNECT_SECONDS:g}", "-o", "ControlPersist=no")
    yield from ("-o", "ServerAliveInterval=10", "-o", "ServerAliveCountMax=3", "-o", "ForwardAgent=no", "-x")
    if settings.user is not None:
        yield from ("-l", settings.user)
    if settings.port is not None:
        yield from ("-p", str(settings.port))
    if settings.key_file is not None:
        yield from ("-i", str(settings.key_file), "-o", "IdentitiesOnly=yes")
    if settings.known_hosts is not None:
        yield from ("-o", f"UserKnownHostsFile={settings.known_hosts}")


def saying_ready() -> Iterator[str]:
    yield from ("-o", "PermitLocalCommand=yes", "-o", f"LocalCommand=echo {READY}")
