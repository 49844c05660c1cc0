"""`hermes prompt-size`: what the agent adds by itself to every conversation, in bytes."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hermes.cli.context import Call, call_of, new_app, table

if TYPE_CHECKING:
    from hermes.app import Engine

app = new_app("Show how long the agent's own instructions and schemas are.")
app.info.no_args_is_help = False
MEMORY_ONLY = "sqlite://"


@app.callback(invoke_without_command=True)
def prompt_size(
    ctx: typer.Context,
    platform: Annotated[str, typer.Option(help="The way in whose tools are counted.")] = "api_server",
    as_json: Annotated[bool, typer.Option("--json", help="Write JSON.")] = False,
) -> None:
    """Show how long the agent's own instructions and schemas are, tool by tool. What a request, a session and a folder
    add (system text, AGENTS.md) is not in it."""
    sizes = asyncio.run(_measure(call_of(ctx), platform))
    if as_json:
        print(json.dumps(sizes, indent=2, ensure_ascii=False))
        return
    rows = [("instructions", f"{sizes['instructions']:>7,}", "SOUL.md, rules, skills, memory")]
    rows += [(name, f"{size:>7,}", "") for name, size in sizes["tools"].items()]
    print(table([*rows, ("together", f"{sizes['bytes']:>7,}", "bytes of each request")]))
    if sizes["on_demand"]:
        print(f"\nloaded when they are looked for (tool_search): {', '.join(sizes['on_demand'])}")


async def _measure(call: Call, platform: str) -> dict[str, Any]:
    from hermes.app import open_engine
    from hermes.core.errors import ConfigError
    from hermes.home.settings import load_settings

    home = call.home()
    if not home.exists():
        raise ConfigError(f"there is no home in {home.path} yet; it is made with: {home.command} gateway")
    settings = load_settings(home, call.environ, is_lenient=True)
    opened = open_engine(settings, home=home, environ=call.environ, database_url=MEMORY_ONLY, platform=platform)
    async with opened as engine:
        await engine.registry.ready(engine.agent.toolsets)  # what MCP servers bring counts, too
        return sizes_of(engine)


def sizes_of(engine: Engine) -> dict[str, Any]:
    """`instructions`, each of the `tools` that are shown, and all `bytes`, as JSON in UTF-8; names `on_demand`."""
    from hermes.agent.tool_search import size

    shortlist, instructions = engine.agent.beginning()
    tools = {spec.name: size(spec) for spec in shortlist.shown}
    text = len(json.dumps(instructions, ensure_ascii=False).encode())
    return {
        "instructions": text,
        "tools": tools,
        "bytes": text + sum(tools.values()),
        "on_demand": [spec.name for spec in shortlist.behind],
    }
