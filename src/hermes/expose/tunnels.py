"""How each kind of tunnel is opened: its program is started, and then its public URL is waited for."""

from __future__ import annotations

import http.client
import json
import os
import re
import shlex
import shutil
import socket
import time
import urllib.parse
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from hermes.core.errors import Conflict, HermesError, InvalidInput
from hermes.core.hosts import normal_host
from hermes.core.redact import is_secret_name
from hermes.expose.exposure import Via
from hermes.expose.program import Program
from hermes.expose.tailscale import PORTS, Mount, NoTailscale, Tailscale, consent_link, refused

START_SECONDS = 45.0
CONSENT_SECONDS = 600.0
"""How long somebody may take who opens the link and reads it."""
LOOK_SECONDS = 0.3

_QUICK = re.compile(r"https://[a-z0-9][a-z0-9-]*\.trycloudflare\.com\b")
_URL = re.compile(r"https://[A-Za-z0-9.\-\[\]:]+(?=[\s\"'|,)>\x1b]|/?$|/[\s\"'|,)>\x1b])")

Say = Callable[[str], None]
"""Is told the link by which the owner of the tailnet allows it."""


@dataclass(frozen=True, slots=True)
class Wish:
    """What to publish. `until` in unix seconds; None without an end. `command`: of the kind `command`, with `{port}`
    in it; `url`: what it gives, where it does not print it. `may_wait`: somebody is there who can open a link."""

    via: Via
    port: int
    until: float | None = None
    is_background: bool = False
    command: str | None = None
    url: str | None = None
    may_wait: bool = True

    @property
    def is_kept_by_tool(self) -> bool:
        """Tailscale's own service goes on with it, over restarts of the machine."""
        return self.is_background and self.via.is_tailscale and self.until is None


@dataclass(frozen=True, slots=True)
class Opened:
    url: str
    program: Program | None = None
    slot: int | None = None


class ByHand(Conflict):
    """Somebody else published the same server already: it works, and is not ours."""

    code = "expose_by_hand"

    def __init__(self, mount: Mount) -> None:
        self.mount = mount
        super().__init__(
            f"it is published already, at {mount.url}, by a command of Tailscale: that works, and is left as it is; "
            f"it is taken away with: {mount.closing}"
        )


def open_tunnel(wish: Wish, environ: Mapping[str, str], *, lock: int | None, say: Say) -> Opened:
    """Raises InvalidInput, Conflict or HermesError, with nothing left behind."""
    if wish.via.is_tailscale:
        return _tailscale(wish, Tailscale(environ), lock, say)
    if wish.via is Via.CLOUDFLARED:
        return _cloudflared(wish, environ, lock)
    return _command(wish, environ, lock)


def _tailscale(wish: Wish, tailscale: Tailscale, lock: int | None, say: Say) -> Opened:
    tailscale.own_name()
    verb = "funnel" if wish.via is Via.TAILSCALE else "serve"
    tried: set[int] = set()
    while True:
        serving = tailscale.serving()
        there = [mount for mount in serving.of(wish.port) if not mount.is_raw and mount.is_public >= (verb == "funnel")]
        if there:
            raise ByHand(there[0])
        slot = serving.free_slot(frozenset(tried))
        if slot is None:
            raise Conflict(
                f"Tailscale serves something else at each of {', '.join(map(str, PORTS))}, and takes no other port; "
                "see what with: tailscale serve status",
                code="expose_port_taken",
            )
        tried.add(slot)
        arguments = tailscale.arguments(verb, slot, wish.port, is_background=wish.is_kept_by_tool)
        program = Program(arguments, tailscale.environ, lock=None if wish.is_kept_by_tool else lock)
        try:
            mount = _served(wish, tailscale, program, slot, say)
        except BaseException as error:
            program.end()
            if isinstance(error, Conflict) and error.code == "expose_port_taken":
                continue  # somebody was faster
            raise
        if wish.is_kept_by_tool:
            program.end()
        return Opened(mount.url, None if wish.is_kept_by_tool else program, slot)


def _served(wish: Wish, tailscale: Tailscale, program: Program, slot: int, say: Say) -> Mount:
    """What the status says is served there, once it does."""
    link: str | None = None
    ends_at = time.monotonic() + START_SECONDS
    while time.monotonic() < ends_at:
        for line in [program.line(LOOK_SECONDS) or "", *program.lines()]:
            found = consent_link(line)
            if found and link is None:
                link, ends_at = found, time.monotonic() + CONSENT_SECONDS
                if not wish.may_wait:
                    raise _no_consent(link)
                say(link)
        code = program.exit_code
        for mount in tailscale.serving().of(wish.port):
            if mount.slot == slot and mount.is_public >= (wish.via is Via.TAILSCALE):
                return mount
        if code is not None:
            link = next(filter(None, map(consent_link, program.said().splitlines())), link)
            raise _no_consent(link) if link is not None else refused(program.said())
    raise _no_consent(link) if link else _too_slow("tailscale", program)


def _no_consent(link: str) -> NoTailscale:
    return NoTailscale(
        f"Funnel is not allowed in this tailnet yet; allow it at {link} and try again", code="expose_consent_required"
    )


def _cloudflared(wish: Wish, environ: Mapping[str, str], lock: int | None) -> Opened:
    """A quick tunnel: no account, another name each time. A configuration that is there is for named tunnels, with
    which there is no quick one: it is given an empty file. It tells its name at /quicktunnel of its metrics (since
    2022) and in its log, and at /ready whether it is connected."""
    path = shutil.which("cloudflared", path=environ.get("PATH", os.defpath))
    if path is None:
        raise NoTailscale(
            "cloudflared is not installed: get it from "
            "https://developers.cloudflare.com/cloudflare-one/connections/connect-networks/downloads/"
        )
    metrics = _free_port()
    given = ["--config", os.devnull, "--no-autoupdate", "--metrics", f"127.0.0.1:{metrics}"]
    arguments = [path, "tunnel", *given, "--url", f"http://127.0.0.1:{wish.port}"]
    program = Program(arguments, _without_secrets(environ), lock=lock)
    try:
        return Opened(_quick_url(program, metrics), program)
    except BaseException:
        program.end()
        raise


def _quick_url(program: Program, metrics: int) -> str:
    url: str | None = None
    ends_at = time.monotonic() + START_SECONDS
    while time.monotonic() < ends_at:
        for line in [program.line(LOOK_SECONDS) or "", *program.lines()]:
            found = _QUICK.search(line)
            url = url or (found[0] if found else None)
        if program.exit_code is not None:
            raise _gave_up("cloudflared", program)
        name = _asked(metrics, "/quicktunnel").get("hostname")
        url = f"https://{name}" if isinstance(name, str) and name else url
        if url is not None and _is_ready(_asked(metrics, "/ready"), program):
            return url
    raise _too_slow("cloudflared", program)


def _is_ready(told: Mapping[str, Any], program: Program) -> bool:
    connections = told.get("readyConnections")
    return connections > 0 if isinstance(connections, int) else "Registered tunnel connection" in program.said()


def _command(wish: Wish, environ: Mapping[str, str], lock: int | None) -> Opened:
    if not wish.command:
        raise InvalidInput(
            "--via command needs the command: --command 'ngrok http {port} --log stdout'", param="command"
        )
    try:
        words = shlex.split(wish.command)
    except ValueError as error:
        raise InvalidInput(f"the command cannot be read: {error}", param="command") from None
    local = f"http://127.0.0.1:{wish.port}"
    arguments = [word.replace("{port}", str(wish.port)).replace("{url}", local) for word in words]
    path = shutil.which(arguments[0], path=environ.get("PATH", os.defpath)) if arguments else None
    if path is None:
        raise NoTailscale(f"there is no program {(arguments or [''])[0]!r}")
    url = _checked(wish.url) if wish.url else None
    program = Program([path, *arguments[1:]], _without_secrets(environ), lock=lock)
    try:
        return Opened(_printed_url(program, url), program)
    except BaseException:
        program.end()
        raise


def _printed_url(program: Program, given: str | None) -> str:
    """The first that is an address alone: links to manuals have a path."""
    ends_at = time.monotonic() + (1.0 if given else START_SECONDS)
    while time.monotonic() < ends_at:
        line = program.line(LOOK_SECONDS) or ""
        for found in [] if given else _URL.findall(line):
            with suppress(InvalidInput):
                return _checked(found.rstrip(".:"))
        if program.exit_code is not None:
            raise _gave_up("the command", program)
    if given:
        return given
    program.end()
    raise HermesError(
        f"the command printed no https:// address within {START_SECONDS:g} s; if it has one, name it with --url. "
        f"It said: {program.said() or 'nothing'}",
        code="expose_failed",
    )


def _checked(url: str) -> str:
    """Raises InvalidInput."""
    address = url.strip().rstrip("/")
    with suppress(ValueError):
        parts = urllib.parse.urlsplit(address)
        if (
            parts.hostname
            and normal_host(parts.netloc) is not None
            and all(0 < len(label) < 64 for label in parts.hostname.split("."))
            and parts.port != 0
            and address.lower() == f"https://{parts.netloc.lower()}"
            and ("@" not in parts.netloc)
        ):
            return address
    raise InvalidInput(f"{url!r} is no address: write https://name.example", param="url")


def _asked(port: int, path: str) -> dict[str, Any]:
    """What the program tells on loopback, empty where it tells nothing yet."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=2.0)
    try:
        connection.request("GET", path)
        told = json.loads(connection.getresponse().read(10_000))
        return told if isinstance(told, dict) else {}
    except (OSError, ValueError, http.client.HTTPException):
        return {}
    finally:
        connection.close()


def _gave_up(name: str, program: Program) -> HermesError:
    return HermesError(
        f"{name} ended (exit code {program.exit_code}). It said:\n{program.said() or 'nothing'}", code="expose_failed"
    )


def _too_slow(name: str, program: Program) -> HermesError:
    return HermesError(
        f"{name} gave no address within {START_SECONDS:g} s. It said:\n{program.said() or 'nothing'}",
        code="expose_failed",
    )


def _without_secrets(environ: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in environ.items() if not is_secret_name(name)}


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
