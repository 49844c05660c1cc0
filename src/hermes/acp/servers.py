"""MCP servers that the editor brings along: connected for one session, and gone with it."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path

from acp import schema

from hermes.core.redact import is_secret_name
from hermes.toolsets.mcp.connection import State
from hermes.toolsets.mcp.server import McpServer, Transport
from hermes.toolsets.mcp.servers import McpServers

Given = schema.HttpMcpServer | schema.SseMcpServer | schema.AcpMcpServer | schema.McpServerStdio

CONNECT_SECONDS = 15.0
"""What a session waits for a server of the editor's; one that is late is connected in the background."""
LONGEST_NAME = 40
SHORTEST_SECRET = 6


async def connect(servers: McpServers | None, session_id: str, given: Sequence[Given], workdir: Path) -> list[str]:
    """In place of what the session had. Returns what is to be told of those that are not there."""
    if servers is None:
        return [f"MCP servers are not connected here: {', '.join(one.name for one in given)}"] if given else []
    taken = {state.name for state in servers.states()}
    wanted: list[McpServer] = []
    notes: list[str] = []
    for one in given:
        if isinstance(one, schema.AcpMcpServer):
            notes.append(f"the MCP server {one.name!r} speaks through the editor, which this version does not do")
            continue
        wanted.append(_server(one, workdir, taken))
        taken.add(wanted[-1].name)
    states = await servers.connect_session(session_id, wanted)
    notes += [
        f"the MCP server {state.name!r} of the editor is not connected: {state.detail or state.state}"
        for state in states
        if state.state is not State.CONNECTED
    ]
    return notes


def _server(
    given: schema.HttpMcpServer | schema.SseMcpServer | schema.McpServerStdio, workdir: Path, taken: Collection[str]
) -> McpServer:
    name = _name(given.name, taken)
    if isinstance(given, schema.McpServerStdio):
        env = {variable.name: variable.value for variable in given.env}
        return McpServer(
            name=name,
            transport=Transport.STDIO,
            command=given.command,
            args=tuple(given.args),
            env=env,
            cwd=str(workdir),
            connect_timeout_seconds=CONNECT_SECONDS,
            secrets=_secrets(value for key, value in env.items() if is_secret_name(key)),
        )
    headers = {header.name: header.value for header in given.headers}
    return McpServer(
        name=name,
        transport=Transport.SSE if isinstance(given, schema.SseMcpServer) else Transport.HTTP,
        url=given.url,
        headers=headers,
        connect_timeout_seconds=CONNECT_SECONDS,
        secrets=_secrets(part for value in headers.values() for part in (value, *value.split()[1:])),
    )


def _name(given: str, taken: Collection[str]) -> str:
    """One that may stand in names of tools and of a log file, and that no other server has."""
    name = re.sub(r"[^A-Za-z0-9_-]+", "-", given).strip("-")[:LONGEST_NAME] or "editor"
    names = (name, *(f"{name}-{number}" for number in range(2, len(taken) + 3)))
    return next(one for one in names if one not in taken)


def _secrets(values: Iterable[str]) -> tuple[str, ...]:
    return tuple(value for value in values if len(value) >= SHORTEST_SECRET)
