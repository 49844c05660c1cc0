"""The Host header must name this server; a page that rebinds its own name to us does not (spec: security, DNS
rebinding).
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Awaitable, Callable, Collection, Iterable, Sequence

from hermes.core.errors import HostNotAllowed, InvalidInput

API_SERVER = "API_SERVER_ALLOWED_HOSTS (config.yaml: api_server.allowed_hosts)"

LOOPBACK_NAMES = frozenset({"localhost", "127.0.0.1", "::1"})

_HOST = re.compile(r"(?:\[(?P<v6>[0-9A-Fa-f:.]{2,45})\]|(?P<name>[A-Za-z0-9._-]{1,253}))(?::(?P<port>[0-9]{1,5}))?\Z")


class AllowedHosts:
    """The names a server answers to. What is published later (a tunnel, a ts.net name) is added while it runs.

    `setting` is where the owner adds one, as whoever is refused is told. `also` gives names that change while it runs,
    in their normal form, and is asked only about a name that is not known else. `learn` is asked last, with the name
    and the port of the connection's own end: it may take its time, and says whether `also` has the name now.
    """

    def __init__(
        self,
        bound: str = "127.0.0.1",
        allowed: Iterable[str] = (),
        *,
        setting: str = API_SERVER,
        also: Callable[[], Collection[str]] = tuple,
        learn: Callable[[str, int], Awaitable[bool]] | None = None,
    ) -> None:
        self._names = set(LOOPBACK_NAMES)
        self._setting = setting
        self._also = also
        self.learn = learn
        for name in (bound, *allowed):
            self.add(name)

    def add(self, name: str) -> None:
        """`name` or `name:port`. The address for "every interface" is no name, and is not taken as one."""
        host = normal_host(name)
        if host is not None and not _is_unspecified(host):
            self._names.add(host)

    def remove(self, name: str) -> None:
        host = normal_host(name)
        if host is not None and host not in LOOPBACK_NAMES:
            self._names.discard(host)

    async def admit(self, headers: Iterable[tuple[bytes, bytes]], server: Sequence[object] | None) -> str:
        """As `check`, and a name that is not known may be learned first."""
        try:
            return self.check(headers, server)
        except HostNotAllowed as refusal:
            port = server[1] if server is not None and len(server) > 1 else None
            if self.learn is None or not isinstance(port, int) or not await self.learn(refusal.host, port):
                raise
        return self.check(headers, server)

    def check(self, headers: Iterable[tuple[bytes, bytes]], server: Sequence[object] | None) -> str:
        """The Host as it was sent. `server` is the connection's own end: its address is always a name of ours.

        Raises InvalidInput `invalid_host` when there is not exactly one well-formed Host, else HostNotAllowed.
        """
        sent = [value for name, value in headers if name == b"host"]
        if len(sent) != 1:
            raise InvalidInput("the request must have exactly one Host header", code="invalid_host")
        text = sent[0].decode("latin-1")
        host = normal_host(text)
        if host is None:
            raise InvalidInput("the Host header cannot be read", code="invalid_host")
        is_known = host in self._names or bool(server and host == normal_host(str(server[0])) != "0.0.0.0")  # noqa: S104
        if not is_known and host not in self._also():
            raise HostNotAllowed(
                f"this server does not answer to the name {host!r}; if it should, add the name to {self._setting}",
                host=host,
            )
        return text


def is_loopback_name(host: str) -> bool:
    """Whether a Host is one that nobody uses for another machine. A tunnel's or proxy's end is on loopback, too, and
    some of them say so in no header: the name that was asked for tells.
    """
    name = normal_host(host)
    if name is None or name in LOOPBACK_NAMES:
        return name is not None
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


def normal_host(text: str) -> str | None:
    """The host alone, in lower case, IPv6 in its short form; None when it is not well-formed. A final dot stays."""
    if text.count(":") > 1 and not text.startswith("["):
        text = f"[{text}]"  # a bare IPv6 address, as settings and sockets write it
        if "]:" in text:
            return None
    match = _HOST.match(text)
    if match is None or (match["port"] and int(match["port"]) > 65535):
        return None
    if match["v6"]:
        try:
            return str(ipaddress.IPv6Address(match["v6"]))
        except ValueError:
            return None
    return str(match["name"]).lower()


def _is_unspecified(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_unspecified
    except ValueError:
        return False
