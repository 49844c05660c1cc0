"""`hermeslink status`: whether it runs, where it is reached, who is on it."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hermeslink.cli.context import N_, Call, _, call_of, new_app, plain

if TYPE_CHECKING:
    from hermeslink.cli.access import Access

status = new_app(N_("Show whether it runs and who is on it."))


@status.command(help=N_("Show whether it runs and who is on it. Exit code 1 when it does not run."))
def _status(
    ctx: typer.Context, as_json: Annotated[bool, typer.Option("--json", help=N_("Write JSON."))] = False
) -> None:
    facts = facts_of(call_of(ctx))
    if as_json:
        print(json.dumps(facts, ensure_ascii=False))
    else:
        _show(facts)
    if not facts["running"]:
        raise typer.Exit(1)


def facts_of(call: Call) -> dict[str, Any]:
    """Of a home in which nothing was made yet, too; it makes nothing."""
    from hermes import __version__
    from hermes.expose.published import Published
    from hermeslink.service import background, lock
    from hermeslink.settings import load_settings
    from hermeslink.system.network import Network

    home = call.home()
    published = Published(home.run_dir, call.environ)
    network = Network(load_settings(home, call.environ), published=published.urls)
    process = lock.running(home)
    if process is not None and process.url:
        from hermeslink.cli.pair import port_of

        network.port = port_of(process.url) or network.port
    facts: dict[str, Any] = {
        "running": process is not None,
        "answers": process is not None and process.url is not None and background.answers(process.url),
        "pid": process and process.pid,
        "url": process and process.url,
        "started_at": process and process.started_at,
        "version": __version__,
        "database": str(home.database_file),
        "port": network.port,
        "preferred_urls": list(network.preferred_urls()),
        "link_id": None,
        "display_name": network.display_name,
        "devices": {"total": 0, "active": 0, "revoked": 0, "trusted": 0},
        "api_server": _api_server(call),
    }
    return {**facts, **_of_access(call)} if home.database_file.exists() else facts


def _api_server(call: Call) -> dict[str, Any]:
    """Of the default profile, as it is now."""
    import asyncio

    from hermeslink.hermes.servers import ApiServers, ServerState
    from hermeslink.home import hermes_root

    async def ask() -> ServerState:
        async with ApiServers(hermes_root(call.environ), environ=call.environ) as servers:
            return await servers.of().state()

    state = asyncio.run(ask())
    return {"state": state.state, "issue": state.issue}


def _of_access(call: Call) -> dict[str, Any]:
    from hermeslink.cli.access import with_access
    from hermeslink.cli.devices import owner

    async def read(access: Access) -> dict[str, Any]:
        summary = access.devices.summary(await access.devices.all(owner()))
        return {
            "link_id": access.identity.link_id,
            "devices": asdict(summary),
        }

    return with_access(call, read)


def _show(facts: dict[str, Any]) -> None:
    if not facts["running"]:
        print(_("It does not run. Start it with: hermeslink start"))
    else:
        print(_("It runs: pid {pid}, {url}").format(pid=facts["pid"], url=facts["url"]))
        if not facts["answers"]:
            print(_("It does not answer; see: hermeslink logs"))
        for url in facts["preferred_urls"]:
            print(f"  {url}")
    print(_("Name: {name}   Version: {version}").format(name=plain(facts["display_name"]), version=facts["version"]))
    print(
        _("Devices: {active} let in, {revoked} revoked").format(
            active=facts["devices"]["active"], revoked=facts["devices"]["revoked"]
        )
    )
    server = facts["api_server"]
    print(_("API server: {state}").format(state=server["state"]) + (f": {server['issue']}" if server["issue"] else ""))
