"""`hermes mcp`: the MCP servers whose tools the agent gets, and this server as one for other agents."""

from __future__ import annotations

import asyncio
import json
import shlex
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from hermes.cli.context import Call, call_of, new_app, plain, table
from hermes.core.errors import ConfigError, HermesError, InvalidInput

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hermes.home.paths import Home
    from hermes.home.sections import McpServerSettings
    from hermes.home.settings import Settings
    from hermes.toolsets.mcp.connection import Found

app = new_app("Add and test MCP servers, whose tools the agent gets.")

Name = Annotated[str, typer.Argument(help="What the server is called in mcp_servers.")]
AsJson = Annotated[bool, typer.Option("--json", help="Write JSON.")]
LOG_NAME = "mcp.log"
TAKEN_UP = "A running gateway connects it with the next run"


@app.command()
def add(
    ctx: typer.Context,
    name: Name,
    arguments: Annotated[
        list[str] | None, typer.Argument(metavar="[-- ARGUMENT]…", help="Arguments of the command, behind --.")
    ] = None,
    command: Annotated[
        str | None, typer.Option("--command", help="Program to start; with its arguments where that is one text.")
    ] = None,
    args: Annotated[list[str] | None, typer.Option("--args", metavar="TEXT", help="One argument of it. Again.")] = None,
    url: Annotated[str | None, typer.Option("--url", help="Address of a server that is reached over HTTP.")] = None,
    env: Annotated[list[str] | None, typer.Option("--env", metavar="NAME=VALUE", help="For its environment.")] = None,
    header: Annotated[
        list[str] | None, typer.Option("--header", metavar="NAME=VALUE", help="A header of each request.")
    ] = None,
    trust: Annotated[
        Literal["ask", "read_only", "all"] | None, typer.Option(help="Whose calls need no approval: see docs/mcp.md.")
    ] = None,
    transport: Annotated[Literal["http", "sse"] | None, typer.Option(help="With a url: sse for older ones.")] = None,
    cwd: Annotated[str | None, typer.Option("--cwd", metavar="PATH", help="Directory it starts in.")] = None,
    replace: Annotated[bool, typer.Option("--replace", help="In the place of one of this name.")] = False,
) -> None:
    """Write a server into config.yaml. What looks like a secret goes to .env, and ${NAME} stands for it."""
    from hermes.home.config_file import change_config
    from hermes.home.env import read_env, set_env
    from hermes.home.paths import create_home
    from hermes.home.sections import SERVER_NAME, McpServerSettings

    if SERVER_NAME.fullmatch(name) is None:
        raise InvalidInput(f"{name!r} cannot name a server: use up to 48 letters, digits, dots, _ and -", param="name")
    words = [*(args or ()), *(arguments or ())]
    if (command is None) == (url is None):
        raise InvalidInput("give either --command or --url", param="command")
    if url is not None and (words or env or cwd):
        raise InvalidInput("--args, --env and --cwd are for a --command", param="url")
    if command is not None and (header or transport):
        raise InvalidInput("--header and --transport are for a --url", param="command")
    program = shlex.split(command) if command is not None and not words else [command] if command is not None else []
    if command is not None and not program:
        raise InvalidInput("--command is empty", param="command")
    secrets: dict[str, str] = {}
    server: dict[str, Any] = {}
    if program:
        server |= {"command": program[0]} | ({"args": [*program[1:], *words]} if program[1:] or words else {})
    server |= {"url": url} if url is not None else {}
    for key, pairs in (("env", env), ("headers", header)):
        if pairs:
            server[key] = {one: _kept(name, one, value, secrets) for one, value in map(_pair, pairs)}
    given = {"cwd": cwd, "transport": transport, "trust": trust}
    server |= {key: value for key, value in given.items() if value is not None}
    McpServerSettings.model_validate(server)
    home = call_of(ctx).home()
    create_home(home)
    known = read_env(home.env_file)
    clash = next((one for one, value in secrets.items() if known.get(one, value) != value), None)
    if clash is not None and not replace:
        raise InvalidInput(f"{clash} has another value in {home.env_file}; --replace writes this one", param="env")

    def change(now: Any) -> Any:
        if now is not None and not replace:
            raise InvalidInput(f"there is a server {name} already; --replace puts this one in its place", param="name")
        return server

    change_config(home.config_file, ["mcp_servers", name], change)
    for variable, value in secrets.items():
        set_env(home.env_file, variable, value)
    print(f"Added {name} to {home.config_file}" + (f", {', '.join(secrets)} to .env." if secrets else "."))
    _warn_of_open_secrets([*server.get("args", ()), url or ""])
    print(f"Try it: {home.command} mcp test {name}. {TAKEN_UP}.")


@app.command("list")
def list_servers(ctx: typer.Context, as_json: AsJson = False) -> None:
    """List the servers. What they say of themselves comes from the running gateway, if there is one."""
    call = call_of(ctx)
    home, settings = _settings(call)
    seen = toolsets_of_gateway(call)
    rows = [_row(name, server, seen) for name, server in settings.mcp_servers.items()]
    if as_json:
        print(json.dumps(rows, indent=2, ensure_ascii=False))
        return
    if not rows:
        print(f"No MCP servers. Add one: {home.command} mcp add NAME --command …, or --url …")
        return
    lines = [(row["name"], row["state"], row["transport"], row["trust"], plain(row["target"])) for row in rows]
    print(table([("name", "state", "transport", "trust", "target"), *lines]))
    for row in rows:
        if row["problem"]:
            print(plain(f"{row['name']}: {row['problem']}"))


@app.command()
def test(ctx: typer.Context, name: Name, as_json: AsJson = False) -> None:
    """Connect to a server as the gateway would, and show its tools or why it cannot be reached. Exit code 1 then."""
    home, settings = _settings(call_of(ctx))
    _need(name, settings, home)
    found, tools, left = asyncio.run(_try(call_of(ctx), home, settings, name))
    if as_json:
        print(
            json.dumps({"server": found.server, "protocol": found.protocol, "seconds": found.seconds, "tools": tools})
        )
        return
    print(plain(f"{name} answered in {found.seconds:.1f} s: {found.server or 'it has no name'}, MCP {found.protocol}."))
    print(table([(tool["name"], "reads" if tool["only_reads"] else "", tool["description"]) for tool in tools]))
    print(f"{len(tools)} tools" + (f"; {left} more are left out by tools.include and tools.exclude." if left else "."))


@app.command()
def remove(ctx: typer.Context, name: Name) -> None:
    """Take a server out of config.yaml, and what `add` wrote to .env for it."""
    from hermes.home.config_file import change_config, read_config, unset_config
    from hermes.home.env import read_env, unset_env

    home, settings = _settings(call_of(ctx))
    _need(name, settings, home)
    used = json.dumps(read_config(home.config_file)["mcp_servers"].get(name))
    for keys in (["toolsets"], *(["platform_toolsets", platform] for platform in settings.platform_toolsets)):
        change_config(home.config_file, keys, lambda now: _without(now, f"mcp-{name}"))  # first: a gateway looks on
    unset_config(home.config_file, ["mcp_servers", name])
    prefix, left = _variable(name, ""), json.dumps(read_config(home.config_file))
    gone = [one for one in read_env(home.env_file) if one.startswith(prefix) and f"${{{one}}}" in used]
    gone = [one for one in gone if f"${{{one}}}" not in left and unset_env(home.env_file, one)]
    print(f"Removed {name}" + (f", and {', '.join(gone)} from .env." if gone else "."))


def toolsets_of_gateway(call: Call) -> Mapping[str, Any]:
    """Toolset → its row; empty where no gateway runs or answers."""
    from hermes.cli.gateway_client import gateway_client

    try:
        client = gateway_client(call.home(), call.environ)
        return {} if client is None else {row["name"]: row for row in client.get("/v1/toolsets")["data"]}
    except HermesError:
        return {}


@app.command()
def serve(
    ctx: typer.Context,
    read_only: Annotated[bool, typer.Option("--read-only", help="Offer what reads: no turns, no answers.")] = False,
    no_approvals: Annotated[
        bool, typer.Option("--no-approvals", help="Nobody answers questions here: what would ask is refused.")
    ] = False,
) -> None:
    """Be an MCP server for another agent, which starts this and talks to it on stdin and stdout: it lists, searches and
    reads sessions, gives this agent work, and answers approvals."""
    from hermes.app.mcp import serve_agents
    from hermes.core.redact import Redactor
    from hermes.home.logs import configure_logging
    from hermes.home.own_process import hide_secrets
    from hermes.home.paths import create_home
    from hermes.home.settings import load_settings, secret_values

    call = call_of(ctx)
    home = call.home()
    create_home(home)
    settings = load_settings(home, call.environ)
    hide_secrets(settings, call.environ)
    redactor = Redactor(secret_values(settings, {**call.environ, **settings.environ}))
    configure_logging(home, settings.logging.level, redactor=redactor, name=LOG_NAME)
    asyncio.run(
        serve_agents(home, settings, call.environ, may_send=not read_only, may_approve=not (no_approvals or read_only))
    )


def _settings(call: Call) -> tuple[Home, Settings]:
    from hermes.home.settings import load_settings

    home = call.home()
    return home, load_settings(home, call.environ, is_lenient=True)


def _need(name: str, settings: Settings, home: Home) -> None:
    if name not in settings.mcp_servers:
        known = ", ".join(settings.mcp_servers) or "none"
        wrong = next((one for one in settings.errors if f"mcp_servers.{name}" in one), None)
        raise ConfigError(wrong or f"there is no MCP server {name!r} in {home.config_file}; there are: {known}")


def _without(names: Any, name: str) -> Any:
    """A list of toolsets, or such a list as one text; what is none stays as it is."""
    if isinstance(names, str) and name in (one.strip() for one in names.split(",")):
        names = [one.strip() for one in names.split(",")]
    return [one for one in names if one != name] if isinstance(names, list) and name in names else names


def _pair(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals or not name.strip():
        raise InvalidInput(f"write NAME=VALUE, not {name!r}", param="env")
    return name.strip(), value


def _kept(server: str, name: str, value: str, secrets: dict[str, str]) -> str:
    """The value for config.yaml: a reference where it is a secret by its name or its look. `Bearer ` stays readable."""
    from hermes.core.redact import Redactor, is_secret_name

    if "${" in value or not value or not (is_secret_name(name) or Redactor()(value) != value):
        return value
    scheme, space, token = value.partition(" ")
    has_scheme = bool(space) and scheme.lower() in ("bearer", "basic", "token")
    variable = _variable(server, name)
    secrets[variable] = token.strip() if has_scheme else value
    return f"{scheme} ${{{variable}}}" if has_scheme else f"${{{variable}}}"


def _variable(server: str, name: str) -> str:
    return "".join(c if c.isalnum() and c.isascii() else "_" for c in f"MCP_{server}_{name}").upper()


def _warn_of_open_secrets(texts: list[str]) -> None:
    from hermes.core.redact import Redactor

    redact = Redactor()
    if any(redact(text) != text for text in texts):
        typer.echo("config.yaml now holds what looks like a secret; put it into .env and write ${NAME} there", err=True)


def _row(name: str, server: McpServerSettings, seen: Mapping[str, Any]) -> dict[str, Any]:
    from hermes.core.redact import Redactor

    row = seen.get(f"mcp-{name}")
    state = "enabled" if server.enabled else "off"
    if row is not None and server.enabled:
        state = f"{len(row['tools'])} tools" if not row.get("problem") else "not connected"
    target = server.url or shlex.join([server.command or "", *server.args])
    return {
        "name": name,
        "state": state,
        "transport": server.transport or ("stdio" if server.command else "http"),
        "trust": server.trust,
        "target": Redactor()(target),
        "tools": row["tools"] if row is not None else None,
        "problem": row.get("problem") if row is not None and server.enabled else None,
    }


async def _try(call: Call, home: Home, settings: Settings, name: str) -> tuple[Found, list[dict[str, Any]], int]:
    """What it said, the tools as the agent would have them, how many more it has. Raises `mcp_unreachable`."""
    from hermes.app.mcp import try_server

    connection, toolset = await try_server(settings, home, call.environ, name)
    if connection.found is None:
        raise HermesError(f"{name}: {connection.problem}", code="mcp_unreachable")
    tools = [
        {
            "name": tool.spec.name,
            "only_reads": bool(getattr(tool, "only_reads", False)),
            "description": tool.spec.description.partition(". ")[0],
        }
        for tool in toolset.tools
    ]
    left = sum(not connection.server.wants(tool.name) for tool in connection.found.tools)
    return connection.found, tools, left
