"""`hermes profile`: homes that share nothing."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hermes.cli.context import Call, call_of, new_app, table

if TYPE_CHECKING:
    from hermes.home.paths import Home

app = new_app("Make and list profiles: homes that share nothing.")


@app.command()
def create(
    ctx: typer.Context,
    name: Annotated[str, typer.Argument(help="a-z, 0-9, - and _.")],
    clone: Annotated[
        bool, typer.Option("--clone", help="Copy config.yaml, SOUL.md and provider keys of the current profile.")
    ] = False,
) -> None:
    """Make a profile with an API key of its own. Its API is off until you give it a port."""
    from hermes.home.profiles import create_profile

    home = call_of(ctx).home()
    made = create_profile(home.root, name, clone=home if clone else None)
    print(f"Made profile {name} in {made.path}. To serve it beside the others:")
    print(f"  {made.command} config set API_SERVER_ENABLED true")
    print(f"  {made.command} config set API_SERVER_PORT 8643")
    print(f"  {made.command} gateway")


@app.command("list")
def list_all(ctx: typer.Context, as_json: Annotated[bool, typer.Option("--json", help="Write JSON.")] = False) -> None:
    """List the profiles; * is the one that is used now."""
    from hermes.home.profiles import list_profiles

    call = call_of(ctx)
    current = call.home()
    found = [_facts(call, home) for home in list_profiles(current.root)]
    if as_json:
        print(json.dumps(found, indent=2))
        return
    rows = [("", "name", "api", "model", "path")]
    for facts in found:
        mark = "*" if facts["path"] == str(current.path) else ""
        api = facts["url"] or ("on" if facts["api_enabled"] else "off")
        rows.append((mark, facts["name"], api, facts["model"] or "-", facts["path"]))
    print(table(rows))


@app.command()
def show(
    ctx: typer.Context,
    name: Annotated[str | None, typer.Argument(help="The current one unless named.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Write JSON.")] = False,
) -> None:
    """Show where a profile lives, whether it runs and how it is reached."""
    from hermes.home.profiles import get_profile

    call = call_of(ctx)
    current = call.home()
    facts = _facts(call, current if name is None else get_profile(current.root, name))
    if as_json:
        print(json.dumps(facts, indent=2))
        return
    print(table([(key, "-" if value is None else str(value)) for key, value in facts.items()]))


def _facts(call: Call, home: Home) -> dict[str, Any]:
    """`url` and `pid` are None while its gateway does not run. Of other profiles the environment says nothing."""
    from hermes.home.locks import running_gateway
    from hermes.home.settings import load_settings

    is_current = home.path == call.home().path
    settings = load_settings(home, call.environ if is_current else {}, is_lenient=True)
    process = running_gateway(home.pid_file)
    return {
        "name": home.name,
        "path": str(home.path),
        "exists": home.exists(),
        "api_enabled": bool(settings.api_server.enabled),
        "host": settings.api_server.host,
        "port": settings.api_server.port,
        "url": process.url if process else None,
        "pid": process.pid if process else None,
        "model": settings.model.default,
        "problems": len(settings.problems),
    }
