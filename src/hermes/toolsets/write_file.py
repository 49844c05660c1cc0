"""The `write_file` tool."""

from __future__ import annotations

import asyncio

from pydantic import Field

from hermes.core.ports import Action, ActionKind, ToolContext, ToolResult
from hermes.toolsets import disk
from hermes.toolsets.paths import Reach, resolve
from hermes.toolsets.tool import Arguments, BaseTool


class WriteFileArguments(Arguments):
    path: str = Field(description="The file, absolute or from the working directory. Directories are made.")
    content: str = Field(description="The whole new content.", max_length=10_000_000)


class WriteFileTool(BaseTool[WriteFileArguments]):
    name = "write_file"
    description = "Write a whole file, new or over an old one. To change part of a file use patch."
    arguments = WriteFileArguments
    is_idempotent = True

    def __init__(self, reach: Reach) -> None:
        super().__init__()
        self._reach = reach

    def summary(self, arguments: WriteFileArguments) -> str:
        return f"{arguments.path} ({len(arguments.content.splitlines())} lines)"

    def action(self, arguments: WriteFileArguments, context: ToolContext) -> Action:
        path = resolve(arguments.path, context.workdir)
        return Action(ActionKind.WRITE, f"write {path}", (path,), context.workdir)

    async def run(self, arguments: WriteFileArguments, context: ToolContext) -> ToolResult:
        path = resolve(arguments.path, context.workdir)
        data = arguments.content.encode("utf-8", "surrogatepass")
        is_new = await asyncio.to_thread(disk.write_bytes, path, data, self._reach)
        done = f"{'Wrote' if is_new else 'Replaced'} {path} ({len(data):,} bytes)."
        return ToolResult(done, preview=f"{'wrote' if is_new else 'replaced'} {path.name}")
