"""`hermes tools list`: the toolsets, and which of them the agent gets."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from hermes.cli.context import call_of, new_app, table

app = new_app("Show what the agent can do.")


@app.callback()
def tools() -> None:
    """Show what the agent can do."""


@app.command("list")
def list_tools(
    ctx: typer.Context, as_json: Annotated[bool, typer.Option("--json", help="Write JSON.")] = False
) -> None:
    """List the toolsets with their tools. What is on is set by `toolsets` in config.yaml."""
    from hermes.core.toolset import COMPOSITES, TOOLSETS, CompositeInfo, ToolsetInfo, enabled
    from hermes.home.settings import load_settings

    call = call_of(ctx)
    settings = load_settings(call.home(), call.environ, is_lenient=True)
    chosen = settings.platform_toolsets.get("api_server", settings.toolsets)
    on = enabled(chosen)
    listed: list[ToolsetInfo | CompositeInfo] = [*TOOLSETS.values(), *COMPOSITES.values()]
    rows = [
        {
            "name": toolset.name,
            "enabled": toolset.name in on,
            "label": toolset.label,
            "description": toolset.description,
            "tools": [tool.name for tool in toolset.tools],
        }
        for toolset in listed
    ]
    if as_json:
        print(json.dumps(rows, indent=2, ensure_ascii=False))
        return
    lines = [(str(row["name"]), "on" if row["enabled"] else "off", ", ".join(row["tools"])) for row in rows]  # type: ignore[arg-type]
    print(table(lines))
    unknown = sorted(set(chosen or ()) - {*TOOLSETS, *COMPOSITES})
    if unknown:
        typer.echo(f"not in this version: {', '.join(unknown)}", err=True)
