"""The protocol's side: which tools there are, and what becomes of a call."""

from __future__ import annotations

import asyncio
import json
import logging
from typing import Any

import mcp_types as types
from mcp.server.context import ServerRequestContext
from mcp.server.lowlevel import Server
from pydantic import ValidationError

from hermes.core.errors import HermesError
from hermes.mcp.services import Services
from hermes.mcp.tools import Tool, offered

log = logging.getLogger(__name__)

INSTRUCTIONS = (
    "An agent with tools, memory and conversations of its own. `send` gives it work and waits for the answer; a "
    "conversation goes on with its session_id. What is dangerous waits for an approval."
)


def build_server(services: Services) -> Server[Any]:
    tools = offered(services)

    async def list_tools(ctx: Context, params: types.PaginatedRequestParams | None) -> types.ListToolsResult:
        return types.ListToolsResult(tools=[_listed(tool) for tool in tools.values()])

    async def call_tool(ctx: Context, params: types.CallToolRequestParams) -> types.CallToolResult:
        tool = tools.get(params.name)
        if tool is None:
            return _failed(f"there is no tool {params.name!r}; there are {', '.join(tools)}", "unknown_tool")
        try:
            given = tool.arguments.model_validate(params.arguments or {})
            answer = await tool.run(services, given, _Progress(ctx))
        except ValidationError as error:
            return _failed(_problems(error), "invalid_arguments")
        except HermesError as error:
            return _failed(services.hide(error.message), error.code)
        except asyncio.CancelledError:
            raise
        except Exception:
            log.exception("tool %s failed", params.name)
            return _failed("it failed inside the server; its log says why", "server_error")
        data = _hidden(services, answer.model_dump(mode="json"))
        text = types.TextContent(type="text", text=json.dumps(data, ensure_ascii=False))
        return types.CallToolResult(content=[text], structured_content=data)

    return Server(
        "hermes-server",
        version=services.version,
        title="Hermes",
        instructions=INSTRUCTIONS,
        on_list_tools=list_tools,
        on_call_tool=call_tool,
    )


Context = ServerRequestContext[Any]


class _Progress:
    """Tells each line as progress of the call, where the caller wants to hear of it."""

    def __init__(self, ctx: Context) -> None:
        self._session = ctx.session
        self._told = 0

    async def __call__(self, line: str) -> None:
        self._told += 1
        await self._session.report_progress(self._told, None, line)


def _listed(tool: Tool) -> types.Tool:
    return types.Tool(
        name=tool.name,
        description=tool.description,
        input_schema=_schema(tool.arguments.model_json_schema()),
        output_schema=tool.answer.model_json_schema(mode="serialization"),
        annotations=types.ToolAnnotations(
            read_only_hint=tool.only_reads, destructive_hint=not tool.only_reads, open_world_hint=not tool.only_reads
        ),
    )


def _schema(schema: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "properties": {}, **schema}


def _failed(message: str, code: str) -> types.CallToolResult:
    return types.CallToolResult(content=[types.TextContent(type="text", text=f"{code}: {message}")], is_error=True)


def _problems(error: ValidationError) -> str:
    from hermes.toolsets.tool import problems

    return problems(error)


def _hidden(services: Services, value: Any) -> Any:
    """Without secrets, whatever they stand in; keys stay."""
    if isinstance(value, str):
        return services.hide(value)
    if isinstance(value, dict):
        return {key: _hidden(services, inner) for key, inner in value.items()}
    return [_hidden(services, inner) for inner in value] if isinstance(value, list) else value
