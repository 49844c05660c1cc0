"""What a container and another machine have in common: a client of ours reaches them, a `Holder` holds the shell there.

The holder is `toolsets/supervisor.py` itself, sent along with each command; the other side needs nothing but python3.
A carrier is the process that keeps the way there open: the container itself, or the connection. It runs under a
supervisor like any command, so it ends with this process, however that ends.
"""

from __future__ import annotations

import asyncio
import hashlib
import shlex
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path, PurePosixPath
from typing import Any

from hermes.core.errors import ToolFailed
from hermes.core.reap import reap
from hermes.toolsets import output, supervisor
from hermes.toolsets.backends.backend import Command, Launch, Shell, Start
from hermes.toolsets.backends.local import directory_in
from hermes.toolsets.processes import MARK, Process, Processes
from hermes.toolsets.supervisor import BASH, SH

READY = "hermes-is-ready"
POLL_SECONDS = 0.02
LOOK_SECONDS = 15.0
LONGEST_ANSWER = 1 << 20
"""Of a short program. What answers over there may be anything by now: a command could have changed it."""
PASSED_ON = (
    "PATH",
    "HOME",
    "LANG",
    "LC_ALL",
    "SSH_AUTH_SOCK",
    "DOCKER_HOST",
    "DOCKER_CONFIG",
    "DOCKER_CONTEXT",
    "TMPDIR",
)
"""What a client of ours gets of the environment. Nothing of it reaches the other side."""

FAR_STATES = "~/.cache/hermes-server"

READER = (
    "import os;f=lambda n:b'' if n<1 else (lambda b:b+f(n-len(b)))(os.read(0,min(n,65536)) or os._exit(1));"
    "exec(compile(f({size}),'hermes','exec'),{{'__name__':'hermes'}})"
)
"""Runs the first `size` bytes of its input; what comes after them stays there."""


def program(call: str, **values: Any) -> bytes:
    """The holder's source, and what it is called for."""
    source = Path(supervisor.__file__).read_text("utf-8")
    said = ", ".join(f"{name}={value!r}" for name, value in values.items())
    return f"{source}\n\n{call}({said})\n".encode("utf-8", "surrogateescape")


def python(size: int) -> tuple[str, ...]:
    return "python3", "-I", "-S", "-c", READER.format(size=size)


def far_shell(shell: str | None) -> list[str]:
    if shell is None:
        return []
    return [shell, *(BASH if PurePosixPath(shell).name == "bash" else SH)]


class Far(ABC):
    """A backend by way of a client program. What differs is how the way is opened, and the client's command line."""

    name: str
    shares_workspace = False
    binds: tuple[Path, ...] = ()
    notice = ""
    state: str | None = '"$HERMES_STATE"'

    def __init__(self, processes: Processes, environ: Mapping[str, str], shell: str | None = None) -> None:
        self._processes = processes
        self._environment = {name: environ[name] for name in PASSED_ON if name in environ}
        self._environment.setdefault("PATH", "/usr/local/bin:/usr/bin:/bin")
        self._far_shell = far_shell(shell)

    # what a kind of it says

    @abstractmethod
    async def open(self, shell: Shell, workspace: Path) -> bool:
        """Make sure that there is a way; True when it leads somewhere new. Raises ToolFailed."""

    @abstractmethod
    def client(self, session_id: str, words: Sequence[str]) -> tuple[str, ...]:
        """The command line that runs a program over there."""

    def far_state(self, session_id: str) -> str:
        """What a session leaves over there for its next command."""
        whose = f"{self._processes.run_dir.absolute()}\0{session_id}"
        return f"{FAR_STATES}/{hashlib.sha256(whose.encode()).hexdigest()[:24]}"

    @abstractmethod
    def first_directory(self, workspace: Path) -> Path | None:
        """Where a session starts. None: where the other side puts us."""

    @abstractmethod
    def problem(self) -> str:
        """Why no command can run there, empty when none is known."""

    # what they share

    async def start(self, shell: Shell, asked: str | None, workspace: Path) -> Start:
        is_new = await self.open(shell, workspace)
        note = None
        if is_new:
            was_open, shell.is_open, shell.directory = shell.is_open, False, None
            note = f"[{self.renewal()}]" if was_open else None
        if not shell.is_open:
            await self._look(shell, takes=False)
            shell.is_open = True
        last = shell.directory or self.first_directory(workspace)
        if asked is not None:
            base = None if asked.split("/")[0] == "~" else last  # the home over there, which the shell knows
            return Start(directory=Path(asked) if base is None else base / asked, note=note, enters=True)
        return Start(directory=last, note=note, enters=True)

    def renewal(self) -> str:
        return "the connection was lost and is there again"

    async def launch(self, command: Command, script: Path) -> Launch:
        text = await asyncio.to_thread(script.read_text, "utf-8", "surrogateescape")
        sent = program(
            "hold",
            name=command.id,
            state=self.far_state(command.shell.session_id),
            script=text,
            has_input=command.has_input,
            shell=self._far_shell,
            mark=MARK,
        )
        return Launch(
            argv=self.client(command.shell.session_id, python(len(sent))),
            directory=script.parent,
            environment=self._environment,
            kind="far",
            opening=sent,
        )

    async def remember(self, shell: Shell) -> None:
        await self._look(shell, takes=True)

    async def _look(self, shell: Shell, *, takes: bool) -> None:
        sent = program("look", state=self.far_state(shell.session_id), takes=takes)
        code, said, complained = await self.ask(self.client(shell.session_id, python(len(sent))), sent)
        if code != 0:
            raise ToolFailed(f"{self.name}: {complained or f'its client ended with {code}'}")
        shell.directory = directory_in(said) or shell.directory

    async def ask(
        self, argv: Sequence[str], sent: bytes = b"", seconds: float = LOOK_SECONDS
    ) -> tuple[int, bytes, str]:
        """Exit code, output and complaint of a short program. Raises ToolFailed when it cannot run, or is too slow
        or too talkative."""
        try:
            process = await asyncio.create_subprocess_exec(
                *argv,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
                env=self._environment,
                start_new_session=True,
            )
        except OSError as error:
            raise ToolFailed(f"{self.name}: cannot run {argv[0]}: {error.strerror or error}") from error
        try:
            async with asyncio.timeout(seconds):
                said, complained = await _converse(process, sent)
        except TimeoutError:
            raise ToolFailed(f"{self.name}: {argv[0]} did not answer within {seconds:g} s.") from None
        except _TooLong:
            raise ToolFailed(f"{self.name}: {argv[0]} answered with more than {LONGEST_ANSWER:,} bytes.") from None
        finally:
            if process.returncode is None:
                with suppress(ProcessLookupError):
                    process.kill()
                await reap(process)
        return process.returncode or 0, said, " ".join(complained.decode("utf-8", "replace").split())[-600:]

    async def carry(self, name: str, argv: Sequence[str], seconds: float) -> Process:
        """Start a carrier and wait until it has printed READY. Raises ToolFailed with what it said instead."""
        session_id = f"{self.name} {name}"
        process = await self._processes.start(
            Launch(argv=tuple(argv), directory=self._processes.session_dir(session_id), environment=self._environment),
            command=shlex.join(argv),
            session_id=session_id,
            run_id="",
            background=True,
        )
        try:
            async with asyncio.timeout(seconds):
                while process.is_running and READY not in self._said(process):  # noqa: ASYNC110 - a file tells it
                    await asyncio.sleep(POLL_SECONDS)
        except TimeoutError:
            await self.drop(process)
            raise ToolFailed(f"{self.name}: no way there within {seconds:g} s. {self._said(process)}".strip()) from None
        except asyncio.CancelledError:
            await self.drop(process)
            raise
        if not process.is_running:
            said = self._said(process)
            await self.drop(process)
            raise ToolFailed(f"{self.name}: {said or f'{argv[0]} ended by itself'}")
        return process

    async def drop(self, process: Process) -> None:
        await process.kill_and_wait(0.3)
        await self._processes.end_session(process.session_id)

    def _said(self, process: Process) -> str:
        said = output.read(process.log, self._processes.piece_bytes, 0, 4096).decode("utf-8", "replace")
        return " ".join(output.clean(said).split())[-600:]


class _TooLong(Exception):
    pass


async def _converse(process: asyncio.subprocess.Process, sent: bytes) -> tuple[bytes, bytes]:
    """Output and complaint. Raises _TooLong."""
    assert process.stdin is not None and process.stdout is not None and process.stderr is not None
    process.stdin.write(sent)
    process.stdin.close()
    said, complained = await asyncio.gather(_read(process.stdout, process), _read(process.stderr, process))
    await process.wait()
    if said is None or complained is None:
        raise _TooLong
    return said, complained


async def _read(stream: asyncio.StreamReader, process: asyncio.subprocess.Process) -> bytes | None:
    """All of it. None when that is too much: the process is killed, and what it left is read to its end."""
    said = b""
    while piece := await stream.read(1 << 16):
        if len(said) <= LONGEST_ANSWER:
            said += piece
            if len(said) > LONGEST_ANSWER and process.returncode is None:
                process.kill()
    return said if len(said) <= LONGEST_ANSWER else None
