"""A tool of an MCP server, as the agent has it."""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Any

from pydantic_core import from_json

from hermes.core.errors import ToolFailed
from hermes.core.model import ToolSpec
from hermes.core.ports import Action, ActionKind, ToolContext, ToolResult
from hermes.core.toolset import Risk, ToolInfo, ToolsetInfo
from hermes.toolsets.mcp.connection import Connection, State
from hermes.toolsets.mcp.result import as_text
from hermes.toolsets.mcp.schema import described, parameters, tool_name
from hermes.toolsets.mcp.server import Trust
from hermes.toolsets.tool import one_line
from hermes.toolsets.toolset import Toolset

if TYPE_CHECKING:
    from mcp_types import Tool as McpToolInfo

MOST_TOOLS = 128
EMOJI = "🔌"


class McpTool:
    """`name` is what the model calls it by, `given.name` what its server does."""

    is_idempotent = False

    def __init__(self, name: str, given: McpToolInfo, connection: Connection) -> None:
        self._given = given
        self._connection = connection
        about = described(given.description) or given.name
        self.spec = ToolSpec(name, about, parameters(given.input_schema))

    @property
    def only_reads(self) -> bool:
        """By the server's own word."""
        hints = self._given.annotations
        return hints is not None and hints.read_only_hint is True

    def parse(self, arguments: str) -> dict[str, Any]:
        try:
            given = from_json(arguments.strip() or "{}")  # as for tools of our own: half a character is no JSON
        except (ValueError, RecursionError) as error:
            raise ToolFailed(f"{self.spec.name}: the arguments are not valid JSON ({error})") from error
        if not isinstance(given, dict):
            raise ToolFailed(f"{self.spec.name}: the arguments must be a JSON object")
        return given

    def preview(self, arguments: dict[str, Any]) -> str:
        return one_line(_as_json(arguments))

    def action(self, arguments: dict[str, Any], context: ToolContext) -> Action:
        trust = self._connection.server.trust
        trusted = trust is Trust.ALL or (trust is Trust.READ_ONLY and self.only_reads)
        return Action(ActionKind.CALL, f"{self.spec.name} {_as_json(arguments)}", is_trusted=trusted)

    async def run(self, arguments: dict[str, Any], context: ToolContext) -> ToolResult:
        result = await self._connection.call(self._given.name, arguments)
        text = as_text(result)
        if result.is_error:
            raise ToolFailed(text)
        return ToolResult(text)


def toolset_of(connection: Connection, taken: Collection[str] = (), others: Collection[str] = ()) -> Toolset:
    """The toolset as it stands now. `taken` are names that tools of other servers have, `others` those servers."""
    server, found = connection.server, connection.found
    wanted = [tool for tool in found.tools if server.wants(tool.name)] if found is not None else []
    tools = _named(wanted[:MOST_TOOLS], connection, taken, others)
    info = ToolsetInfo(
        server.toolset,
        f"MCP: {server.name}",
        f"Tools of the MCP server {server.name}",
        tuple(ToolInfo(tool.spec.name, EMOJI, tool.spec.name, Risk.RUN) for tool in tools),
    )
    problem = connection.problem
    if connection.state is State.CONNECTING:
        problem = "it is being connected"
    elif connection.state is State.CONNECTED and len(wanted) > MOST_TOOLS:
        problem = f"it has {len(wanted)} tools, and the first {MOST_TOOLS} are offered; choose with tools.include"
    return Toolset(info, tuple(tools), problem, connection.is_usable)


def _named(
    given: Sequence[McpToolInfo], connection: Connection, taken: Collection[str], others: Collection[str]
) -> list[McpTool]:
    """Of two tools of one name the first counts: which of them a call would meet is the server's secret."""
    names = set(taken)
    seen: set[str] = set()
    tools: list[McpTool] = []
    for tool in given:
        if tool.name in seen:
            continue
        seen.add(tool.name)
        name = tool_name(connection.server.name, tool.name, names, others)
        names.add(name)
        tools.append(McpTool(name, tool, connection))
    return tools


def _as_json(arguments: dict[str, Any]) -> str:
    return json.dumps(arguments, ensure_ascii=False, default=str)
