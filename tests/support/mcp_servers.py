"""MCP servers for tests: what config.yaml says of them, and a room of connected ones without a gateway."""

from __future__ import annotations

import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hermes.core.clock import Clock, SystemClock
from hermes.core.ports import ToolContext, ToolResult
from hermes.toolsets.mcp.server import McpServer, Transport
from hermes.toolsets.mcp.servers import McpServers, Surroundings
from hermes.toolsets.registry import Registry, build_registry

ROOT = Path(__file__).parents[2]
ROUGH = str(ROOT / "tests" / "support" / "mcp_rough.py")
HELD = "HERMES_PROCESS"


def in_config(*arguments: str, **more: Any) -> dict[str, Any]:
    """`tests.support.mcp_server` as config.yaml names it."""
    given = {
        "command": sys.executable,
        "args": ["-m", "tests.support.mcp_server", *arguments],
        "env": {"PYTHONPATH": str(ROOT), **more.pop("env", {})},
    }
    return {**given, **more}


def a_server(name: str = "support", *arguments: str, **more: Any) -> McpServer:
    """The same, as the toolsets have it."""
    environment = {"PYTHONPATH": str(ROOT), **more.pop("env", {})}
    args = ("-m", "tests.support.mcp_server", *arguments)
    return McpServer(
        **{
            "name": name,
            "transport": Transport.STDIO,
            "command": sys.executable,
            "args": args,
            "env": environment,
            **more,
        }
    )


@dataclass
class Room:
    registry: Registry
    servers: McpServers
    run_dir: Path
    clock: Clock

    def context(self, session_id: str = "sess_1") -> ToolContext:
        return ToolContext(session_id, "run_1", "call_1", self.run_dir, None, self.clock, {}, {})

    async def call(self, tool: str, arguments: str = "{}", session_id: str | None = None) -> ToolResult:
        """As a turn would, without its gate."""
        found = {**self.registry.select(None), **self.registry.brought(session_id or "")}[tool]
        return await found.run(found.parse(arguments), self.context())

    def state(self, name: str) -> str:
        return next(
            f"{one.state} {one.tools} {one.detail}".strip() for one in self.servers.states() if one.name == name
        )


@asynccontextmanager
async def room(tmp_path: Path, *servers: McpServer, clock: Clock | None = None) -> AsyncIterator[Room]:
    """Every server was tried once when it is entered."""
    registry = build_registry(run_dir=tmp_path)
    clock = clock or SystemClock()
    around = Surroundings(
        environment={"PATH": os.environ["PATH"], "SEEN": "yes"}, workdir=tmp_path, run_dir=tmp_path, logs_dir=tmp_path
    )
    registry.servers = McpServers(servers, around, offer=registry.add, redactor=registry.redactor, clock=clock)
    registry.servers.start()
    try:
        for one in registry.servers._held.values():
            await one.connection.tried.wait()
        yield Room(registry, registry.servers, tmp_path, clock)
    finally:
        await registry.close()
