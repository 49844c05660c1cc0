"""The MCP servers of a home: what its settings say of each, with values of .env filled in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from hermes.core.redact import is_secret_name
from hermes.home.sections import McpServerSettings
from hermes.home.settings import Settings
from hermes.toolsets.environment import child_environment
from hermes.toolsets.mcp.server import McpServer, Transport, Trust, UnsetVariable, filled_in, variables

if TYPE_CHECKING:
    from hermes.app.toolsets import Parts
    from hermes.home.paths import Home
    from hermes.toolsets.mcp.connection import Connection
    from hermes.toolsets.mcp.servers import McpServers, Surroundings
    from hermes.toolsets.registry import Registry
    from hermes.toolsets.toolset import Toolset


BRINGING = "acp"
"""The way in whose sessions bring servers."""


def servers_of(settings: Settings, keys: Mapping[str, str]) -> list[McpServer]:
    """`keys`: the environment over .env. What cannot be tried has a problem that says why."""
    return [_server(name, given, keys) for name, given in settings.mcp_servers.items()]


def _surroundings(
    settings: Settings, home: Home | None, environ: Mapping[str, str], secrets: Sequence[str]
) -> Surroundings:
    from hermes.toolsets.mcp.servers import Surroundings

    return Surroundings(
        environment=child_environment(
            environ,
            secret_names=[] if home is None else [name for name in settings.environ if name not in environ],
            secret_values=list(secrets),
        ),
        workdir=Path(settings.terminal.cwd).expanduser() if settings.terminal.cwd else Path.cwd(),
        run_dir=home.run_dir if home else None,
        logs_dir=home.logs_dir if home else None,
    )


async def try_server(
    settings: Settings, home: Home, environ: Mapping[str, str], name: str
) -> tuple[Connection, Toolset]:
    """One attempt to connect to a server of the settings, as the gateway would, and its end. It may be switched off."""
    from hermes.core.redact import Redactor
    from hermes.home.settings import secret_values
    from hermes.toolsets.mcp.servers import McpServers
    from hermes.toolsets.mcp.tool import toolset_of

    keys = {**environ, **settings.environ}
    given = settings.mcp_servers[name].model_copy(update={"enabled": True})
    server = _server(name, given, keys)
    secrets = secret_values(settings, keys)
    redactor = Redactor([*secrets, *server.secrets])
    around = _surroundings(settings, home, environ, secrets)
    servers = McpServers([], around, offer=lambda toolset, session_id: None, redactor=redactor)
    try:
        connection = await servers.try_once(server)
        return connection, toolset_of(connection)
    finally:
        await servers.close()


def mcp_servers(parts: Parts, registry: Registry, environ: Mapping[str, str], platform: str) -> McpServers | None:
    """They offer their tools to the registry, which closes them; not started yet. None where there are none, and no
    session will bring any: what only they need is not imported then."""
    servers = servers_of(parts.settings, parts.keys)
    if not servers and platform != BRINGING:
        return None
    from hermes.toolsets.mcp.servers import McpServers

    for server in servers:
        registry.redactor.add(server.secrets)
    around = _surroundings(parts.settings, parts.home, environ, parts.secrets)
    registry.servers = McpServers(servers, around, offer=registry.add, redactor=registry.redactor, clock=parts.clock)
    return registry.servers


async def change_mcp_servers(parts: Parts, registry: Registry, environ: Mapping[str, str]) -> None:
    """What the settings say now is connected, and what they say no more is ended."""
    servers = servers_of(parts.settings, parts.keys)
    if registry.servers is None:
        if not servers:
            return
        new = mcp_servers(parts, registry, environ, platform="")
        if new is not None:
            new.start()
        return
    around = _surroundings(parts.settings, parts.home, environ, parts.secrets)
    for toolset in await registry.servers.change(servers, around):
        registry.remove(toolset)


def _server(name: str, given: McpServerSettings, keys: Mapping[str, str]) -> McpServer:
    transport = Transport(given.transport) if given.transport else _transport_of(given)
    problem = ""
    if transport is Transport.STDIO and not given.command:
        problem = f"mcp_servers.{name} needs a command or a url"
    elif transport is not Transport.STDIO and not given.url:
        problem = f"mcp_servers.{name} needs a url"
    secrets: list[str] = []

    def fill(where: str, text: str) -> str:
        nonlocal problem
        try:
            filled = filled_in(text, keys)
        except UnsetVariable as unset:
            problem = problem or f"mcp_servers.{name}.{where} asks for ${{{unset.name}}}, which .env does not set"
            return ""
        if where.startswith("headers") or any(
            is_secret_name(word) for word in (where.partition(".")[2], *variables(text))
        ):
            secrets.extend((filled, *filled.split()[1:]))  # `Bearer TOKEN`: the token by itself, too
        return filled

    return McpServer(
        name=name,
        transport=transport,
        command=fill("command", given.command or ""),
        args=tuple(fill("args", argument) for argument in given.args),
        env={key: fill(f"env.{key}", value) for key, value in given.env.items()},
        cwd=fill("cwd", given.cwd) if given.cwd else None,
        url=fill("url", given.url or ""),
        headers={key: fill(f"headers.{key}", value) for key, value in given.headers.items()},
        is_enabled=given.enabled,
        timeout_seconds=given.timeout,
        connect_timeout_seconds=given.connect_timeout,
        include=tuple(given.tools.include),
        exclude=tuple(given.tools.exclude),
        trust=Trust(given.trust),
        secrets=tuple(secret for secret in secrets if len(secret) >= 6),
        problem=problem,
    )


def _transport_of(given: McpServerSettings) -> Transport:
    if given.url and not given.command:
        return Transport.SSE if given.url.endswith("/sse") else Transport.HTTP
    return Transport.STDIO


async def serve_agents(
    home: Home, settings: Settings, environ: Mapping[str, str], *, may_send: bool = True, may_approve: bool = True
) -> None:
    """The engine of a home as an MCP server on stdin and stdout, beside the gateway that may run on the same home."""
    from hermes import __version__
    from hermes.app.engine import open_engine
    from hermes.mcp.serve import serve
    from hermes.mcp.services import SOURCE, Services
    from hermes.runs.node import Identity

    identity = Identity(SOURCE, str(home.path))
    async with open_engine(settings, home=home, environ=environ, platform=SOURCE, identity=identity) as engine:
        await serve(
            Services(
                runner=engine.runner,
                sessions=engine.sessions,
                clock=engine.clock,
                version=__version__,
                may_send=may_send,
                may_approve=may_approve and may_send,
                hide=engine.registry.redactor,
            )
        )
