"""`hermes nodes`: the processes that conduct runs on this home's database, wherever they are."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hermes.cli.context import call_of, new_app, open_store, plain, table

if TYPE_CHECKING:
    from pathlib import Path

    from hermes.store.database import Connection

app = new_app("Show the gateways that share the database.")
app.info.no_args_is_help = False


@app.callback(invoke_without_command=True)
def nodes(ctx: typer.Context, as_json: Annotated[bool, typer.Option("--json", help="Write JSON.")] = False) -> None:
    """Show the gateways that share the database: where each is, its version, its runs, and whether it lives."""
    call = call_of(ctx)
    home = call.home()
    with open_store(call, home) as database:
        found = database.read_now(_read, database.path)
    if as_json:
        print(json.dumps(found, indent=2, ensure_ascii=False))
    elif not found:
        print(f"No node runs; start one with: {home.command} gateway start")
    else:
        print(table([_TITLES, *(_row(node) for node in found)]))


_TITLES = ("id", "name", "url", "version", "started", "last beat", "running", "queued", "state")


def _read(conn: Connection, database_file: Path | None) -> list[dict[str, Any]]:
    from hermes.runs.node_object import node_objects

    return node_objects(conn, database_file)


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
