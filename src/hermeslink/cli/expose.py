"""`hermeslink expose`: Link reachable from elsewhere, for a while or until it is taken back."""

from __future__ import annotations

import json
import sys
import time
from datetime import datetime
from typing import TYPE_CHECKING, Annotated

import typer

from hermeslink.cli.context import N_, Call, _, call_of, new_app, plain

if TYPE_CHECKING:
    from hermes.expose.exposure import Exposure
    from hermes.expose.probe import Probe
    from hermes.expose.tailscale import Mount

expose = new_app(N_("Make Link reachable from elsewhere: Tailscale, cloudflared, or a tunnel of your own."))
expose.info.no_args_is_help = False

USUAL_TIME = "2h"
PROBE_SECONDS = 20.0


@expose.callback(
    invoke_without_command=True, help=N_("Make Link reachable from elsewhere, until Ctrl+C or for 2 hours.")
)
def _expose(
    ctx: typer.Context,
    via: Annotated[
        str,
        typer.Option(
            help=N_("tailscale (Funnel: everybody), tailscale-serve (your tailnet), cloudflared, or command.")
        ),
    ] = "tailscale",
    duration: Annotated[
        str | None, typer.Option("--for", metavar="TIME", help=N_("How long: 30m, 2h, 1d. Without: 2h."))
    ] = None,
    background: Annotated[
        bool, typer.Option("--background", help=N_("Return, and leave it open: until `expose off`, or for --for."))
    ] = False,
    command: Annotated[
        str | None, typer.Option(metavar="TEXT", help=N_("With --via command: 'ngrok http {port} --log stdout'."))
    ] = None,
    url: Annotated[
        str | None, typer.Option(metavar="URL", help=N_("With --via command: the address, where it is not printed."))
    ] = None,
) -> None:
    if ctx.invoked_subcommand is not None:
        return
    from hermes.core.errors import InvalidInput
    from hermes.expose.exposure import Via, seconds_of
    from hermes.expose.keeping import keep, publish
    from hermes.expose.tunnels import ByHand, Wish

    if via not in list(Via):
        raise InvalidInput(_("there is no way {via!r}; there are: {ways}").format(via=via, ways=", ".join(Via)))
    call = call_of(ctx)
    until = None if duration is None and background else time.time() + seconds_of(duration or USUAL_TIME)
    wish = Wish(Via(via), _port(call), until, background, command, url)
    run_dir = call.home().run_dir
    try:
        if background:
            _tell(publish(wish, run_dir, call.environ, say=_ask_for_consent))
            print(_("It stays open in the background. Take it back with: hermeslink expose off"))
            return
        ended, said = keep(wish, run_dir, call.environ, say=_ask_for_consent, opened=_tell)
    except ByHand as found:
        _tell_by_hand(found.mount)
        return
    if ended == "died":
        print(_("The tunnel ended by itself. Its program said:") + f"\n{_lines(said)}", file=sys.stderr)
        raise typer.Exit(1)
    print(_("Its time is over; nothing is published any more.") if ended == "over" else _("Closed."))


@expose.command("status", help=N_("Show what is published, and whether it answers when it is asked from outside."))
def _status(
    ctx: typer.Context, as_json: Annotated[bool, typer.Option("--json", help=N_("Write JSON."))] = False
) -> None:
    from hermes.expose.probe import probe
    from hermes.expose.state import state_of
    from hermeslink.system.exposing import HEALTH

    call = call_of(ctx)
    state = state_of(call.home().run_dir, _running_port(call), call.environ)
    found = probe(state.url, HEALTH) if state.url else None
    if as_json:
        print(json.dumps(state.facts(found), indent=2))
        return
    if found is None:
        print(_("Nothing is published."))
    if state.exposure is not None:
        print(f"{state.exposure.url} ({_described(state.exposure)})")
    for mount in state.by_hand:
        print(f"{mount.url} ({_described_by_hand(mount)})")
    if found is not None:
        print(_answered(found))


@expose.command("off", help=N_("Take back what `expose` published. What was set up by hand is left as it is."))
def _off(ctx: typer.Context) -> None:
    from hermes.expose.keeping import off

    call = call_of(ctx)
    found = off(call.home().run_dir, call.environ)
    print(_("{url} is closed.").format(url=found.url) if found else _("Nothing was published by this command."))


def _port(call: Call) -> int:
    """Starts Link where it does not run. Raises ConfigError where no tunnel reaches it."""
    from hermes.core.errors import ConfigError
    from hermeslink.cli.pair import port_of
    from hermeslink.service import background
    from hermeslink.settings import load_settings
    from hermeslink.system.network import Network

    settings = load_settings(call.home(), call.environ)
    if not Network(settings).is_on_loopback:
        raise ConfigError(
            _("Link listens on {host}, and tunnels end on 127.0.0.1; change it with: {command}").format(
                host=settings.listen_host, command="hermeslink config set listen-host 127.0.0.1 && hermeslink restart"
            )
        )
    started = background.start(call.home(), call.environ)
    return port_of(started.process.url or "") or settings.port


def _running_port(call: Call) -> int | None:
    from hermeslink.cli.pair import port_of
    from hermeslink.service import lock

    process = lock.running(call.home())
    return port_of(process.url) if process is not None and process.url else None


def _ask_for_consent(link: str) -> None:
    text = _("Tailscale asks you to allow Funnel for your tailnet. Open this, and it goes on by itself:")
    print(f"{text}\n  {link}", flush=True)


def _tell(found: Exposure) -> None:
    from hermes.expose.probe import probe_until
    from hermes.expose.qr import drawing
    from hermeslink.system.exposing import HEALTH

    print(f"{found.url}\n{drawing(found.url, has_colours=sys.stdout.isatty())}")
    who = _("everybody who has a device's token") if found.via.is_public else _("your tailnet")
    print(_("Open to {who}; {described}.").format(who=who, described=_described(found)))
    print(_("The codes of hermeslink pair name this address first."))
    if found.via == "cloudflared":
        print(_("A quick tunnel of Cloudflare does not carry streams (SSE): answers come late or not at all."))
    sys.stdout.flush()
    print(_answered(probe_until(found.url, HEALTH, seconds=PROBE_SECONDS, until=found.until)), flush=True)


def _tell_by_hand(mount: Mount) -> None:
    from hermes.expose.probe import probe
    from hermeslink.system.exposing import HEALTH

    print(mount.url)
    print(_("It leads here already: {described}.").format(described=_described_by_hand(mount)))
    print(_answered(probe(mount.url, HEALTH)))


def _described(found: Exposure) -> str:
    if found.until is None:
        return _("without an end, via {via}").format(via=found.via)
    when = f"{datetime.fromtimestamp(found.until):%Y-%m-%d %H:%M}"  # noqa: DTZ006 for a person, in the zone of the machine
    return _("until {time}, via {via}").format(time=when, via=found.via)


def _described_by_hand(mount: Mount) -> str:
    if mount.is_raw:
        text = _("bytes that Tailscale passes on unread: nobody can tell who sent them; close it with: {command}")
    else:
        text = _("set up by hand; close it with: {command}")
    return text.format(command=mount.closing)


def _answered(found: Probe) -> str:
    if not found.has_answered:
        return _("It does not answer there yet: {problem}").format(problem=found.problem)
    if found.is_from_outside:
        return _("It answers there (asked over the internet).")
    return _("It answers there (asked at {addresses}, from this machine).").format(addresses=", ".join(found.addresses))


def _lines(text: str) -> str:
    return "\n".join(plain(line) for line in text.splitlines())
