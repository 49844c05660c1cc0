"""`hermeslink devices`: who is let in. A revoked device is out at once, also where its events are open."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from hermeslink.cli.context import N_, _, call_of, new_app, plain, table

if TYPE_CHECKING:
    from hermeslink.cli.access import Access
    from hermeslink.core.caller import Caller
    from hermeslink.core.device import Device

devices = new_app(N_("List, rename and revoke devices."))


@devices.command("list", help=N_("List the devices that are let in."))
def _list(
    ctx: typer.Context,
    every: Annotated[bool, typer.Option("--all", "-a", help=N_("Revoked ones, too."))] = False,
    as_json: Annotated[bool, typer.Option("--json", help=N_("Write JSON."))] = False,
) -> None:
    from hermeslink.cli.access import with_access
    from hermeslink.core.times import iso

    async def read(access: Access) -> list[Device]:
        return await access.devices.all(owner(), hidden=every)

    found = [device for device in with_access(call_of(ctx), read) if every or device.revoked_at is None]
    if as_json:
        times = ("paired_at", "created_at", "updated_at", "access_expires_at", "refresh_expires_at", "last_seen_at")
        rows = [asdict(device) for device in found]
        for row in rows:
            for name in (*times, "revoked_at", "app_hidden_at"):
                row[name] = None if row[name] is None else iso(row[name])
        print(json.dumps(rows, ensure_ascii=False))
    elif not found:
        print(_("No device is let in. Make a code with: hermeslink pair"))
    else:
        print(table([_row(device) for device in found]))


@devices.command("rename", help=N_("Give a device another name."))
def _rename(
    ctx: typer.Context,
    device: Annotated[str, typer.Argument(help=N_("Its id, or its name."))],
    label: Annotated[str, typer.Argument(help=N_("What it is to be called."))],
) -> None:
    from hermeslink.cli.access import with_access

    async def rename(access: Access) -> Device:
        return await access.devices.rename(None, await _find(access, device), label)

    renamed = with_access(call_of(ctx), rename)
    print(_("{id} is called {label} now.").format(id=renamed.id, label=plain(renamed.label)))


@devices.command("revoke", help=N_("Let a device in no more. It has to be paired again."))
def _revoke(ctx: typer.Context, device: Annotated[str, typer.Argument(help=N_("Its id, or its name."))]) -> None:
    from hermeslink.cli.access import with_access

    async def revoke(access: Access) -> Device:
        return await access.devices.revoke(None, await _find(access, device))

    revoked = with_access(call_of(ctx), revoke)
    print(_("{label} ({id}) is let in no more.").format(label=plain(revoked.label), id=revoked.id))


def owner() -> Caller:
    """Who has the files may see every device."""
    from hermeslink.core.caller import Caller
    from hermeslink.core.device import Scope

    return Caller("", Scope.ADMIN, is_local=True)


async def _find(access: Access, named: str) -> str:
    """The id of the device that is called so, if one alone is. Raises NotFound, or Conflict where several are."""
    from hermes.core.errors import Conflict, NotFound

    all_of_them = await access.devices.all(owner(), hidden=True)
    if any(device.id == named for device in all_of_them):
        return named
    called = [device.id for device in all_of_them if device.label == named and device.revoked_at is None]
    if len(called) > 1:
        raise Conflict(_("several devices are called {name!r}: give the id").format(name=named))
    if not called:
        raise NotFound(_("no device {name!r}; list them with: hermeslink devices list").format(name=named))
    return called[0]


def _row(device: Device) -> tuple[str, ...]:
    from hermeslink.core.times import iso

    seen = _("seen {time}").format(time=iso(device.last_seen_at)) if device.last_seen_at else _("not seen yet")
    state = _("revoked") if device.revoked_at is not None else seen
    return device.id, device.platform.value, device.scope.value, plain(device.label), state
