"""What the protocol needs of the engine. `hermes.app` fills it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from hermes.acp.modes import Modes
from hermes.agent.agent import Agent
from hermes.core.clock import Clock
from hermes.files import Files
from hermes.models.resolve import Models
from hermes.runs.runner import Runner
from hermes.sessions import Sessions
from hermes.store.database import Database
from hermes.toolsets.mcp.servers import McpServers


@dataclass(frozen=True, slots=True, kw_only=True)
class Services:
    """`command` is how this home's commands are called. `reading_toolsets` are those that a session gets that must
    change nothing. `direct_models`: whether a model may be asked for by its own name."""

    runner: Runner
    sessions: Sessions
    database: Database
    models: Models
    files: Files
    agent: Agent
    clock: Clock
    modes: Modes
    reading_toolsets: Callable[[], tuple[str, ...]]
    servers: McpServers | None
    version: str
    command: str = "hermes"
    direct_models: bool = False
