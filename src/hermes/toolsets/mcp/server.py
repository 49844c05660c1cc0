"""What is known of an MCP server before it is asked: how to reach it, and what the owner lets it do."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from fnmatch import fnmatchcase

_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)(?::-([^}]*))?\}")


class Trust(StrEnum):
    """Which of its tools run without a question."""

    ASK = "ask"
    READ_ONLY = "read_only"
    """Those that the server itself says only read."""
    ALL = "all"


class Transport(StrEnum):
    STDIO = "stdio"
    HTTP = "http"
    SSE = "sse"


@dataclass(frozen=True, slots=True, kw_only=True)
class McpServer:
    """`env` and `headers` with their values filled in. `include` and `exclude` are globs over the server's own tool
    names; no `include` means all. `problem` says why it cannot be reached at all, empty when it can be tried.

    `secrets` are the values among them that must not leave.
    """

    name: str
    transport: Transport
    command: str = ""
    args: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict, repr=False)
    cwd: str | None = None
    url: str = ""
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    is_enabled: bool = True
    timeout_seconds: float = 120.0
    connect_timeout_seconds: float = 60.0
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    trust: Trust = Trust.ASK
    secrets: tuple[str, ...] = field(default=(), repr=False)
    problem: str = ""

    @property
    def toolset(self) -> str:
        return f"mcp-{self.name}"

    def wants(self, tool: str) -> bool:
        """Whether the owner lets the agent have this tool of the server."""
        if self.include and not any(fnmatchcase(tool, glob) for glob in self.include):
            return False
        return not any(fnmatchcase(tool, glob) for glob in self.exclude)


class UnsetVariable(ValueError):
    """`name` is asked for and set nowhere."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.name = name


def filled_in(text: str, values: Mapping[str, str]) -> str:
    """`${NAME}` and `${NAME:-otherwise}` replaced. Raises UnsetVariable."""

    def value(match: re.Match[str]) -> str:
        found = values.get(match[1]) or match[2]
        if found is None:
            raise UnsetVariable(match[1])
        return found

    return _VARIABLE.sub(value, text)


def variables(text: str) -> list[str]:
    """The names that `filled_in` would look up."""
    return [match[1] for match in _VARIABLE.finditer(text)]
