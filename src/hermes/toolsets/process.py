"""The `process` tool: what was started in the background."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable
from typing import Literal

from pydantic import Field

from hermes.core.errors import ToolFailed
from hermes.core.ports import Action, ActionKind, ToolContext, ToolResult
from hermes.toolsets import output
from hermes.toolsets.processes import Process, Processes
from hermes.toolsets.settings import TerminalSettings
from hermes.toolsets.terminal import exit_words
from hermes.toolsets.tool import Arguments, BaseTool, one_line


class ProcessArguments(Arguments):
    action: Literal["list", "poll", "log", "wait", "kill", "write", "submit", "close"] = Field(
        description="poll: state and new output. log: lines of the whole output. wait: until it ends or timeout. "
        "write: data to its input as it is. submit: data and Enter. close: end of its input."
    )
    session_id: str | None = Field(None, description="The process (proc_…), for all actions but list.")
    data: str | None = Field(None, description="Text for write and submit.", max_length=1_000_000)
    timeout: float | None = Field(None, gt=0, description="Seconds for wait. Default 60.")
    offset: int | None = Field(None, ge=0, description="First line of log. Default: so that the last lines are shown.")
    limit: int = Field(200, ge=1, le=5000, description="Lines of log.")


class ProcessTool(BaseTool[ProcessArguments]):
    name = "process"
    description = "Follow, feed and end processes that terminal started in the background."
    arguments = ProcessArguments

    def __init__(self, processes: Processes, settings: TerminalSettings, hide: Callable[[str], str] = str) -> None:
        super().__init__()
        self._processes = processes
        self._settings = settings
        self._hide = hide

    def summary(self, arguments: ProcessArguments) -> str:
        words = [arguments.action, arguments.session_id or "", arguments.data or ""]
        return " ".join(filter(None, words))

    def action(self, arguments: ProcessArguments, context: ToolContext) -> Action | None:
        """Input may go to a shell: the line that was begun by earlier writes belongs to it."""
        if arguments.action not in ("write", "submit") or not arguments.data:
            return None
        begun = ""
        if arguments.session_id:
            with contextlib.suppress(ToolFailed):
                begun = self._processes.find(context.session_id, arguments.session_id).pending_input
        return Action(ActionKind.COMMAND, begun + arguments.data, workdir=context.workdir)

    async def run(self, arguments: ProcessArguments, context: ToolContext) -> ToolResult:
        if arguments.action == "list":
            return self._list(context)
        if not arguments.session_id:
            raise ToolFailed(f"session_id: {arguments.action} needs the id of a process; action 'list' shows them.")
        process = self._processes.find(context.session_id, arguments.session_id)
        match arguments.action:
            case "poll":
                return await self._poll(process)
            case "log":
                return await self._log(process, arguments)
            case "wait":
                return await self._wait(process, arguments)
            case "kill":
                return await self._kill(process)
            case _:
                return self._feed(process, arguments)

    def _list(self, context: ToolContext) -> ToolResult:
        found = self._processes.of_session(context.session_id)
        if not found:
            return ToolResult("No background processes in this session.", preview="none")
        lines = [f"{process.id}  {state_words(process)}  {one_line(process.command, 80)}" for process in found]
        return ToolResult("\n".join(lines), preview=f"{len(found)} processes")

    async def _poll(self, process: Process) -> ToolResult:
        """What it printed since the last look; of much of it the end."""
        settings = self._settings

        def look() -> tuple[str, int, int]:
            total = output.total_bytes(process.log, settings.piece_bytes)
            start = max(process.seen_bytes, total - settings.output_characters * 4)
            text = output.read(process.log, settings.piece_bytes, start, total - start).decode("utf-8", "replace")
            return self._hide(output.clean(text)), start - process.seen_bytes, total

        text, skipped, total = await asyncio.to_thread(look)
        process.seen_bytes = total
        shown = output.cut(text, settings.output_characters).rstrip("\n")
        lines = [f"[{state_words(process)}]"]
        if skipped > 0:
            lines.append(f"[{skipped:,} bytes left out; see them with action 'log', or in {process.log}]")
        lines.append(shown or "(no new output)")
        return ToolResult("\n".join(lines), preview=state_words(process))

    async def _log(self, process: Process, arguments: ProcessArguments) -> ToolResult:
        lines = await asyncio.to_thread(output.lines, process.log)
        if lines and not lines[-1]:
            lines.pop()
        first = max(0, len(lines) - arguments.limit) if arguments.offset is None else arguments.offset
        part = lines[first : first + arguments.limit]
        text = output.cut(self._hide("\n".join(part)), self._settings.output_characters)
        where = (
            f"lines {first + 1}-{first + len(part)} of {len(lines)}" if part else f"no lines; there are {len(lines)}"
        )
        return ToolResult(f"[{state_words(process)}; {where}]\n{text}".rstrip(), preview=where)

    async def _wait(self, process: Process, arguments: ProcessArguments) -> ToolResult:
        seconds = min(arguments.timeout or 60.0, self._settings.max_timeout_seconds)
        try:
            await asyncio.wait_for(process.ended.wait(), seconds)
        except TimeoutError:
            result = await self._poll(process)
            return ToolResult(f"[still running after {seconds:g} seconds]\n{result.content}", preview="still running")
        return await self._poll(process)

    async def _kill(self, process: Process) -> ToolResult:
        if not process.is_running:
            return ToolResult(f"{process.id} had ended already: {state_words(process)}.", preview="had ended already")
        await process.kill_and_wait(self._settings.kill_grace_seconds)
        return ToolResult(f"{process.id} and everything it started is ended.", preview=f"ended {process.id}")

    def _feed(self, process: Process, arguments: ProcessArguments) -> ToolResult:
        if not process.is_background:
            raise ToolFailed(f"{process.id} was not started with background=true, so it has no input to write to.")
        if process.exit_code is not None:
            raise ToolFailed(f"{process.id} takes no input any more: {state_words(process)}.")
        if arguments.action == "close":
            process.close_input()
            return ToolResult(f"The input of {process.id} is closed.", preview="input closed")
        if arguments.data is None:
            raise ToolFailed(f"data: {arguments.action} needs the text to write.")
        process.write(arguments.data + ("\n" if arguments.action == "submit" else ""))
        return ToolResult(f"Written to {process.id}; action 'poll' shows what it answers.", preview="written")


def state_words(process: Process) -> str:
    if process.exit_code is None:
        return f"running for {time.monotonic() - process.started_at:.0f} s"
    if process.is_running:
        return f"{exit_words(process.exit_code)}, {process.left} process(es) it started still run"
    return exit_words(process.exit_code)
