"""`hermeslink autostart`: start with the machine, or no more."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated

import typer

from hermeslink.cli.context import N_, Call, _, call_of, new_app, table

if TYPE_CHECKING:
    from hermeslink.system.autostart import Autostart, Service

autostart = new_app(N_("Start Link and the gateway with the machine."))

OnlyLink = Annotated[bool, typer.Option("--only-link", help=N_("Leave the gateway as it is."))]


@autostart.command("on", help=N_("From the next login or start of the machine on. Nothing is started now."))
@autostart.command("enable", hidden=True)
def _on(ctx: typer.Context, only_link: OnlyLink = False) -> None:
    enabled = _of(call_of(ctx)).enable(_chosen(only_link))
    for entry in enabled.values():
        print(_("Wrote {file}").format(file=entry.file))
    first = next(iter(enabled.values()))
    if first.why is not None:
        print(_("systemd of this user does not answer here; it counts from your next login on."))
    elif first.needs_linger:
        print(_("To have it run while you are not logged in, too: loginctl enable-linger"))


@autostart.command("off", help=N_("No more. What runs goes on."))
@autostart.command("disable", hidden=True)
def _off(ctx: typer.Context, only_link: OnlyLink = False) -> None:
    removed = [file for files in _of(call_of(ctx)).disable(_chosen(only_link)).values() for file in files]
    for file in removed:
        print(_("Removed {file}").format(file=file))
    if not removed:
        print(_("Nothing was started with the machine."))


@autostart.command("status", help=N_("Show what starts with the machine."))
def _status(
    ctx: typer.Context, as_json: Annotated[bool, typer.Option("--json", help=N_("Write JSON."))] = False
) -> None:
    states = _of(call_of(ctx)).state()
    if as_json:
        facts = {
            name: {"enabled": one.is_enabled, "method": one.kind, "file": str(one.file) if one.is_enabled else None}
            for name, one in states.items()
        }
        print(json.dumps(facts))
        return
    print(table([(name, str(one.file) if one.is_enabled else _("no")) for name, one in states.items()]))


def _of(call: Call) -> Autostart:
    from hermeslink.home import hermes_root
    from hermeslink.system.autostart import Autostart

    return Autostart(call.home(), hermes_root(call.environ), call.environ)


def _chosen(only_link: bool) -> tuple[Service, ...]:
    return ("link",) if only_link else ("link", "gateway")
