"""The commands that run: each under a `supervisor`, counted by session and run, ended together.

What a session leaves on disk stands in `<run_dir>/terminal/<session>/`; what runs has a record in
`<run_dir>/processes/`, from which `reap` ends what a killed gateway left behind.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import re
import signal
import sys
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

from hermes.core.errors import ToolFailed
from hermes.core.ids import new_id
from hermes.toolsets import output, supervisor
from hermes.toolsets.backends.backend import Launch
from hermes.toolsets.supervisor import descendants, stat_of

MARK = "HERMES_PROCESS"
"""The variable by which everything that a command started can be found again, whatever group or session it is in."""

SUPERVISOR_DIR = str(Path(supervisor.__file__).parent)

LONGEST_PENDING = 10_000
LONGEST_TOLD = 64
"""Of a line that a supervisor tells."""
_LINE_ENDS = re.compile(r"(?<!\\)\n")

KEPT_ENDED = 16
"""How many ended processes of a session can still be asked for their output."""
KEPT_SECONDS = 7 * 24 * 3600
"""How long the outputs and shell snapshots of a session that is not spoken to stay on disk."""


class Process(asyncio.SubprocessProtocol):
    """One command. `exit_code` is None while it runs, negative for a signal.

    `is_gone`: nothing that it started runs any more. `left` counts what still ran when the command itself ended.
    """

    def __init__(
        self, process_id: str, session_id: str, run_id: str, command: str, log: Path, *, background: bool
    ) -> None:
        self.id = process_id
        self.session_id = session_id
        self.run_id = run_id
        self.command = command
        self.log = log
        self.is_background = background
        self.started_at = time.monotonic()
        self.pid: int | None = None
        self.exit_code: int | None = None
        self.left = 0
        self.seen_bytes = 0
        self.pending_input = ""
        self.ended = asyncio.Event()
        self.gone = asyncio.Event()
        self._control: asyncio.SubprocessTransport | None = None
        self._heard = b""

    @property
    def is_running(self) -> bool:
        """The command itself, or something it left behind."""
        return not self.gone.is_set()

    def kill(self, grace_seconds: float) -> None:
        """Ask for the end of everything under it: SIGTERM, then SIGKILL. `gone` tells when it is done."""
        self._tell(f"kill {int(grace_seconds * 1000)}")

    async def kill_and_wait(self, grace_seconds: float) -> None:
        self.kill(grace_seconds)
        try:
            await asyncio.wait_for(self.gone.wait(), grace_seconds + 6)
        except TimeoutError:
            if self._control is not None:
                with suppress(ProcessLookupError):  # its end was not heard of yet: this process was slow itself
                    self._control.kill()
            await asyncio.to_thread(kill_marked, {self.id})

    def write(self, data: str) -> None:
        """`pending_input` keeps the line that is begun, so that rules see the whole of it."""
        last = _LINE_ENDS.split(self.pending_input + data)[-1]
        self.pending_input = last[-LONGEST_PENDING:]
        self._tell(f"write {data.encode('utf-8', 'surrogateescape').hex()}")

    def open_with(self, data: bytes) -> None:
        """What its input begins with."""
        self._tell(f"raw {data.hex()}")

    def close_input(self) -> None:
        self._tell("close")

    def _tell(self, line: str) -> None:
        if self._control is not None and not self.gone.is_set():
            pipe = cast("asyncio.WriteTransport | None", self._control.get_pipe_transport(0))
            if pipe is not None and not pipe.is_closing():
                pipe.write(line.encode() + b"\n")

    # what asyncio calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._control = cast(asyncio.SubprocessTransport, transport)  # uvloop's is none by its class

    def pipe_data_received(self, fd: int, data: bytes) -> None:
        *lines, heard = (self._heard + data).split(b"\n")
        self._heard = heard[-LONGEST_TOLD:]
        for line in lines:
            word, _, number = line[-LONGEST_TOLD:].decode("ascii", "replace").partition(" ")
            if word != "gone" and not number.removeprefix("-").isdecimal():
                continue  # of a command that found our pipe
            if word == "pid":
                self.pid = int(number)
            elif word == "exit":
                self.exit_code = int(number)
            elif word == "left":
                self.left = int(number)
                if self.left:
                    self.ended.set()
            elif word == "gone":
                self.left = 0

    def process_exited(self) -> None:
        if self._control is not None:
            self._control.close()

    def connection_lost(self, exc: Exception | None) -> None:
        if self.exit_code is None:  # the supervisor itself was killed
            self.exit_code = -signal.SIGKILL
        self.ended.set()
        self.gone.set()


@dataclass(slots=True)
class Processes:
    """All that runs. `run_dir` belongs to this process's home; no method blocks the loop."""

    run_dir: Path
    piece_bytes: int = 8 << 20
    max_processes: int = 16
    _all: dict[str, Process] = field(default_factory=dict)

    def session_dir(self, session_id: str) -> Path:
        """Where a session's outputs lie. A session id may be `..`, so its hash names the directory."""
        return self.outputs_dir / hashlib.sha256(session_id.encode()).hexdigest()[:24]

    @property
    def outputs_dir(self) -> Path:
        return self.run_dir / "terminal"

    @property
    def records_dir(self) -> Path:
        return self.run_dir / "processes"

    def of_session(self, session_id: str) -> list[Process]:
        return [process for process in self._all.values() if process.session_id == session_id]

    def find(self, session_id: str, process_id: str) -> Process:
        """Raises ToolFailed naming those that there are; another session's is not there."""
        process = self._all.get(process_id)
        if process is None or process.session_id != session_id:
            known = ", ".join(found.id for found in self.of_session(session_id)) or "none"
            raise ToolFailed(f"There is no process {process_id!r} in this session. Those there are: {known}.")
        return process

    async def start(
        self,
        launch: Launch | Callable[[str, Path], Awaitable[Launch]],
        *,
        command: str,
        session_id: str,
        run_id: str,
        script: str | None = None,
        background: bool = False,
    ) -> Process:
        """Start a command; `command` is what a person calls it. `launch` may be made from the id it gets and the file
        that holds `script`.

        Raises ToolFailed when the session runs too many, or the directory is not there.
        """
        running = [process for process in self.of_session(session_id) if process.is_running]
        if len(running) >= self.max_processes:
            raise ToolFailed(
                f"{len(running)} processes of this session still run, and that is the limit; end one with "
                f"process(action='kill', session_id='{running[0].id}')."
            )
        process_id = new_id("proc")[:21]
        directory = self.session_dir(session_id)
        log = directory / f"{process_id}.log"
        file = directory / f"{process_id}.sh"
        process = Process(process_id, session_id, run_id, command, log, background=background)
        self._all[process_id] = process
        try:
            await asyncio.to_thread(self._prepare, directory, file, script)
            made = launch if isinstance(launch, Launch) else await launch(process_id, file)
            await self._supervise(process, made)
        except BaseException as error:
            if process.pid is None:
                self._all.pop(process_id, None)
            if isinstance(error, OSError):
                raise ToolFailed(f"Cannot run a command: {error.strerror or error}") from error
            if isinstance(error, asyncio.CancelledError):
                process.kill(0)
            raise
        return process

    async def _supervise(self, process: Process, launch: Launch) -> None:
        arguments = [
            str(self.records_dir / process.id),
            str(process.log),
            str(self.piece_bytes),
            f"{launch.kind}:{'pipe' if process.is_background else 'none'}",
        ]
        try:
            await asyncio.get_running_loop().subprocess_exec(
                lambda: process,
                *(sys.executable, "-I", "-S", "-c", supervisor.STUB, SUPERVISOR_DIR, *arguments, *launch.argv),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.DEVNULL,
                cwd=launch.directory,
                env={**launch.environment, MARK: process.id},
                start_new_session=True,
            )
        except OSError as error:
            where = f"Cannot run a command in {launch.directory}: {error.strerror or error}"
            raise ToolFailed(where) from error
        if launch.opening:
            process.open_with(launch.opening)

    async def forget(self, process: Process, *, keep_output: bool = False) -> None:
        """An ended command that nobody needs to ask about again."""
        self._all.pop(process.id, None)
        await asyncio.to_thread(_clear, process.log, keep_output)

    async def forget_old(self, session_id: str) -> None:
        """Let the oldest ended background processes of a session go."""
        ended = [process for process in self.of_session(session_id) if not process.is_running]
        for process in ended[:-KEPT_ENDED]:
            await self.forget(process)

    async def end_run(self, run_id: str, grace_seconds: float = 0.3) -> None:
        """End everything that a run started, in the background too: the run was stopped."""
        await _end([process for process in self._all.values() if process.run_id == run_id], grace_seconds)

    async def end_session(self, session_id: str, grace_seconds: float = 0.3) -> None:
        """End everything of a session and remove what it left on disk."""
        processes = self.of_session(session_id)
        await _end(processes, grace_seconds)
        for process in processes:
            self._all.pop(process.id, None)
        await asyncio.to_thread(_remove_tree, self.session_dir(session_id))

    async def close(self, grace_seconds: float = 0.3) -> None:
        """End everything. Outputs and snapshots stay for the next start."""
        await _end(list(self._all.values()), grace_seconds)
        self._all.clear()

    def _prepare(self, directory: Path, file: Path, script: str | None) -> None:
        for path in (self.records_dir, directory):
            path.mkdir(mode=0o700, parents=True, exist_ok=True)
        if script is not None:
            descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(descriptor, "w", encoding="utf-8", errors="surrogateescape") as opened:
                opened.write(script)


def reap(run_dir: Path) -> int:
    """End what a gateway left behind that was killed; how many processes that were. Blocks: call it at start.

    What a living gateway of the same home runs is left alone. Old outputs go as well.
    """
    marks: set[str] = set()
    groups: dict[int, int] = {}
    for record in (run_dir / "processes").glob("proc_*"):
        try:
            numbers = [int(word) for word in record.read_text("ascii").split()]
        except (OSError, ValueError):
            numbers = []
        if len(numbers) == 6:
            if is_same(numbers[0], numbers[1]):
                continue
            for pid, start in ((numbers[2], numbers[3]), (numbers[4], numbers[5])):
                if pid and is_same(pid, start):
                    groups[pid] = start
        marks.add(record.name)
        record.unlink(missing_ok=True)
    ended = kill_marked(marks, groups)
    _remove_old(run_dir / "terminal")
    return ended


def kill_marked(marks: Iterable[str], known: Mapping[int, int] | None = None) -> int:
    """SIGKILL to every process with one of the marks, to those in `known` (pid → start), and to all below them."""
    wanted = {f"{MARK}={mark}".encode() for mark in marks}
    killed: set[int] = set()
    for _ in range(20):
        roots = {pid for pid, start in (known or {}).items() if is_same(pid, start)}
        found = {pid for pid in _pids() if wanted and not wanted.isdisjoint(_environment(pid))} | roots
        for root in roots:
            found.update(descendants(root))
        found.discard(os.getpid())
        if not found:
            break
        for number in (signal.SIGSTOP, signal.SIGKILL):
            for pid in found:
                _send(pid, number)
        killed |= found
        time.sleep(0.005)
    return len(killed)


async def _end(processes: Sequence[Process], grace_seconds: float) -> None:
    running = [process for process in processes if process.is_running]
    for process in running:
        process.kill(grace_seconds)
    await asyncio.gather(*(process.kill_and_wait(grace_seconds) for process in running))


def _pids() -> list[int]:
    try:
        return [int(path.name) for path in Path("/proc").iterdir() if path.name.isdigit()]
    except OSError:
        return []


def _environment(pid: int) -> set[bytes]:
    try:
        return set(Path(f"/proc/{pid}/environ").read_bytes().split(b"\0"))
    except OSError:
        return set()


def is_same(pid: int, start: int) -> bool:
    """Whether the process that started then, in clock ticks, still runs under this pid."""
    stat = stat_of(pid)
    return stat is not None and stat[0] != b"Z" and stat[2] == start


def _send(pid: int, number: signal.Signals) -> None:
    try:
        os.kill(pid, number)
    except OSError:
        return


def _clear(log: Path, keep_output: bool) -> None:
    log.with_suffix(".sh").unlink(missing_ok=True)
    if not keep_output:
        output.remove(log)


def _remove_tree(directory: Path) -> None:
    import shutil

    shutil.rmtree(directory, ignore_errors=True)


def _remove_old(directory: Path) -> None:
    oldest = time.time() - KEPT_SECONDS
    for session in directory.glob("*"):
        try:
            if session.stat().st_mtime < oldest:
                _remove_tree(session)
        except OSError:
            continue
