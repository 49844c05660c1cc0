"""The `terminal` tool: a shell whose directory and exported variables last as long as the session.

Each call is a fresh shell that reads the session's snapshot first and writes it last. So a call that is killed loses
what it changed itself and nothing else, and no shell sits there between the calls (docs/adr/0030). Where that shell
runs is the backend's to say (docs/adr/0112).
"""

from __future__ import annotations

import asyncio
import shlex
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from pydantic import Field

from hermes.core.errors import ToolFailed
from hermes.core.ports import Action, ActionKind, ToolContext, ToolResult
from hermes.toolsets import output
from hermes.toolsets.backends.backend import Backend, Command, Launch, Shell, Start
from hermes.toolsets.backends.local import WHOLE, Local
from hermes.toolsets.processes import MARK, Process, Processes
from hermes.toolsets.settings import TerminalSettings
from hermes.toolsets.tool import Arguments, BaseTool, one_line

STATE = "terminal"
"""Where the session's `Shell` is in `ToolContext.state`."""

PEN = "terminal pen"
"""Where the lock is that lets the calls of a session run one after another."""


class TerminalArguments(Arguments):
    command: str = Field(description="The shell command to run.", min_length=1, max_length=200_000)
    background: bool = Field(False, description="Start it and return at once; follow it with the process tool.")
    timeout: float | None = Field(None, gt=0, description="Seconds until it is killed; usually 180.")
    workdir: str | None = Field(None, description="Directory for this call only. Default: where the last one left off.")


class TerminalTool(BaseTool[TerminalArguments]):
    name = "terminal"
    description = """Run a shell command. Directory and exported variables carry over to the next call. Standard input
        is closed: use flags that do not ask. Long output is cut in the middle and kept in a file. Start servers and
        watchers with background=true. Prefer read_file, patch and search_files for files."""
    arguments = TerminalArguments

    def __init__(
        self,
        processes: Processes,
        settings: TerminalSettings,
        hide: Callable[[str], str] = str,
        backend: Backend | None = None,
    ) -> None:
        super().__init__()
        self._processes = processes
        self._settings = settings
        self._hide = hide
        self._backend = backend or Local(settings.shell)
        if self._backend.notice:
            self._spec = replace(self._spec, description=f"{self._spec.description} {self._backend.notice}")

    def summary(self, arguments: TerminalArguments) -> str:
        return arguments.command

    def action(self, arguments: TerminalArguments, context: ToolContext) -> Action:
        shell = self._known_shell(context)
        directory = shell.directory if shell is not None and shell.directory else context.workdir
        if arguments.workdir:
            directory = directory / Path(arguments.workdir).expanduser()
        return Action(ActionKind.COMMAND, arguments.command, workdir=directory)

    async def run(self, arguments: TerminalArguments, context: ToolContext) -> ToolResult:
        if problem := self._problem():
            raise ToolFailed(problem)
        if "\0" in arguments.command:
            raise ToolFailed("The command contains a NUL byte, which no shell takes.")
        timeout = self._timeout(arguments)
        shell = self._session_shell(context)
        async with context.state.setdefault(PEN, asyncio.Lock()):
            if arguments.background:
                return await self._start_background(arguments, context, shell)
            return await self._run(arguments, context, shell, timeout)

    def _problem(self) -> str:
        """Nothing runs elsewhere instead: what was to be kept in a sandbox would be out of it then."""
        problem = self._backend.problem()
        return f"No command runs: {problem}." if problem else ""

    def _timeout(self, arguments: TerminalArguments) -> float:
        seconds = arguments.timeout or self._settings.timeout_seconds
        if seconds > self._settings.max_timeout_seconds and not arguments.background:
            raise ToolFailed(
                f"timeout: at most {self._settings.max_timeout_seconds:g} seconds; "
                "run longer commands with background=true and follow them with the process tool."
            )
        return seconds

    def _known_shell(self, context: ToolContext) -> Shell | None:
        """None where the session's last command ran in another backend: paths and variables were that one's."""
        shell = context.state.get(STATE)
        return shell if isinstance(shell, Shell) and shell.backend is self._backend else None

    def _session_shell(self, context: ToolContext) -> Shell:
        shell = self._known_shell(context)
        if shell is None:
            name = "shell" if self._backend.name == "local" else f"shell-{self._backend.name}"
            state = self._processes.session_dir(context.session_id) / name
            shell = context.state[STATE] = Shell(context.session_id, state, backend=self._backend)
        return shell

    async def _start(self, arguments: TerminalArguments, context: ToolContext, shell: Shell) -> tuple[Process, Start]:
        """The process, and where it starts."""
        start = await self._backend.start(shell, arguments.workdir, context.workdir)
        script = _script(
            arguments.command,
            self._backend.state or shlex.quote(str(shell.state)),
            start if start.enters else None,
            is_asked=arguments.workdir is not None,
            fallback=context.workdir if self._backend.shares_workspace else None,
            saves_environment=not arguments.background,
            saves_directory=not arguments.background and arguments.workdir is None,
        )

        async def launch(process_id: str, file: Path) -> Launch:
            command = Command(
                id=process_id,
                shell=shell,
                start=start,
                workspace=context.workdir,
                environment=context.environment,
                has_input=arguments.background,
            )
            return await self._backend.launch(command, file)

        process = await self._processes.start(
            launch,
            command=arguments.command,
            session_id=context.session_id,
            run_id=context.run_id,
            script=script,
            background=arguments.background,
        )
        return process, start

    async def _start_background(self, arguments: TerminalArguments, context: ToolContext, shell: Shell) -> ToolResult:
        process, start = await self._start(arguments, context, shell)
        await self._processes.forget_old(context.session_id)
        where = f" in {start.directory}" if start.directory is not None else ""
        text = (
            f"Started in the background as {process.id}{where}. Follow it with "
            f"process(action='poll', session_id='{process.id}')."
        )
        return ToolResult("\n".join(filter(None, (start.note, text))), preview=f"started {process.id}")

    async def _run(
        self, arguments: TerminalArguments, context: ToolContext, shell: Shell, seconds: float
    ) -> ToolResult:
        process, start = await self._start(arguments, context, shell)
        before = shell.directory or start.directory
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
        settings = self._settings
        shown = await asyncio.to_thread(
            output.head_and_tail, process.log, settings.piece_bytes, settings.output_characters, self._hide
        )
        lost = None if timed_out else await self._remember(shell)
        is_kept = shown.is_cut and self._backend.shares_workspace
        lines = [start.note, shown.text.rstrip("\n")]
        if timed_out:
            lines.append(f"[killed after {seconds:g} seconds; use background=true for what runs long]")
        if shown.is_cut:
            where = f"kept in {process.log}" if is_kept else "not kept: send it to a file to see more of it"
            lines.append(f"[{shown.total_bytes:,} bytes of output in all, {where}]")
        if process.is_running:
            lines.append(
                f"[{process.left} process(es) it started still run, as {process.id}: "
                f"end them with process(action='kill', session_id='{process.id}')]"
            )
        else:
            await self._processes.forget(process, keep_output=is_kept)
        if shell.directory is not None and shell.directory != before:
            lines.append(f"[directory is now {shell.directory}]")
        lines.append(lost)
        lines.append("" if timed_out else f"[{exit_words(process.exit_code)}]")
        failed = timed_out or process.exit_code != 0
        preview = one_line(shown.text) if not failed else f"{exit_words(process.exit_code)}: {one_line(shown.text)}"
        if timed_out:
            preview = f"timed out after {seconds:g} s"
        return ToolResult("\n".join(filter(None, lines)), is_error=failed, preview=preview[:200])

    async def _remember(self, shell: Shell) -> str | None:
        """What is lost of the session by trouble on the way there."""
        try:
            await self._backend.remember(shell)
        except ToolFailed as failed:
            return f"[directory and variables of this call are lost: {failed.message}]"
        return None


def exit_words(code: int | None) -> str:
    return f"killed by signal {-code}" if code is not None and code < 0 else f"exit code {code}"


def _script(
    command: str,
    state: str,
    enter: Start | None,
    *,
    is_asked: bool,
    fallback: Path | None,
    saves_environment: bool,
    saves_directory: bool,
) -> str:
    """The session's snapshot, the command, a new snapshot beside the old one. For bash and for plain sh.

    The command is in a file, not on a command line, so that `pkill -f WORD` in it does not find itself.
    `state` is shell text for the directory of the snapshot, `enter` says where the shell has to go first.
    """
    save = []
    if saves_environment:
        listing = 'export -p; [ -z "${BASH_VERSION-}" ] || { declare -f; export -pf; }'
        save.append(
            f"( umask 077; {{ {listing}; echo '{WHOLE}'; }} > \"$__hermes_state\"/environment.new ) 2>/dev/null"
        )
    if saves_directory:
        save.append('( umask 077; pwd > "$__hermes_state"/directory.new ) 2>/dev/null')
    return "\n".join(
        (
            f"__hermes_mark=${MARK} __hermes_state={state}",
            "unset HERMES_STATE",
            'rm -f "$__hermes_state"/environment.new "$__hermes_state"/directory.new' if save and enter else "",
            '[ -r "$__hermes_state"/environment ] && . "$__hermes_state"/environment 2>/dev/null',
            f"export {MARK}=$__hermes_mark; unset __hermes_mark",
            _entering(enter, is_asked=is_asked, fallback=fallback),
            "__hermes_save() { __hermes_code=$?; { set +eux; } 2>/dev/null; unset -f __hermes_save; trap - EXIT",
            *save,
            "exit $__hermes_code; }",
            "trap __hermes_save EXIT" if save else "",
            f"eval {shlex.quote(command)}",
            "__hermes_save" if save else "",
        )
    )


def _entering(enter: Start | None, *, is_asked: bool, fallback: Path | None) -> str:
    if enter is None or enter.directory is None:
        return ""
    there = shlex.quote(str(enter.directory))
    if enter.directory.parts[:1] == ("~",):
        there = '"$HOME"/' + shlex.quote("/".join(enter.directory.parts[1:]))
    if is_asked:
        said = shlex.quote(f"workdir: {enter.directory} is not a directory.")
        return f"cd -- {there} 2>/dev/null || {{ echo {said}; exit 1; }}"
    back = shlex.quote(str(fallback)) if fallback is not None else ""
    said = shlex.quote(f"[{enter.directory} is gone; this ran in {fallback or 'the directory of the login'}]")
    return f"cd -- {there} 2>/dev/null || {{ echo {said}; cd {back} || exit 1; }}"
