"""The `terminal` tool: a shell whose directory and exported variables last as long as the session.

Each call is a fresh shell that reads the session's snapshot first and writes it last. So a call that is killed loses
what it changed itself and nothing else, and no shell sits there between the calls (docs/adr/0030).
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shlex
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import Field

from hermes.core.errors import ToolFailed
from hermes.core.ports import Action, ActionKind, ToolContext, ToolResult
from hermes.toolsets import output
from hermes.toolsets.processes import MARK, Process, Processes
from hermes.toolsets.settings import TerminalSettings
from hermes.toolsets.tool import Arguments, BaseTool, one_line

STATE = "terminal"
"""Where the session's `Shell` is in `ToolContext.state`."""

WHOLE = "# whole"
"""The last line of a snapshot."""


class TerminalArguments(Arguments):
    command: str = Field(description="The shell command to run.", min_length=1, max_length=200_000)
    background: bool = Field(False, description="Start it and return at once; follow it with the process tool.")
    timeout: float | None = Field(None, gt=0, description="Seconds until it is killed; usually 180.")
    workdir: str | None = Field(None, description="Directory for this call only. Default: where the last one left off.")


@dataclass(slots=True)
class Shell:
    """What a session's next command starts from. `directory` None: the context's own."""

    environment_file: Path
    directory_file: Path
    directory: Path | None = None
    has_environment: bool = False
    is_open: bool = False
    pen: asyncio.Lock = field(default_factory=asyncio.Lock)


class TerminalTool(BaseTool[TerminalArguments]):
    name = "terminal"
    description = """Run a shell command. Directory and exported variables carry over to the next call. Standard input
        is closed: use flags that do not ask. Long output is cut in the middle and kept in a file. Start servers and
        watchers with background=true. Prefer read_file, patch and search_files for files."""
    arguments = TerminalArguments

    def __init__(self, processes: Processes, settings: TerminalSettings, hide: Callable[[str], str] = str) -> None:
        super().__init__()
        self._processes = processes
        self._settings = settings
        self._hide = hide
        self._shell = find_shell(settings)

    def summary(self, arguments: TerminalArguments) -> str:
        return arguments.command

    def action(self, arguments: TerminalArguments, context: ToolContext) -> Action:
        shell = context.state.get(STATE)
        directory = shell.directory if isinstance(shell, Shell) and shell.directory else context.workdir
        if arguments.workdir:
            directory = directory / Path(arguments.workdir).expanduser()
        return Action(ActionKind.COMMAND, arguments.command, workdir=directory)

    async def run(self, arguments: TerminalArguments, context: ToolContext) -> ToolResult:
        if not hasattr(os, "fork"):
            raise ToolFailed("The terminal needs Linux or macOS; on Windows run the server in WSL.")
        if "\0" in arguments.command:
            raise ToolFailed("The command contains a NUL byte, which no shell takes.")
        timeout = self._timeout(arguments)
        shell = self._session_shell(context)
        async with shell.pen:
            if arguments.background:
                return await self._start_background(arguments, context, shell)
            return await self._run(arguments, context, shell, timeout)

    def _timeout(self, arguments: TerminalArguments) -> float:
        seconds = arguments.timeout or self._settings.timeout_seconds
        if seconds > self._settings.max_timeout_seconds and not arguments.background:
            raise ToolFailed(
                f"timeout: at most {self._settings.max_timeout_seconds:g} seconds; "
                "run longer commands with background=true and follow them with the process tool."
            )
        return seconds

    def _session_shell(self, context: ToolContext) -> Shell:
        shell = context.state.get(STATE)
        if not isinstance(shell, Shell):
            directory = self._processes.session_dir(context.session_id)
            shell = Shell(directory / "environment", directory / "directory")
            context.state[STATE] = shell
        return shell

    async def _start(
        self, arguments: TerminalArguments, context: ToolContext, shell: Shell
    ) -> tuple[Process, Path, str | None]:
        """The process, where it starts, and what has to be said about that."""
        directory, note = await asyncio.to_thread(_start_directory, arguments.workdir, shell, context.workdir)
        environment = dict(context.environment)
        if shell.has_environment:  # the snapshot is the whole truth: what was unset stays unset
            environment = {"PATH": environment.get("PATH", "/usr/bin:/bin")}
        process = await self._processes.start(
            self._shell,
            command=arguments.command,
            session_id=context.session_id,
            run_id=context.run_id,
            workdir=directory,
            environment=environment,
            script=_script(
                arguments.command,
                shell,
                saves_environment=not arguments.background,
                saves_directory=not arguments.background and arguments.workdir is None,
            ),
            background=arguments.background,
        )
        return process, directory, note

    async def _start_background(self, arguments: TerminalArguments, context: ToolContext, shell: Shell) -> ToolResult:
        process, directory, note = await self._start(arguments, context, shell)
        await self._processes.forget_old(context.session_id)
        text = (
            f"Started in the background as {process.id} in {directory}. Follow it with "
            f"process(action='poll', session_id='{process.id}')."
        )
        return ToolResult("\n".join(filter(None, (note, text))), preview=f"started {process.id}")

    async def _run(
        self, arguments: TerminalArguments, context: ToolContext, shell: Shell, seconds: float
    ) -> ToolResult:
        process, directory, note = await self._start(arguments, context, shell)
        timed_out = False
        try:
            try:
                await asyncio.wait_for(process.ended.wait(), seconds)
            except TimeoutError:
                timed_out = True
                await process.kill_and_wait(self._settings.kill_grace_seconds)
        except asyncio.CancelledError:
            await process.kill_and_wait(self._settings.cancel_grace_seconds)
            await self._processes.forget(process)
            raise
        shown, moved = await asyncio.to_thread(self._look, process, shell, directory, timed_out=timed_out)
        lines = [note, shown.text.rstrip("\n")]
        if timed_out:
            lines.append(f"[killed after {seconds:g} seconds; use background=true for what runs long]")
        if shown.is_cut:
            lines.append(f"[{shown.total_bytes:,} bytes of output in all, kept in {process.log}]")
        if process.is_running:
            lines.append(
                f"[{process.left} process(es) it started still run, as {process.id}: "
                f"end them with process(action='kill', session_id='{process.id}')]"
            )
        else:
            await self._processes.forget(process, keep_output=shown.is_cut)
        lines.append(moved)
        lines.append("" if timed_out else f"[{exit_words(process.exit_code)}]")
        failed = timed_out or process.exit_code != 0
        preview = one_line(shown.text) if not failed else f"{exit_words(process.exit_code)}: {one_line(shown.text)}"
        if timed_out:
            preview = f"timed out after {seconds:g} s"
        return ToolResult("\n".join(filter(None, lines)), is_error=failed, preview=preview[:200])

    def _look(
        self, process: Process, shell: Shell, started_in: Path, *, timed_out: bool
    ) -> tuple[output.Output, str | None]:
        settings = self._settings
        before = shell.directory or started_in
        shown = output.head_and_tail(process.log, settings.piece_bytes, settings.output_characters, self._hide)
        if not timed_out:
            _remember(shell)
        has_moved = shell.directory is not None and shell.directory != before
        return shown, f"[directory is now {shell.directory}]" if has_moved else None


def exit_words(code: int | None) -> str:
    return f"killed by signal {-code}" if code is not None and code < 0 else f"exit code {code}"


def find_shell(settings: TerminalSettings) -> tuple[str, ...]:
    """The start of a command line that runs a script file: bash where there is one, else sh."""
    shell = settings.shell or shutil.which("bash") or shutil.which("sh") or "/bin/sh"
    if Path(shell).name == "bash":
        return shell, "--noprofile", "--norc", "-c", 'eval "$(<"$1")"', "bash"
    return shell, "-c", 'eval "$(cat "$1")"', "sh"


def _script(command: str, shell: Shell, *, saves_environment: bool, saves_directory: bool) -> str:
    """The session's snapshot, the command, a new snapshot beside the old one. For bash and for plain sh.

    The command is in a file, not on a command line, so that `pkill -f WORD` in it does not find itself.
    """
    environment = shlex.quote(str(shell.environment_file))
    save = []
    if saves_environment:
        listing = 'export -p; [ -z "${BASH_VERSION-}" ] || { declare -f; export -pf; }'
        save.append(f"( umask 077; {{ {listing}; echo '{WHOLE}'; }} > {environment}.new ) 2>/dev/null")
    if saves_directory:
        save.append(f"( umask 077; pwd > {shlex.quote(str(shell.directory_file))}.new ) 2>/dev/null")
    return "\n".join(
        (
            f"__hermes_mark=${MARK}",
            f"[ -r {environment} ] && . {environment} 2>/dev/null",
            f"export {MARK}=$__hermes_mark; unset __hermes_mark",
            "__hermes_save() { __hermes_code=$?; { set +eux; } 2>/dev/null; unset -f __hermes_save; trap - EXIT",
            *save,
            "exit $__hermes_code; }",
            "trap __hermes_save EXIT" if save else "",
            f"eval {shlex.quote(command)}",
            "__hermes_save" if save else "",
        )
    )


def _remember(shell: Shell) -> None:
    """Take the snapshot that the last call wrote."""
    new = shell.environment_file.with_suffix(".new")
    with contextlib.suppress(OSError), new.open("rb") as file:
        file.seek(-len(WHOLE) - 1, os.SEEK_END)
        if file.read() == WHOLE.encode() + b"\n":
            new.replace(shell.environment_file)
    with contextlib.suppress(OSError):
        shell.directory_file.with_suffix(".new").replace(shell.directory_file)
    _open(shell)


def _open(shell: Shell) -> None:
    shell.is_open = True
    shell.has_environment = shell.environment_file.exists()
    with contextlib.suppress(OSError):
        text = shell.directory_file.read_text("utf-8", "surrogateescape").removesuffix("\n")
        if text.startswith("/"):
            shell.directory = Path(text)


def _start_directory(asked: str | None, shell: Shell, workdir: Path) -> tuple[Path, str | None]:
    for file in (shell.environment_file, shell.directory_file):
        file.with_suffix(".new").unlink(missing_ok=True)  # of a call that was killed
    if not shell.is_open:
        _open(shell)
    last = shell.directory or workdir
    if asked is not None:
        path = last / Path(asked).expanduser()
        if not path.is_dir():
            raise ToolFailed(f"workdir: {path} is not a directory.")
        return path, None
    if last.is_dir():
        return last, None
    shell.directory = None
    if not workdir.is_dir():
        raise ToolFailed(f"The working directory {workdir} is gone; give another one as workdir.")
    return workdir, f"[{last} is gone; this ran in {workdir}]"
