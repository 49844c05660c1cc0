"""`hermes nodes`: the processes that conduct runs on this home's database, wherever they are."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hermes.cli.context import Call, call_of, new_app, plain, table

if TYPE_CHECKING:
    from hermes.home.paths import Home

app = new_app("Show the gateways that share the database.")
app.info.no_args_is_help = False


@app.callback(invoke_without_command=True)
def nodes(ctx: typer.Context, as_json: Annotated[bool, typer.Option("--json", help="Write JSON.")] = False) -> None:
    """Show the gateways that share the database: where each is, its version, its runs, and whether it lives."""
    call = call_of(ctx)
    home = call.home()
    found = _found(call, home)
    if as_json:
        print(json.dumps(found, indent=2, ensure_ascii=False))
    elif not found:
        print(f"No node runs; start one with: {home.command} gateway start")
    else:
        print(table([_TITLES, *(_row(node) for node in found)]))


_TITLES = ("id", "name", "url", "version", "started", "last beat", "running", "queued", "state")


def _found(call: Call, home: Home) -> list[dict[str, Any]]:
    """Of the database as it is: whoever looks upgrades nothing under nodes of an older version."""
    from hermes.home.settings import load_settings
    from hermes.runs.node_object import nodes_in

    settings = load_settings(home, call.environ, is_lenient=True)
    return nodes_in(settings.database.url or f"sqlite:///{home.state_db}")


def _row(node: dict[str, Any]) -> tuple[str, ...]:
    return (
        node["id"],
        plain(node["name"]),
        plain(node["url"] or "no listener"),
        plain(node["version"]),
        time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(node["started_at"])),
        "-" if node["silent_seconds"] is None else f"{node['silent_seconds']:.1f} s ago",
        str(node["running"]),
        str(node["queued"]),
        node["state"],
    )
