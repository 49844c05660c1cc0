"""`hermes tools`: the toolsets, which of them the agent gets, and why one would not work here."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hermes.cli.context import Call, call_of, new_app, plain, settings_to_show, table
from hermes.cli.mcp import toolsets_of_gateway
from hermes.core.errors import InvalidInput

if TYPE_CHECKING:
    from hermes.home.settings import Settings

app = new_app("Show and choose what the agent can do.")

PLATFORMS = ("api_server", "cli", "acp", "mcp", "library")
PLATFORM_NAME = re.compile(r"[a-z][a-z0-9_-]*")
MEMORY_ONLY = "sqlite://"

Platform = Annotated[
    str | None, typer.Option("--platform", metavar="P", help=f"For one way in alone: {', '.join(PLATFORMS)}.")
]
Names = Annotated[list[str], typer.Argument(metavar="NAME...", help="As `hermes tools list` shows them.")]


@app.callback()
def tools() -> None:
    """Show and choose what the agent can do."""


@app.command("list")
def list_tools(
    ctx: typer.Context,
    platform: Platform = None,
    as_json: Annotated[bool, typer.Option("--json", help="Write JSON.")] = False,
) -> None:
    """List the toolsets with their tools, and what is missing for them here. Without --platform: those of the API."""
    call = call_of(ctx)
    settings = settings_to_show(call)
    chosen = settings.toolsets_for(_checked(platform) or "api_server")
    seen = toolsets_of_gateway(call) if settings.mcp_servers else {}
    rows = _rows(settings, chosen, asyncio.run(_problems(call, settings)), seen)
    if as_json:
        print(json.dumps(rows, indent=2, ensure_ascii=False))
        return
    print(table([(row["name"], _state(row), plain(row["problem"] or ", ".join(row["tools"]))) for row in rows]))
    unknown = sorted(set(chosen or ()) - _known(settings))
    if unknown:
        typer.echo(f"not in this version: {', '.join(unknown)}", err=True)


@app.command()
def enable(ctx: typer.Context, names: Names, platform: Platform = None) -> None:
    """Switch toolsets on, in config.yaml: everywhere, or for one way in."""
    _change(call_of(ctx), names, platform, is_on=True)


@app.command()
def disable(ctx: typer.Context, names: Names, platform: Platform = None) -> None:
    """Switch toolsets off, in config.yaml: everywhere, or for one way in."""
    _change(call_of(ctx), names, platform, is_on=False)


def _change(call: Call, names: Sequence[str], platform: str | None, *, is_on: bool) -> None:
    """Writes the whole list: from then on it holds what it says, and nothing that a later version brings."""
    from hermes.core.toolset import MCP_PREFIX
    from hermes.home.config_file import change_config
    from hermes.home.edit import beaten_by
    from hermes.home.paths import create_home
    from hermes.home.settings import load_settings

    home = call.home()
    settings = load_settings(home, call.environ, is_lenient=True)
    _check_names(names, settings)
    platform = _checked(platform)
    if not is_on:
        _check_composites(names, _chosen(settings, platform))
    create_home(home)
    keys = ["toolsets"] if platform is None else ["platform_toolsets", platform]
    before = _chosen(settings, platform)
    after = [*before, *(name for name in dict.fromkeys(names) if name not in before)]
    if not is_on:
        after = [name for name in before if name not in names]
    change_config(home.config_file, keys, lambda now: after)
    where = "everywhere" if platform is None else f"for {platform}"
    typer.echo(f"{', '.join(names)}: {'on' if is_on else 'off'} {where}, in {home.config_file}", err=True)
    print(", ".join(after) or "no toolset at all")
    if is_on and not settings.mcp_enabled and any(name.startswith(MCP_PREFIX) for name in names):
        typer.echo(f"but mcp_enabled is false: {home.command} config set mcp_enabled true", err=True)
    stronger = beaten_by(home, ".".join(keys), call.environ)
    if stronger is not None:
        typer.echo(f"but {stronger} says otherwise, and beats it", err=True)
    if platform is None:
        for other in settings.platform_toolsets:
            typer.echo(f"{other} has a list of its own: add --platform {other} to change that", err=True)
    elif platform not in PLATFORMS:
        typer.echo(f"no way in of this version is called {platform}; there are {', '.join(PLATFORMS)}", err=True)


def _check_names(names: Sequence[str], settings: Settings) -> None:
    known = _known(settings)
    for name in names:
        if name not in known:
            raise InvalidInput(f"no toolset {name!r}; there are {', '.join(_in_order(settings))}", param="name")


def _check_composites(names: Sequence[str], chosen: Sequence[str]) -> None:
    """`web` cannot be taken out of `safe`, which stands for it."""
    from hermes.core.toolset import COMPOSITES

    for name in names:
        for composite in (COMPOSITES[one] for one in chosen if one in COMPOSITES and one not in names):
            if name in composite.members:
                raise InvalidInput(f"{name} is part of {composite.name}; disable {composite.name}", param="name")


def _checked(platform: str | None) -> str | None:
    if platform is not None and PLATFORM_NAME.fullmatch(platform) is None:
        raise InvalidInput(f"--platform is one of {', '.join(PLATFORMS)}, not {platform!r}", param="platform")
    return platform


def _chosen(settings: Settings, platform: str | None) -> list[str]:
    """What is on now, as a list that may be written down."""
    from hermes.core.toolset import TOOLSETS

    named = settings.toolsets if platform is None else settings.platform_toolsets.get(platform, settings.toolsets)
    if named is not None:
        return list(named)
    return [name for name, info in TOOLSETS.items() if info.is_default] + [f"mcp-{one}" for one in settings.mcp_servers]


def _in_order(settings: Settings) -> list[str]:
    from hermes.core.toolset import COMPOSITES, TOOLSETS

    return [*TOOLSETS, *COMPOSITES, *(f"mcp-{server}" for server in settings.mcp_servers)]


def _known(settings: Settings) -> set[str]:
    return set(_in_order(settings))


def _rows(
    settings: Settings, chosen: Sequence[str] | None, problems: dict[str, str], seen: Mapping[str, Any]
) -> list[dict[str, Any]]:
    """`seen`: what a running gateway says of each toolset, which alone knows what MCP servers have."""
    from hermes.core.toolset import COMPOSITES, TOOLSETS, CompositeInfo, ToolsetInfo, enabled

    on = enabled(chosen)
    listed: list[ToolsetInfo | CompositeInfo] = [*TOOLSETS.values(), *COMPOSITES.values()]
    rows = [
        {
            "name": toolset.name,
            "enabled": toolset.name in on,
            "label": toolset.label,
            "description": toolset.description,
            "tools": [tool.name for tool in toolset.tools],
            "problem": problems.get(toolset.name, ""),
        }
        for toolset in listed
    ]
    servers = [
        {
            "name": f"mcp-{server}",
            "enabled": given.enabled and settings.mcp_enabled and (chosen is None or f"mcp-{server}" in chosen),
            "label": f"MCP: {server}",
            "description": f"Tools of the MCP server {server}",
            "tools": seen.get(f"mcp-{server}", {}).get("tools", []),
            "problem": seen.get(f"mcp-{server}", {}).get("problem") or "",
        }
        for server, given in settings.mcp_servers.items()
    ]
    return [*rows, *servers]


def _state(row: dict[str, Any]) -> str:
    return ("on" if not row["problem"] else "on, but") if row["enabled"] else "off"


async def _problems(call: Call, settings: Settings) -> dict[str, str]:
    """What each toolset lacks here; no MCP server is started for that, and no database opened."""
    from hermes.app import open_engine

    home = call.home()
    if not home.exists():
        return {}
    without_servers = settings.model_copy(update={"mcp_servers": {}})
    opened = open_engine(without_servers, home=home, environ=call.environ, database_url=MEMORY_ONLY)
    async with opened as engine:
        return {state.name: state.problem for state in engine.registry.toolsets() if state.problem}
