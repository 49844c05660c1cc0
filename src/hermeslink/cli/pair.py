"""`hermeslink pair`: a code that lets one device in, as a QR code and as text."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hermeslink.cli.context import N_, _, call_of, new_app

if TYPE_CHECKING:
    from hermeslink.cli.access import Access

pair = new_app(N_("Make a code that lets one device in."))


@pair.command(help=N_("Make a code that lets one device in, within 5 minutes. Starts Link where it does not run."))
def _pair(
    ctx: typer.Context,
    scope: Annotated[
        str, typer.Option(help=N_("admin: everything. chat: conversations, and no settings or other devices."))
    ] = "admin",
    as_json: Annotated[bool, typer.Option("--json", help=N_("Write JSON."))] = False,
) -> None:
    from hermes.core.clock import SystemClock
    from hermes.core.errors import InvalidInput
    from hermes.expose.published import Published
    from hermeslink.cli.access import with_access
    from hermeslink.core.device import Scope
    from hermeslink.core.times import iso
    from hermeslink.pages.qr import payload
    from hermeslink.service import background
    from hermeslink.settings import load_settings
    from hermeslink.system.network import Network, surroundings

    if scope not in list(Scope):
        raise InvalidInput(_("{scope!r} is no scope: use {scopes}").format(scope=scope, scopes=", ".join(Scope)))
    call = call_of(ctx)
    started = background.start(call.home(), call.environ)
    published = Published(call.home().run_dir, call.environ)
    network = Network(load_settings(call.home(), call.environ), published=published.urls)
    network.port = port_of(started.process.url or "") or network.port

    async def make(access: Access) -> dict[str, Any]:
        made = await access.pairing.make(Scope(scope))
        identity = access.identity.get()
        return {
            "link_id": identity.link_id,
            "display_name": network.display_name,
            "session_id": made.session_id,
            "code": made.code,
            "scope": made.scope.value,
            "preferred_urls": list(network.preferred_urls()),
            "expires_at": iso(made.expires_at),
            "seconds": round(made.expires_at - SystemClock().now()),
        }

    made = with_access(call, make)
    page = f"{network.local_url()}/pair"
    if as_json:
        print(json.dumps({**made, "pairing_page": page}, ensure_ascii=False))
        return
    text = payload(made["link_id"], made["display_name"], made["session_id"], made["code"], made["preferred_urls"])
    elsewhere = next((route.url for route in network.routes() if route.kind == "public"), None)
    _show(text, page, made["code"], elsewhere, warning=_warning(network, surroundings()))


def port_of(url: str) -> int | None:
    from urllib.parse import urlsplit

    return urlsplit(url).port


def _show(text: str, page: str, code: str, elsewhere: str | None, *, warning: str) -> None:
    from hermes.expose.qr import drawing

    print(drawing(text, has_colours=sys.stdout.isatty()))
    print(_("Scan it with the app. It lets one device in, within 5 minutes."))
    if elsewhere is not None:
        print(_("A browser elsewhere opens {url} and is given the token below.").format(url=f"{elsewhere}/pair"))
    elif warning:
        print(warning, file=sys.stderr)
    # scripts look for these two, so they are the same in every language
    print(f"Pairing page: {page}")
    print(f"Connect token: {code}")


def _warning(network: Any, place: str) -> str:
    if not network.is_open:
        return _("Link listens to this machine alone; a phone needs: hermeslink config set listen-host 0.0.0.0")
    if not network.routes():
        return _("This machine has no network now: only programs on it reach Link.")
    if place != "host" and network.lan_addresses() == network.announced_addresses():
        return _(
            "Link runs in a container or in WSL: say by which address devices reach it, with: "
            "hermeslink config set lan-host ADDRESS"
        )
    return ""
