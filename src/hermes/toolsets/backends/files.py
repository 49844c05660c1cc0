"""What becomes of the file tools, which see this machine, when commands run elsewhere."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from hermes.core.errors import ToolFailed
from hermes.core.model import ToolSpec
from hermes.core.ports import Action, Tool, ToolContext, ToolResult
from hermes.toolsets.paths import Reach


class _Same:
    """A tool that does something else when it runs."""

    def __init__(self, tool: Tool) -> None:
        self._tool = tool

    @property
    def spec(self) -> ToolSpec:
        return self._tool.spec

    @property
    def is_idempotent(self) -> bool:
        return self._tool.is_idempotent

    def parse(self, arguments: str) -> Any:
        return self._tool.parse(arguments)

    def preview(self, arguments: Any) -> str:
        return self._tool.preview(arguments)

    def action(self, arguments: Any, context: ToolContext) -> Action | None:
        return self._tool.action(arguments, context)


class WorkspaceTool(_Same):
    """Keeps to the working directory of the run, which commands see under the same path."""

    def __init__(self, make: Callable[[Reach], Tool], reach: Reach) -> None:
        super().__init__(make(reach))
        self._make, self._reach = make, reach

    async def run(self, arguments: Any, context: ToolContext) -> ToolResult:
        return await self._make(self._reach.of(context.workdir)).run(arguments, context)


class AwayTool(_Same):
    """Refuses: what it would read and write is not what commands read and write."""

    def __init__(self, tool: Tool, reason: str) -> None:
        super().__init__(tool)
        self._reason = reason

    def action(self, arguments: Any, context: ToolContext) -> Action | None:
        return None  # nothing happens, so there is nothing to ask

    async def run(self, arguments: Any, context: ToolContext) -> ToolResult:
        raise ToolFailed(f"{self._tool.spec.name}: {self._reason}. Read and write files with the terminal.")
