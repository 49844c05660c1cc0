"""Tailscale Funnel and Serve: what is served now, and how to add to it without touching what others made.

Facts: `tailscale {serve,funnel} status --json` prints the ServeConfig of ipn/serve.go (1.52 to 1.90): TCP by port, Web
and AllowFunnel by "host:port", Foreground with one such object for each command that runs, Services of their own. All
of them are left out when empty, and nothing at all is `null` or `{}`. `… --https=PORT --set-path=/ off` takes one
handler away; without --set-path it takes all of that port. A command without --bg serves for as long as it lives.
Where Funnel is not allowed it prints a link to consent, and waits or ends with 0.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from hermes.core.errors import Conflict, HermesError
from hermes.core.redact import is_secret_name

PORTS = (443, 8443, 10000)
"""The only ones that Funnel takes."""
ASK_SECONDS = 5.0
_PLACES = ("/Applications/Tailscale.app/Contents/MacOS/Tailscale", r"C:\Program Files\Tailscale\tailscale.exe")
_PROXY = re.compile(r"(?:https?(?:\+insecure)?://|tcp://)?(?:(?:localhost|127\.0\.0\.1|\[::1\]):)?(\d{1,5})(?:/.*)?")
_CONSENT = re.compile(r"https://[a-z0-9.-]*tailscale\.com/\S+")


@dataclass(frozen=True, slots=True)
class Mount:
    """One thing that Tailscale serves at `host:slot`. `port`: of the server on this machine, None for files and text
    and servers elsewhere. `is_raw`: bytes are passed on, so that no header tells of the client."""

    host: str
    slot: int
    path: str
    port: int | None
    is_public: bool
    is_tls: bool = True
    is_raw: bool = False

    @property
    def url(self) -> str:
        usual = 443 if self.is_tls else 80
        where = self.host if self.slot == usual else f"{self.host}:{self.slot}"
        return f"{'https' if self.is_tls else 'http'}://{where}{self.path.rstrip('/')}"

    @property
    def closing(self) -> str:
        """The command that takes it away."""
        kind = "tcp" if self.is_raw else "https" if self.is_tls else "http"
        return f"tailscale {'funnel' if self.is_public else 'serve'} --{kind}={self.slot} off"


@dataclass(frozen=True, slots=True)
class Serving:
    """All of a ServeConfig that matters here. `slots`: the ports in use."""

    mounts: tuple[Mount, ...] = ()
    slots: frozenset[int] = frozenset()

    def of(self, port: int) -> list[Mount]:
        """What leads to the server on `port`, with its whole site."""
        return [mount for mount in self.mounts if mount.port == port and mount.path == "/"]

    def free_slot(self, but: frozenset[int] = frozenset()) -> int | None:
        return next((slot for slot in PORTS if slot not in self.slots | but), None)


class NoTailscale(Conflict):
    """`message` says what is missing, and what to type."""

    code = "expose_tool_missing"


class Tailscale:
    """The command line of this machine's Tailscale. All of it blocks."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = {name: value for name, value in environ.items() if not is_secret_name(name)}

    @property
    def environ(self) -> dict[str, str]:
        return self._environ

    def program(self) -> str | None:
        found = shutil.which("tailscale", path=self._environ.get("PATH", os.defpath))
        return found or next((place for place in _PLACES if os.access(place, os.X_OK)), None)

    def needed(self) -> str:
        """Raises NoTailscale."""
        found = self.program()
        if found is None:
            raise NoTailscale(
                "tailscale is not installed: get it from https://tailscale.com/download and log in with: "
                "sudo tailscale up. Without Tailscale: --via cloudflared"
            )
        return found

    def own_name(self) -> str:
        """This machine's name in its tailnet. Raises NoTailscale where it has none now."""
        status = self._json("status", "--json", "--peers=false")
        state = str(status.get("BackendState", ""))
        if state == "NeedsLogin":
            raise NoTailscale("tailscale is logged out; log in with: sudo tailscale up", code="expose_not_logged_in")
        if state not in ("Running", "Starting"):
            raise NoTailscale("tailscale is off; switch it on with: sudo tailscale up", code="expose_not_logged_in")
        name = str(_object(status.get("Self")).get("DNSName", "")).rstrip(".").lower()
        if not name:
            raise NoTailscale(
                "this machine has no name in its tailnet: switch MagicDNS on at https://login.tailscale.com/admin/dns",
                code="expose_not_logged_in",
            )
        return name

    def serving(self) -> Serving:
        """Of both, serve and funnel: they share one configuration."""
        return read_serving(self._json("serve", "status", "--json"))

    def arguments(self, verb: str, slot: int, port: int, *, is_background: bool) -> list[str]:
        background = ["--bg"] if is_background else []
        return [self.needed(), verb, *background, "--yes", f"--https={slot}", f"http://127.0.0.1:{port}"]

    def take_away(self, verb: str, slot: int) -> None:
        """The handler of the whole site at this port, and no other. Raises HermesError."""
        done = self._run(verb, f"--https={slot}", "--set-path=/", "off")
        if done.returncode:
            raise refused(done.stderr or done.stdout)

    def _json(self, *arguments: str) -> dict[str, Any]:
        """Raises NoTailscale where there is none, or its service does not run."""
        done = self._run(*arguments)
        try:
            if done.returncode and not done.stdout.strip():
                raise refused(done.stderr)
            return _object(json.loads(done.stdout or "{}"))
        except ValueError:
            raise refused(done.stderr or done.stdout) from None

    def _run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        try:
            return subprocess.run(
                [self.needed(), *arguments],
                env=self._environ,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                errors="replace",
                timeout=ASK_SECONDS,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise NoTailscale(f"tailscale {arguments[0]} gave no answer in {ASK_SECONDS:g} s") from None
        except OSError as error:
            raise NoTailscale(f"tailscale cannot be run: {error.strerror or error}") from error


def read_serving(config: object) -> Serving:
    """Of a ServeConfig, however little of it is there."""
    whole = _object(config)
    parts = [whole, *(_object(one) for one in _object(whole.get("Foreground")).values())]
    allowed = {place for part in parts for place, is_on in _object(part.get("AllowFunnel")).items() if is_on is True}
    mounts = [mount for part in parts for mount in _mounts(part, allowed)]
    services = [mount for one in _object(whole.get("Services")).values() for mount in _mounts(_object(one), set())]
    slots = {int(slot) for part in parts for slot in _object(part.get("TCP")) if str(slot).isdigit()}
    slots |= {mount.slot for mount in mounts} | {slot for slot in map(_slot, allowed) if slot}
    return Serving(tuple(dict.fromkeys([*mounts, *services])), frozenset(slots))


def refused(said: str) -> HermesError:
    """What the tool said, with the way out where it is known."""
    text = " ".join(said.split())[:400]
    low = text.lower()
    if "logged out" in low or "needslogin" in low or "needs login" in low:
        return NoTailscale("tailscale is logged out; log in with: sudo tailscale up", code="expose_not_logged_in")
    if "tailscale is stopped" in low:
        return NoTailscale("tailscale is off; switch it on with: sudo tailscale up", code="expose_not_logged_in")
    if "connect to local tailscale" in low or "is tailscaled running" in low or "is tailscale running" in low:
        return NoTailscale("the service of Tailscale does not run; start it with: sudo systemctl start tailscaled")
    if "access denied" in low or "permission denied" in low:
        return NoTailscale(
            "tailscale lets only root change what it serves; let yourself, too, with: "
            "sudo tailscale set --operator=$USER",
            code="expose_not_allowed",
        )
    if "already" in low and ("serv" in low or "exists" in low):
        return Conflict(f"tailscale: {text}", code="expose_port_taken")
    if "not available" in low or "not allowed for funnel" in low:
        return NoTailscale(
            f"this tailnet does not allow Funnel: {text}. Allow it at https://login.tailscale.com/admin/acls "
            "(nodeAttrs: funnel), or share within the tailnet with: --via tailscale-serve",
            code="expose_not_allowed",
        )
    return HermesError(f"tailscale refused: {text or 'it said nothing'}", code="expose_failed")


def consent_link(line: str) -> str | None:
    """Where the owner of the tailnet allows it, from what the tool prints while it waits."""
    found = _CONSENT.search(line)
    return found[0] if found and "/kb/" not in found[0] and "/docs/" not in found[0] else None


def _mounts(config: Mapping[str, Any], allowed: set[str]) -> Iterator[Mount]:
    tcp = _object(config.get("TCP"))
    for place, server in _object(config.get("Web")).items():
        host, slot = place.rpartition(":")[0].lower(), _slot(place)
        is_tls = _object(tcp.get(str(slot))).get("HTTP") is not True
        for path, handler in _object(_object(server).get("Handlers")).items():
            if slot:
                yield Mount(host, slot, path, _port(_object(handler).get("Proxy")), place in allowed, is_tls)
    for number, handler in tcp.items():
        forward = _object(handler).get("TCPForward")
        if forward and str(number).isdigit():
            slot = int(number)
            host = str(_object(handler).get("TerminateTLS") or "").lower()
            is_public = any(_slot(place) == slot for place in allowed)
            yield Mount(host, slot, "/", _port(forward), is_public, is_raw=True)


def _slot(place: str) -> int | None:
    number = place.rpartition(":")[2]
    return int(number) if number.isdigit() else None


def _port(target: object) -> int | None:
    found = _PROXY.fullmatch(target) if isinstance(target, str) else None
    return int(found[1]) if found else None


def _object(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}
