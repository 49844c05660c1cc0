"""The `search_files` tool: ripgrep, whose binary comes as a wheel."""

from __future__ import annotations

import asyncio
import os
import shutil
import sys
import sysconfig
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from pydantic import Field

from hermes.core.errors import ToolFailed
from hermes.core.ports import Action, ActionKind, ToolContext, ToolResult
from hermes.core.reap import reap
from hermes.toolsets import output
from hermes.toolsets.paths import Reach, resolve, secret_reason
from hermes.toolsets.settings import FileSettings
from hermes.toolsets.tool import Arguments, BaseTool

LINE_CHARACTERS = 500
LINE_BYTES = 1 << 20


class SearchFilesArguments(Arguments):
    pattern: str = Field(description="content: a regular expression. files: a glob such as *.py, or part of a name.")
    target: Literal["content", "files"] = Field("content", description="What to look in: contents or names.")
    path: str = Field(".", description="Directory or file to search.")
    file_glob: str | None = Field(None, description="Only files like this, e.g. *.ts or !*.lock.")
    limit: int = Field(50, ge=1, le=2000, description="Most results.")
    output_mode: Literal["content", "files_only", "count"] = Field(
        "content", description="content: matching lines; files_only: names; count: matches a file."
    )
    context: int = Field(0, ge=0, le=20, description="Lines around each match.")


@dataclass(slots=True)
class _Found:
    lines: list[str] = field(default_factory=list)
    results: int = 0
    is_cut: bool = False
    hidden: set[str] = field(default_factory=set)


class SearchFilesTool(BaseTool[SearchFilesArguments]):
    name = "search_files"
    description = "Search contents (regular expression) or names of files. Follows .gitignore; hidden files included."
    arguments = SearchFilesArguments
    is_idempotent = True

    def __init__(self, reach: Reach, settings: FileSettings) -> None:
        super().__init__()
        self._reach = reach
        self._settings = settings

    def summary(self, arguments: SearchFilesArguments) -> str:
        where = "" if arguments.path == "." else f" in {arguments.path}"
        return f"{arguments.pattern}{where}"

    def action(self, arguments: SearchFilesArguments, context: ToolContext) -> Action:
        path = resolve(arguments.path, context.workdir)
        return Action(ActionKind.READ, f"search {path} for {arguments.pattern}", (path,), context.workdir)

    async def run(self, arguments: SearchFilesArguments, context: ToolContext) -> ToolResult:
        path = resolve(arguments.path, context.workdir)
        if not await asyncio.to_thread(path.exists):
            raise ToolFailed(f"{path} does not exist.")
        self._reach.check(path)
        is_file = await asyncio.to_thread(path.is_file)
        argv = command_line(arguments, path.name if is_file else ".")
        found, problem = await self._search(argv, arguments, path.parent if is_file else path, context)
        if problem and not found.lines:
            raise ToolFailed(f"search_files: {problem}")
        if not found.lines:
            return ToolResult("Nothing found.", preview="nothing found")
        notes = []
        if found.is_cut:
            notes.append(
                f"[cut at {arguments.limit} results; narrow the pattern, the path or file_glob, or raise limit]"
            )
        if found.hidden:
            notes.append(f"[left out {len(found.hidden)} file(s) that hold secrets]")
        if problem:
            notes.append(f"[{problem}]")
        text = output.cut("\n".join(found.lines), self._settings.read_characters)
        return ToolResult("\n".join((text, *notes)), preview=f"{found.results} results")

    async def _search(
        self, argv: list[str], arguments: SearchFilesArguments, base: Path, context: ToolContext
    ) -> tuple[_Found, str]:
        """What was found, and what ripgrep had to complain about. Never outlives its time limit."""
        process = await asyncio.create_subprocess_exec(
            *argv,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            cwd=base,
            env=dict(context.environment),
            limit=LINE_BYTES,
        )
        assert process.stdout is not None and process.stderr is not None
        found = _Found()
        problem = ""
        try:
            async with asyncio.timeout(self._settings.search_timeout_seconds):
                await self._collect(process.stdout, arguments, base, found)
                if not found.is_cut:
                    problem = output.clean((await process.stderr.read(4000)).decode("utf-8", "replace")).strip()
                    await process.wait()
        except TimeoutError:
            problem = f"stopped after {self._settings.search_timeout_seconds:g} seconds; search a smaller directory"
        finally:
            if process.returncode is None:
                process.kill()
                await reap(process)
        return found, problem

    async def _collect(
        self, stdout: asyncio.StreamReader, arguments: SearchFilesArguments, base: Path, found: _Found
    ) -> None:
        allowed: dict[str, bool] = {}
        shows_matches = arguments.target == "content" and arguments.output_mode == "content"
        while raw := await stdout.readline():
            name, separator, rest = raw.rstrip(b"\n").decode("utf-8", "surrogateescape").partition("\0")
            name = name.removeprefix("./")
            if name == "--":  # between two groups of context
                found.lines.append("--")
                continue
            if name not in allowed:
                allowed[name] = self._may_show(base, name)
                if not allowed[name]:
                    found.hidden.add(name)
            if not allowed[name]:
                continue
            is_match = not shows_matches or rest.lstrip("0123456789").startswith(":")
            if found.results == arguments.limit and is_match:
                found.is_cut = True
                return
            found.results += is_match
            text = output.clean(f"{name}:{rest}" if separator and rest else name)
            found.lines.append(text if len(text) <= LINE_CHARACTERS else text[:LINE_CHARACTERS] + "…")

    def _may_show(self, base: Path, name: str) -> bool:
        real = Path(os.path.realpath(base / name))
        return secret_reason(real, self._reach.home) is None


def find_ripgrep() -> str | None:
    """The wheel's binary stands beside the interpreter or in the scripts directory; else the system's."""
    name = "rg.exe" if sys.platform == "win32" else "rg"
    for directory in (Path(sys.executable).parent, Path(sysconfig.get_path("scripts"))):
        if (directory / name).is_file():
            return str(directory / name)
    return shutil.which("rg")


def command_line(arguments: SearchFilesArguments, where: str) -> list[str]:
    """Raises ToolFailed when there is no ripgrep."""
    binary = find_ripgrep()
    if binary is None:
        raise ToolFailed(
            "search_files needs ripgrep (rg): install it with `pip install ripgrep`, or use grep in the terminal."
        )
    argv = [binary, "--no-config", "--color=never", "--hidden", "--glob=!.git/", "--no-messages"]
    if arguments.file_glob:
        argv.append(f"--glob={arguments.file_glob}")
    if arguments.target == "files":
        glob = arguments.pattern if any(c in arguments.pattern for c in "*?[{") else f"*{arguments.pattern}*"
        return [*argv, "--files", "--sortr=modified", f"--iglob={glob}", "--", where]
    argv.append("--sort=path")
    if arguments.output_mode == "files_only":
        argv.append("--files-with-matches")  # with --null there would be no line ends
    elif arguments.output_mode == "count":
        argv += ["--null", "--with-filename", "--count-matches"]
    else:
        argv += ["--null", "--with-filename", "--line-number", "--no-heading", f"--context={arguments.context}"]
        argv += [f"--max-columns={LINE_CHARACTERS}", "--max-columns-preview"]
    return [*argv, f"--regexp={arguments.pattern}", "--", where]
