"""All toolsets: what there is, what works here, and what a run gets."""

from __future__ import annotations

import asyncio
import os
import tempfile
from collections.abc import Callable, Coroutine, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hermes.core.errors import InvalidInput, ToolFailed
from hermes.core.model import ToolSpec
from hermes.core.ports import Action, SessionRecall, TodoKeeper, Tool, ToolContext, ToolResult
from hermes.core.redact import Redactor
from hermes.core.toolset import COMPOSITES, TOOLSETS, Risk, expanded, info_of
from hermes.home.memory import Memories, Target
from hermes.home.paths import INBOX
from hermes.home.skills import Skills
from hermes.toolsets.backends.backend import Backend
from hermes.toolsets.backends.choice import Place, build_backend
from hermes.toolsets.backends.files import AwayTool, WorkspaceTool
from hermes.toolsets.memory import MemoryTool
from hermes.toolsets.patch import PatchTool
from hermes.toolsets.paths import Reach
from hermes.toolsets.process import ProcessTool
from hermes.toolsets.processes import Processes
from hermes.toolsets.read_file import ReadFileTool
from hermes.toolsets.search_files import SearchFilesTool, find_ripgrep
from hermes.toolsets.session_search import SessionSearchTool
from hermes.toolsets.settings import FileSettings, TerminalSettings
from hermes.toolsets.skills import SkillManageTool, SkillsListTool, SkillViewTool
from hermes.toolsets.terminal import TerminalTool
from hermes.toolsets.todo import TodoTool
from hermes.toolsets.toolset import Lasting, Toolset
from hermes.toolsets.write_file import WriteFileTool

if TYPE_CHECKING:
    from hermes.toolsets.mcp.servers import McpServers


@dataclass(frozen=True, slots=True)
class ToolsetState:
    """A toolset as `hermes tools` and GET /v1/toolsets show it. `is_enabled`: a run is offered it."""

    name: str
    label: str
    description: str
    is_enabled: bool
    is_configured: bool
    tools: tuple[str, ...]
    problem: str = ""


class Registry:
    """The toolsets of one process. Results leave through one redactor; what runs ends with `close`."""

    def __init__(
        self,
        toolsets: Iterable[Toolset] = (),
        processes: Processes | None = None,
        redactor: Redactor | None = None,
    ) -> None:
        self.redactor = redactor or Redactor()
        self._processes = processes
        self._backend: Backend | None = None
        self._placed: tuple[Place, str | None] | None = None
        self._left: list[Lasting] = []
        self._left_backends: list[Backend] = []
        self._temporary: tempfile.TemporaryDirectory[str] | None = None
        self._toolsets: dict[str, Toolset] = {}
        self._of_sessions: dict[str, dict[str, Toolset]] = {}
        self.servers: McpServers | None = None
        """Where toolsets of MCP servers come from, if any do."""
        for toolset in toolsets:
            self.add(toolset)

    def add(self, toolset: Toolset, session_id: str | None = None) -> None:
        """A further toolset, such as an MCP server's; one of the same name is replaced. They stand in the order of the
        catalogue, what is not in it behind. With `session_id`, only runs of that session see it, until it is closed.
        """
        tools = tuple(RedactedTool(tool, self.redactor) for tool in toolset.tools)
        if session_id is not None:
            self._of_sessions.setdefault(session_id, {})[toolset.info.name] = replace(toolset, tools=tools)
            return
        self._leave(toolset.info.name, toolset)
        self._toolsets[toolset.info.name] = replace(toolset, tools=tools)
        order = {name: number for number, name in enumerate(TOOLSETS)}
        known = sorted(self._toolsets.items(), key=lambda item: order.get(item[0], len(order)))
        self._toolsets = dict(known)  # a new one: whoever lists them now goes on with the old

    def remove(self, name: str) -> None:
        self._leave(name)
        self._toolsets = {known: toolset for known, toolset in self._toolsets.items() if known != name}

    def _leave(self, name: str, successor: Toolset | None = None) -> None:
        """What a toolset holds that is replaced goes on until its runs and sessions end."""
        before = self._toolsets.get(name)
        after = None if successor is None else successor.lasting
        if before is not None and before.lasting is not None and before.lasting is not after:
            self._left.append(before.lasting)

    def place_terminal(
        self, terminal: TerminalSettings, files: FileSettings, *, home: Path | None, environ: Mapping[str, str]
    ) -> None:
        """Commands and files are as these say, for turns that begin from now on. Where another backend is named, a
        session begins anew in it; what runs in the one before goes on there until the session ends."""
        assert self._processes is not None
        if self._backend is None or self._placed != (terminal.place, terminal.shell):
            if self._backend is not None:
                self._left_backends.append(self._backend)
            self._backend = build_backend(terminal.place, self._processes, environ, terminal.shell)
        self._placed = (terminal.place, terminal.shell)
        self._processes.max_processes = terminal.max_processes
        problem = self._backend.problem()
        tools = (
            TerminalTool(self._processes, terminal, self.redactor, self._backend),
            ProcessTool(self._processes, terminal, self.redactor),
        )
        self.add(Toolset(TOOLSETS["terminal"], tools, problem, is_usable=not problem))
        self.add(_files(self._backend, files, home, self._processes))

    @property
    def terminal_problem(self) -> str:
        """Why no command can run, empty when none is known."""
        return "" if self._backend is None else self._backend.problem()

    @property
    def tools(self) -> dict[str, Tool]:
        """All tools by name, whatever is enabled."""
        return {tool.spec.name: tool for toolset in self._toolsets.values() for tool in toolset.tools}

    def select(
        self, enabled: tuple[str, ...] | None, disabled: tuple[str, ...] = (), *, is_setting: bool = False
    ) -> dict[str, Tool]:
        """What a run is offered. None: what is on by default. `is_setting`: the names are the home's, and what cannot
        work here is left out; a request gets what it names. Raises InvalidInput for a name that is not there."""
        names = self._selected(enabled, disabled, is_setting)
        return {tool.spec.name: tool for name in names for tool in self._toolsets[name].tools}

    def brought(self, session_id: str) -> dict[str, Tool]:
        """Tools of the toolsets that the session brought, as far as they work now."""
        toolsets = self._of_sessions.get(session_id, {}).values()
        return {tool.spec.name: tool for toolset in toolsets if toolset.is_usable for tool in toolset.tools}

    async def ready(self, enabled: tuple[str, ...] | None) -> None:
        """MCP servers that a run is to have were tried, or had their time."""
        if self.servers is not None:
            await self.servers.ready(enabled)

    def toolsets(
        self, enabled: tuple[str, ...] | None = None, disabled: tuple[str, ...] = (), *, is_setting: bool = False
    ) -> list[ToolsetState]:
        """The state of every toolset, given what a run would be offered, as `select` has it."""
        selected = self._selected(enabled, disabled, is_setting)
        return [
            ToolsetState(
                name,
                toolset.info.label,
                toolset.info.description,
                name in selected,
                not toolset.problem,
                tuple(tool.spec.name for tool in toolset.tools),
                toolset.problem,
            )
            for name, toolset in self._toolsets.items()
        ]

    def composites(self, enabled: tuple[str, ...] | None = None) -> list[ToolsetState]:
        """The names that stand for several toolsets, each with the tools that it gives here."""
        selected = self._selected(enabled, ())
        return [
            ToolsetState(
                name,
                composite.label,
                composite.description,
                any(member in selected for member in composite.members),
                True,
                tuple(self.select((name,))),
            )
            for name, composite in COMPOSITES.items()
        ]

    async def end_run(self, run_id: str) -> None:
        """A run was stopped: end every process it started, those in the background too, and its pages."""
        if self._processes is not None:
            await self._processes.end_run(run_id)
        await _all(lasting.end_run(run_id) for lasting in self._lasting)

    async def close_session(self, session_id: str) -> None:
        """End a session's processes and pages, and remove the outputs it kept."""
        await self.drop_session(session_id)
        await _all(backend.end_session(session_id) for backend in self._backends)
        if self._processes is not None:
            await self._processes.end_session(session_id)
        await _all(lasting.end_session(session_id) for lasting in self._lasting)

    async def drop_session(self, session_id: str) -> None:
        """Let go of the toolsets that a session brought; the session itself may go on."""
        if self.servers is not None:
            await self.servers.close_session(session_id)
        self._of_sessions.pop(session_id, None)

    async def close(self) -> None:
        if self.servers is not None:
            await self.servers.close()
        if self._processes is not None:
            await self._processes.close()
        await _all(backend.close() for backend in self._backends)
        await _all(lasting.close() for lasting in self._lasting)
        if self._temporary is not None:
            self._temporary.cleanup()

    @property
    def _backends(self) -> list[Backend]:
        return [*self._left_backends, *([self._backend] if self._backend is not None else [])]

    @property
    def _lasting(self) -> list[Lasting]:
        now = [toolset.lasting for toolset in self._toolsets.values() if toolset.lasting is not None]
        return [*self._left, *now]

    def _selected(
        self, enabled: tuple[str, ...] | None, disabled: tuple[str, ...], is_setting: bool = False
    ) -> list[str]:
        for param, names in (("toolsets", enabled or ()), ("disabled_toolsets", disabled)):
            for name in names:
                if name not in self._toolsets and name not in COMPOSITES:
                    known = ", ".join([*self._toolsets, *COMPOSITES])
                    raise InvalidInput(f"no toolset {name!r}; there are {known}", code="unknown_toolset", param=param)
        members = expanded(enabled or ())
        asked = () if enabled is None or is_setting else enabled
        chosen = [
            name
            for name, toolset in self._toolsets.items()
            if name in asked
            or (toolset.is_usable and (toolset.info.is_default if enabled is None else name in members))
        ]
        left_out = expanded(disabled)
        return [name for name in chosen if name not in left_out]


async def _all(endings: Iterable[Coroutine[Any, Any, None]]) -> None:
    async with asyncio.TaskGroup() as tasks:
        for ending in endings:
            tasks.create_task(ending)


class RedactedTool:
    """A tool whose results and failures carry no secrets."""

    def __init__(self, tool: Tool, redactor: Redactor) -> None:
        self._tool = tool
        self._redactor = redactor

    @property
    def spec(self) -> ToolSpec:
        return self._tool.spec

    @property
    def is_idempotent(self) -> bool:
        return self._tool.is_idempotent

    @property
    def only_reads(self) -> bool:
        """Whether it may run beside others: the tool says so itself, or the catalogue does."""
        info = info_of(self._tool.spec.name)
        return bool(getattr(self._tool, "only_reads", info is not None and info.risk is Risk.READ))

    def parse(self, arguments: str) -> Any:
        return self._tool.parse(arguments)

    def preview(self, arguments: Any) -> str:
        return self._redactor(self._tool.preview(arguments))

    def action(self, arguments: Any, context: ToolContext) -> Action | None:
        return self._tool.action(arguments, context)

    async def run(self, arguments: Any, context: ToolContext) -> ToolResult:
        try:
            result = await self._tool.run(arguments, context)
        except ToolFailed as failed:
            raise ToolFailed(self._redactor(failed.message), code=failed.code, param=failed.param) from failed
        return replace(result, content=self._redactor(result.content), preview=self._redactor(result.preview))


def build_registry(
    *,
    run_dir: Path | None = None,
    home: Path | None = None,
    terminal: TerminalSettings | None = None,
    files: FileSettings | None = None,
    secrets: Iterable[str] = (),
    memories: Memories | None = None,
    sessions: SessionRecall | None = None,
    todos: TodoKeeper | None = None,
    skills: Skills | None = None,
    environ: Mapping[str, str] | None = None,
) -> Registry:
    """The toolsets of this build.

    `run_dir`: where outputs, snapshots and process records go (the home's); None makes a temporary directory.
    `environ`: of which programs that reach another machine get a few variables; None is this process's.
    `home`: HERMES_HOME, whose keys no tool reads. `secrets`: values that are hidden in every result. Where there are no
    `memories`, `sessions`, `todos` or `skills`, the tools for them are there and not offered.
    """
    terminal = terminal or TerminalSettings()
    files = files or FileSettings()
    temporary = tempfile.TemporaryDirectory(prefix="hermes-", ignore_cleanup_errors=True) if run_dir is None else None
    directory = run_dir if temporary is None else Path(temporary.name)
    assert directory is not None
    processes = Processes(directory, terminal.piece_bytes, terminal.max_processes)
    redactor = Redactor(secrets)
    toolsets = (
        memory_toolset(memories, redactor),
        _needing("session_search", SessionSearchTool(sessions), sessions, "no sessions are kept here"),
        _needing("todo", TodoTool(todos), todos, "no sessions are kept here"),
        _skills(skills),
    )
    registry = Registry(toolsets, processes, redactor)
    registry.place_terminal(terminal, files, home=home, environ=os.environ if environ is None else environ)
    registry._temporary = temporary
    return registry


def _files(backend: Backend, files: FileSettings, home: Path | None, processes: Processes) -> Toolset:
    makes: tuple[Callable[[Reach], Tool], ...] = (
        lambda reach: ReadFileTool(reach, files),
        WriteFileTool,
        lambda reach: PatchTool(reach, files),
        lambda reach: SearchFilesTool(reach, files),
    )
    problem = "" if find_ripgrep() else "search_files needs ripgrep: pip install ripgrep"
    if backend.name == "local":
        return Toolset(TOOLSETS["file"], tuple(make(Reach(home, files.roots)) for make in makes), problem)
    if backend.shares_workspace:
        inbox = () if home is None else (home / INBOX,)
        shared = (processes.outputs_dir, *backend.binds, *inbox)
        reach = Reach(home, files.roots, keeps_to_workspace=True, shared=shared)
        return Toolset(TOOLSETS["file"], tuple(WorkspaceTool(make, reach) for make in makes), problem)
    away = f"commands run elsewhere (terminal.backend is {backend.name}), and file tools see only this machine"
    tools = tuple(AwayTool(make(Reach(home, files.roots)), away) for make in makes)
    return Toolset(TOOLSETS["file"], tools, away, is_usable=False)


def memory_toolset(memories: Memories | None, redactor: Redactor) -> Toolset:
    is_on = memories is None or any(memories.limits.of(target) for target in Target)
    problem = "it is kept in a home, and there is none" if is_on else "it is switched off in the settings (memory)"
    return _needing("memory", MemoryTool(memories, redactor), memories if is_on else None, problem)


def _skills(skills: Skills | None) -> Toolset:
    there = skills or Skills(None)
    tools = (SkillsListTool(there), SkillViewTool(there), SkillManageTool(there))
    return Toolset(
        TOOLSETS["skills"], tools, "" if skills else "they are kept in a home, and there is none", bool(skills)
    )


def _needing(name: str, tool: Tool, needed: object, problem: str) -> Toolset:
    is_usable = needed is not None
    return Toolset(TOOLSETS[name], (tool,), "" if is_usable else problem, is_usable)
