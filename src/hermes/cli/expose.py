"""`hermes expose`: the API server, reachable from elsewhere, for a while or until it is taken back."""

from __future__ import annotations

import json
import sys
import time
import urllib.parse
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hermes.cli.context import Call, call_of, new_app, plain

if TYPE_CHECKING:
    from hermes.expose.exposure import Exposure
    from hermes.expose.tailscale import Mount
    from hermes.home.paths import Home

app = new_app("Make the API server reachable from elsewhere: Tailscale, cloudflared, or a tunnel of your own.")
app.info.no_args_is_help = False

HEALTH = "/health"
USUAL_TIME = "2h"
PROBE_SECONDS = 20.0


@dataclass(frozen=True, slots=True)
class Server:
    """`home` is that of the process which listens; `path` leads to the profile that was meant."""

    home: Home
    port: int
    path: str = ""


@app.callback(invoke_without_command=True)
def expose(
    ctx: typer.Context,
    via: Annotated[
        str,
        typer.Option(help="tailscale (Funnel: everybody), tailscale-serve (your tailnet), cloudflared, or command."),
    ] = "tailscale",
    duration: Annotated[
        str | None, typer.Option("--for", metavar="TIME", help=f"How long: 30m, 2h, 1d. Without: {USUAL_TIME}.")
    ] = None,
    background: Annotated[
        bool, typer.Option("--background", help="Return, and leave it open: until `expose off`, or for --for.")
    ] = False,
    command: Annotated[
        str | None, typer.Option(metavar="TEXT", help="With --via command: 'ngrok http {port} --log stdout'.")
    ] = None,
    url: Annotated[
        str | None, typer.Option(metavar="URL", help="With --via command: the address, where it does not print it.")
    ] = None,
) -> None:
    """Make the API server reachable from elsewhere, until Ctrl+C or for 2 hours. Its key has to be a random one of 32
    characters or more."""
    if ctx.invoked_subcommand is not None:
        return
    from hermes.expose.keeping import keep, publish
    from hermes.expose.tunnels import ByHand, Wish

    call = call_of(ctx)
    server = _server(call)
    wish = Wish(_via(via), server.port, _until(duration, background), background, command, url)
    _check_key(call, server)
    try:
        if background:
            _tell(server, publish(wish, server.home.run_dir, call.environ, say=_ask_for_consent))
            print(f"It stays open in the background. Take it back with: {server.home.command} expose off")
            return
        ended, said = keep(
            wish, server.home.run_dir, call.environ, say=_ask_for_consent, opened=lambda found: _tell(server, found)
        )
    except ByHand as found:
        _tell_by_hand(server, found.mount)
        return
    if ended == "died":
        print(f"hermes: the tunnel ended by itself. Its program said:\n{plain(said)}", file=sys.stderr)
        raise typer.Exit(1)
    print("Its time is over; nothing is published any more." if ended == "over" else "Closed.")


@app.command("status")
def status(ctx: typer.Context, as_json: Annotated[bool, typer.Option("--json", help="Write JSON.")] = False) -> None:
    """Show what is published, and whether it answers when it is asked from outside."""
    from hermes.expose.probe import probe
    from hermes.expose.state import state_of

    call = call_of(ctx)
    home, port, path = _place(call)
    state = state_of(home.run_dir, port, call.environ)
    found = probe(state.url, HEALTH) if state.url else None
    if as_json:
        print(json.dumps(state.facts(found, path), indent=2))
        return
    if found is None:
        print("Nothing is published.")
    if state.exposure is not None:
        print(f"{state.exposure.url}{path} ({_described(state.exposure)})")
    for mount in state.by_hand:
        print(f"{mount.url or mount.slot}{path} ({_described_by_hand(mount)})")
    if found is not None:
        print(_answered(found))
        if port is None:
            print(f"The gateway does not run: {home.command} gateway start")


@app.command("off")
def off(ctx: typer.Context) -> None:
    """Take back what `expose` published. What was set up by hand is left as it is."""
    from hermes.expose.keeping import off as take_back

    call = call_of(ctx)
    home, *_ = _place(call)
    found = take_back(home.run_dir, call.environ)
    print(f"{found.url} is closed." if found is not None else "Nothing was published by this command.")


def _server(call: Call) -> Server:
    """Raises ConfigError where there is nothing to publish."""
    from hermes.core.errors import ConfigError
    from hermes.home.keys import is_loopback
    from hermes.home.locks import running_gateway

    home, port, path = _place(call)
    if port is None:
        raise ConfigError(f"the gateway does not run, or without its API; start it with: {home.command} gateway start")
    process = running_gateway(home.pid_file)
    host = urllib.parse.urlsplit((process.url if process else None) or "").hostname or ""
    if host not in ("localhost", "127.0.0.1", "0.0.0.0"):  # noqa: S104 compared with
        family = "IPv6 " if ":" in host and is_loopback(host) else ""
        raise ConfigError(
            f"the API listens on {family}{host}, and tunnels end on 127.0.0.1; change it with: "
            f"{home.command} config set API_SERVER_HOST 127.0.0.1 && {home.command} gateway restart"
        )
    return Server(home, port, path)


def _place(call: Call) -> tuple[Home, int | None, str]:
    """The home of the process that listens for this profile, its port while it runs, and the profile's path there."""
    from hermes.home.locks import running_gateway
    from hermes.home.paths import Home

    home, path = call.home(), ""
    process = running_gateway(home.pid_file)
    own = process is not None and process.url is not None and not process.is_guest
    if home.is_profile and not own:
        path, home = f"/p/{home.name}", Home(home.root)
        process = running_gateway(home.pid_file)
    url = process.url if process is not None else None
    return home, urllib.parse.urlsplit(url).port if url else None, path


def _check_key(call: Call, server: Server) -> None:
    """Raises ConfigError where the key is none for others to try."""
    from hermes.core.errors import ConfigError
    from hermes.home.keys import check_key
    from hermes.home.settings import load_settings

    home = server.home
    key = load_settings(home, call.environ, is_lenient=True).api_server.key
    verdict = check_key(key, "127.0.0.1", command=home.command, is_exposed=True)
    if verdict.is_refused:
        raise ConfigError(verdict.text)


def _via(text: str) -> Any:
    from hermes.core.errors import InvalidInput
    from hermes.expose.exposure import Via

    if text not in list(Via):
        raise InvalidInput(f"there is no way {text!r}; there are: {', '.join(Via)}", param="via")
    return Via(text)


def _until(duration: str | None, is_background: bool) -> float | None:
    from hermes.expose.exposure import seconds_of

    if duration is None and is_background:
        return None
    return time.time() + seconds_of(duration or USUAL_TIME)


def _ask_for_consent(link: str) -> None:
    print(f"Tailscale asks you to allow Funnel for your tailnet. Open this, and it goes on by itself:\n  {link}")
    sys.stdout.flush()


def _tell(server: Server, found: Exposure) -> None:
    from hermes.expose.probe import probe_until
    from hermes.expose.qr import drawing

    address = f"{found.url}{server.path}"
    print(f"{address}\n{drawing(address, has_colours=sys.stdout.isatty())}")
    print(f"Open to {'everybody who has a key' if found.via.is_public else 'your tailnet'}; {_described(found)}.")
    if found.via == "cloudflared":
        print("A quick tunnel of Cloudflare does not carry streams (SSE): ask with stream: false through it.")
    sys.stdout.flush()
    print(_answered(probe_until(found.url, HEALTH, seconds=PROBE_SECONDS, until=found.until)))
    sys.stdout.flush()


def _tell_by_hand(server: Server, mount: Mount) -> None:
    from hermes.expose.probe import probe

    print(f"{mount.url}{server.path}\nIt leads here already: {_described_by_hand(mount)}.")
    print(_answered(probe(mount.url, HEALTH)))


def _described(found: Exposure) -> str:
    until = f"until {datetime.fromtimestamp(found.until):%Y-%m-%d %H:%M}" if found.until else "without an end"  # noqa: DTZ006 for a person, in the zone of the machine
    return f"{until}, via {found.via}"


def _described_by_hand(mount: Mount) -> str:
    if mount.is_raw:
        return (
            f"bytes that Tailscale passes on unread at port {mount.slot}: nobody can tell who sent them; "
            f"close it with: {mount.closing}"
        )
    return f"set up by hand; close it with: {mount.closing}"


def _answered(found: Any) -> str:
    if found.has_answered:
        where = "over the internet" if found.is_from_outside else f"at {', '.join(found.addresses)}, from this machine"
        return f"It answers there (asked {where})."
    return f"It does not answer there yet: {found.problem}"
