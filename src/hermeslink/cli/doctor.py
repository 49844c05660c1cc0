"""`hermeslink doctor`: what is wrong or unsafe, and the command that mends it. It changes nothing."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from hermeslink.cli.context import N_, Call, _, call_of, new_app

if TYPE_CHECKING:
    from hermeslink.settings import LinkSettings

doctor = new_app(N_("Find what is wrong or unsafe, and say how to mend it."))

FOREIGN = ("credentials.json", "app-connect-tokens.json", "conversations", "pairing")
"""Files of another program of this name. Here they are in link.db; they are left as they are."""


@dataclass(frozen=True, slots=True)
class Finding:
    """`is_wrong`: something does not work or is open to others; else it is good to know."""

    name: str
    text: str
    mend: str = ""
    is_wrong: bool = True


@doctor.command(help=N_("Find what is wrong or unsafe, and say how to mend it. Exit code 1 when something is."))
def _doctor(
    ctx: typer.Context, as_json: Annotated[bool, typer.Option("--json", help=N_("Write JSON."))] = False
) -> None:
    found = list(findings(call_of(ctx)))
    wrong = sum(finding.is_wrong for finding in found)
    if as_json:
        print(json.dumps({"ok": wrong == 0, "findings": [asdict(one) for one in found]}, ensure_ascii=False))
    else:
        for finding in found:
            kind = _("wrong") if finding.is_wrong else _("note")
            print(f"{kind}: {finding.text} [{finding.name}]")
            if finding.mend:
                print(f"  {finding.mend}")
        print(_("{count} to mend.").format(count=wrong) if wrong else _("Nothing is wrong."))
    if wrong:
        raise typer.Exit(1)


def findings(call: Call) -> Iterator[Finding]:
    from hermes.core.errors import ConfigError
    from hermeslink.settings import load_settings

    home = call.home()
    yield from (Finding("permissions", text) for text in home.too_open())
    yield from _foreign(call)
    try:
        settings = load_settings(home, call.environ)
    except ConfigError as error:
        yield Finding("settings", error.message, _("Mend what is named, or remove it: what is not set has its default"))
        return
    yield from _database(call)
    yield from _identity(call)
    yield from _process(call)
    yield from _network(call, settings)
    yield from _published(call, settings)
    yield from _api_server(call)
    yield from _program(call)


def _foreign(call: Call) -> Iterator[Finding]:
    there = [name for name in FOREIGN if (call.home().path / name).exists()]
    if there:
        text = _("{names} in {path} are not this program's, and are left as they are")
        yield Finding("foreign", text.format(names=", ".join(there), path=call.home().path), is_wrong=False)


def _database(call: Call) -> Iterator[Finding]:
    from hermes.core.errors import StoreUnavailable
    from hermeslink.cli.access import Access, with_access

    async def nothing(access: Access) -> None:
        return None

    if not call.home().database_file.exists():
        return
    try:
        with_access(call, nothing)
    except StoreUnavailable as error:
        yield Finding("database", error.message)


def _identity(call: Call) -> Iterator[Finding]:
    from hermes.core.clock import SystemClock
    from hermes.core.errors import Conflict
    from hermeslink.identity import IdentityFile

    file = call.home().identity_file
    if file.exists():
        try:
            IdentityFile(file, SystemClock()).get()
        except Conflict as error:
            yield Finding("identity", error.message, _("Look at it: {path}").format(path=file))


def _process(call: Call) -> Iterator[Finding]:
    from hermeslink.service import background, lock

    process = lock.running(call.home())
    if process is None:
        yield Finding("process", _("Link does not run"), "hermeslink start", is_wrong=False)
    elif process.url is None or not background.answers(process.url):
        text = _("Link runs (pid {pid}) and does not answer").format(pid=process.pid)
        yield Finding("process", text, "hermeslink logs; hermeslink restart")


def _network(call: Call, settings: LinkSettings) -> Iterator[Finding]:
    from hermeslink.system.network import Network, surroundings

    network = Network(settings)
    if not network.is_open:
        text = _("Link listens to this machine alone: no phone reaches it")
        yield Finding("network", text, "hermeslink config set listen-host 0.0.0.0", is_wrong=False)
        return
    place = surroundings()
    if place != "host" and settings.lan_host is None:
        text = _("Link runs in a container or in WSL, whose addresses other machines mostly do not see")
        yield Finding("network", text, "hermeslink config set lan-host ADDRESS", is_wrong=False)
    elif not network.routes():
        yield Finding("network", _("this machine has no network now: only programs on it reach Link"), is_wrong=False)


def _published(call: Call, settings: LinkSettings) -> Iterator[Finding]:
    from hermes.expose.exposure import ExposureFile
    from hermes.expose.state import state_of

    home = call.home()
    state = state_of(home.run_dir, settings.port or None, call.environ)
    found = state.exposure
    if found is not None:
        text = _("Link is open to everybody who has a device's token at {url}")
        if not found.via.is_public:
            text = _("Link is open to your tailnet at {url}")
        yield Finding("published", text.format(url=found.url), "hermeslink expose off", is_wrong=False)
    elif (file := ExposureFile(home.run_dir)).read() is not None and not file.is_held:
        text = _("a tunnel of hermeslink expose ended without notice")
        yield Finding("lost_tunnel", text, "hermeslink expose off", is_wrong=False)
    for mount in state.by_hand:
        if mount.is_raw:
            text = _("Tailscale passes bytes from port {slot} on unread: whoever sends them looks like this machine")
            yield Finding("raw_tunnel", text.format(slot=mount.slot), mount.closing)
        else:
            text = _("a command of Tailscale makes Link reachable at {url}")
            mend = mount.closing
            yield Finding("published", text.format(url=mount.url), mend, is_wrong=False)


def _api_server(call: Call) -> Iterator[Finding]:
    import asyncio

    from hermes.core.errors import HermesError
    from hermeslink.hermes.servers import ApiServers, ServerState
    from hermeslink.home import hermes_root

    async def states() -> dict[str, ServerState]:
        async with ApiServers(hermes_root(call.environ), environ=call.environ) as servers:
            return {name: await servers.of(name).state() for name in servers.profiles()}

    try:
        found = asyncio.run(states())
    except HermesError as error:
        yield Finding("api_server", error.message)
        return
    for name, state in found.items():
        if state.state != "online":
            text = _("the API server of profile {name} is {state}: {issue}")
            yield Finding(
                "api_server",
                text.format(name=name, state=state.state, issue=state.issue or ""),
                _starting(call, name) if state.state == "offline" else "",
                is_wrong=name == "default",
            )


def _starting(call: Call, profile: str) -> str:
    """The command that makes its API server answer. One without a listener of its own is reached under /p/NAME of the
    default profile's, and no more once a gateway of its own runs its jobs."""
    from hermes.home.profiles import get_profile
    from hermes.home.settings import load_settings
    from hermeslink.home import hermes_root

    home = get_profile(hermes_root(call.environ), profile)
    has_own = home.is_profile and load_settings(home, {}, is_lenient=True).api_server.enabled
    return f"{home.command} gateway start" if has_own else "hermes gateway start"


def _program(call: Call) -> Iterator[Finding]:
    """Which logs of the gateway are read with."""
    program = call.environ.get("HERMES_BIN", "").strip()
    if program and not os.access(program, os.X_OK) and os.sep in program:
        yield Finding("hermes", _("HERMES_BIN names {path}, which cannot be run").format(path=program))
