"""The `memory` tool: what is kept for later sessions (`home/memory.py`)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Literal, Self

from pydantic import Field, model_validator

from hermes.core.errors import InvalidInput, ToolFailed
from hermes.core.ports import ToolContext, ToolResult
from hermes.home.memory import Change, Memories, Target
from hermes.toolsets.tool import Arguments, BaseTool, one_line

Action = Literal["add", "replace", "remove"]


class Operation(Arguments):
    action: Action
    content: str = ""
    old_text: str = ""

    def change(self) -> Change:
        return Change(self.action, self.content, self.old_text)


class MemoryArguments(Arguments):
    action: Action | None = Field(None, description="For a single change.")
    target: Literal["memory", "user"] = Field("memory", description="memory: your notes. user: who the user is.")
    content: str = Field("", description="add, replace: the entry, one fact.")
    old_text: str = Field("", description="replace, remove: a part of the entry that no other has.")
    operations: list[Operation] = Field([], description="Several changes: all or none.", max_length=50)

    @model_validator(mode="after")
    def _says_what_to_do(self) -> Self:
        if (self.action is None) == (not self.operations):
            raise ValueError("give action, or operations, not both")
        return self

    @property
    def changes(self) -> list[Change]:
        if self.action is not None:
            return [Change(self.action, self.content, self.old_text)]
        return [operation.change() for operation in self.operations]


class MemoryTool(BaseTool[MemoryArguments]):
    name = "memory"
    description = """Remember across sessions. Save what stays true and helps later: preferences, corrections, facts
        of the environment. Not: progress of a task, what files say, secrets. The instructions show memory as it was
        when this session began; changes show in the next one. When full, replace and add in one call."""
    arguments = MemoryArguments

    def __init__(self, memories: Memories | None, hide: Callable[[str], str] = str) -> None:
        """`memories` None: there is no home. `hide` takes secrets out of text: what it changes is not kept."""
        super().__init__()
        self._memories = memories
        self._hide = hide

    def summary(self, arguments: MemoryArguments) -> str:
        said = (f"{change.action} {change.content or change.old_text}" for change in arguments.changes)
        return f"{arguments.target}: {'; '.join(said)}"

    async def run(self, arguments: MemoryArguments, context: ToolContext) -> ToolResult:
        if self._memories is None:
            raise ToolFailed("There is no memory here: no home of Hermes exists (hermes gateway makes one).")
        if any(self._hide(change.content) != change.content for change in arguments.changes):
            raise ToolFailed("Not kept: it holds a key, token or password. Say where the secret is instead.")
        memories, target = self._memories.of(context.owner, context.session_key), Target(arguments.target)
        try:
            now = await asyncio.to_thread(memories.change, target, arguments.changes)
        except InvalidInput as error:
            raise ToolFailed(error.message, param=error.param) from error
        except OSError as error:
            raise ToolFailed(
                f"Not kept: {target.file_name} could not be written: {error.strerror or error}."
            ) from error
        kept = f"Kept. {target.file_name}: {_entries(len(now.entries))}, {now.usage}."
        return ToolResult(kept, preview=one_line(f"{target}: {_entries(len(now.entries))}, {now.percent}%"))


def _entries(count: int) -> str:
    return f"{count} {'entry' if count == 1 else 'entries'}"
