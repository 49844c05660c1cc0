"""By which addresses and names this machine can be called, best first. Asked of the machine anew every few seconds: a
laptop changes its network.

Left out are addresses that no other machine can reach: loopback, link-local, and the bridges of containers and virtual
machines. A VPN's come last: they work for who is in it.
"""

from __future__ import annotations

import ipaddress
import re
import socket
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from hermes.expose.published import PublicUrl
from hermeslink.settings import LinkSettings

LOOK_SECONDS = 10.0

_BRIDGE = re.compile(
    r"docker|br-|veth|virbr|vnet|vmnet|vboxnet|cni|flannel|cali|cilium|podman|lxc|lxd|kube|nodelocaldns|weave|dummy|"
    r"bridge\d|vethernet|.*hyper-v|.*virtualbox|.*vmware|.*wsl",
    re.IGNORECASE,
)
_VPN = re.compile(r"tun|tap|wg|utun|ppp|ipsec|tailscale|zt|nebula|warp|.*wireguard|.*vpn|.*tailscale", re.IGNORECASE)
_CARRIER = ipaddress.ip_network("100.64.0.0/10")
"""Of carriers' own networks, and of Tailscale."""

Address = ipaddress.IPv4Address | ipaddress.IPv6Address


@dataclass(frozen=True, slots=True)
class Interface:
    """One address of one network card."""

    name: str
    address: str


@dataclass(frozen=True, slots=True)
class Route:
    """`kind` as bootstrap tells it."""

    url: str
    kind: Literal["lan", "public"]


class Network:
    """`port` is the one that was really bound; who binds another than the settings say sets it."""

    def __init__(
        self,
        settings: LinkSettings,
        *,
        interfaces: Callable[[], Iterable[Interface]] | None = None,
        outgoing: Callable[[], str | None] | None = None,
        hostname: str | None = None,
        monotonic: Callable[[], float] = time.monotonic,
        published: Callable[[], Iterable[PublicUrl]] = tuple,
    ) -> None:
        self.port = settings.port
        self._settings = settings
        self._interfaces = interfaces or machine_interfaces
        self._outgoing = outgoing or outgoing_address
        self._hostname = hostname or socket.gethostname() or "localhost"
        self._monotonic = monotonic
        self._published = published
        self._seen: tuple[float, tuple[str, ...]] | None = None

    @property
    def display_name(self) -> str:
        """What devices show: the machine's name."""
        return self._hostname.partition(".")[0]

    @property
    def local_name(self) -> str:
        """Of mDNS: `name.local`."""
        label = re.sub(r"[^a-z0-9-]+", "-", self.display_name.lower()).strip("-")
        return f"{label or 'hermes'}.local"

    @property
    def announced_name(self) -> str:
        """The host that mDNS tells of beside the machine's own, which another program answers for."""
        return f"hermeslink-{self.local_name}"

    @property
    def is_open(self) -> bool:
        """Whether other machines can call it."""
        host = self._settings.listen_host
        return not (host == "localhost" or _is_loopback(host))

    @property
    def is_on_loopback(self) -> bool:
        """Whether it listens on 127.0.0.1, too, where tunnels end."""
        return self._settings.listen_host in ("0.0.0.0", "127.0.0.1", "localhost", "::")  # noqa: S104 compared with

    def lan_addresses(self) -> tuple[str, ...]:
        """What devices are told: `lan-host` alone where it is set; none when only this machine can call."""
        if self._settings.lan_host and self.is_open:
            return (self._settings.lan_host,)
        return self._own()

    def announced_addresses(self) -> tuple[str, ...]:
        """IPv4, as mDNS tells them; not `lan-host`, which is another machine's or a name."""
        return tuple(address for address in self._own() if _is_ipv4(address)) if self.is_open else ()

    def local_url(self) -> str:
        """From this machine. What listens on one address alone is called by that one."""
        host = self._settings.listen_host
        if host in ("0.0.0.0", "localhost"):  # noqa: S104 compared with
            host = "127.0.0.1"
        return self._url("::1" if host == "::" else host)

    def routes(self) -> tuple[Route, ...]:
        """What is published first: it works wherever the device is."""
        published = sorted(self._published(), key=lambda one: not one.is_public)
        return (
            *(Route(one.url, "public" if one.is_public else "lan") for one in published),
            *(Route(self._url(address), "lan") for address in self.lan_addresses()),
        )

    def preferred_urls(self) -> tuple[str, ...]:
        """What a device tries in turn; loopback last."""
        return tuple(dict.fromkeys([*(route.url for route in self.routes()), self.local_url()]))

    def host_names(self) -> frozenset[str]:
        """What the Host header may name, in lower case, without a port; IPv6 without brackets."""
        own = {"localhost", "127.0.0.1", "::1", self.local_name, self.announced_name}
        own |= {self.display_name.lower(), self._hostname.lower()}
        told = {self._settings.listen_host, self._settings.lan_host} - {None, "0.0.0.0", "::"}  # noqa: S104
        return frozenset({*own, *(str(one) for one in told), *self._own(), *self._settings.allowed_hosts})

    def _own(self) -> tuple[str, ...]:
        now = self._monotonic()
        if self._seen is None or now - self._seen[0] >= LOOK_SECONDS:
            self._seen = (now, self._found())
        return self._seen[1]

    def _found(self) -> tuple[str, ...]:
        host = self._settings.listen_host
        if not self.is_open:
            return ()
        if host not in ("0.0.0.0", "::"):  # noqa: S104 compared with
            return (host,)
        return reachable(self._interfaces(), self._outgoing(), has_ipv6=host == "::")

    def _url(self, host: str) -> str:
        return f"http://[{host}]:{self.port}" if ":" in host else f"http://{host}:{self.port}"


def reachable(interfaces: Iterable[Interface], outgoing: str | None, *, has_ipv6: bool) -> tuple[str, ...]:
    """Addresses that other machines may reach, best first: the one that leads out, then other networks at home, then a
    VPN's; IPv4 before IPv6."""
    ranked: list[tuple[tuple[bool, bool, bool, bool], str]] = []
    for one in interfaces:
        with suppress(ValueError):
            address = ipaddress.ip_address(one.address)
            if _is_use(address) and not _BRIDGE.match(one.name) and (has_ipv6 or address.version == 4):
                is_vpn = bool(_VPN.match(one.name)) or (address.version == 4 and address in _CARRIER)
                rank = (is_vpn, address.version == 6, one.address != outgoing, not address.is_private)
                ranked.append((rank, address.compressed))
    return tuple(dict.fromkeys(address for _, address in sorted(ranked, key=lambda each: each[0])))


def machine_interfaces() -> list[Interface]:
    import ifaddr

    found = []
    for adapter in ifaddr.get_adapters():
        for ip in adapter.ips:
            # on Windows `name` is a GUID, and what a person calls the card is its nice name
            found.append(Interface(ip.nice_name, ip.ip if isinstance(ip.ip, str) else ip.ip[0]))
    return found


def outgoing_address() -> str | None:
    """Of the card that leads to other networks. Nothing is sent: a datagram socket only chooses its way."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe, suppress(OSError):
        probe.connect(("192.0.2.1", 9))  # TEST-NET-1, never anybody's
        address: str = probe.getsockname()[0]
        return address
    return None


def surroundings(root: Path = Path("/")) -> Literal["host", "container", "wsl"]:
    """Of a container and of WSL other machines do not see the address: `lan-host` has to be set."""
    if any((root / name).exists() for name in (".dockerenv", "run/.containerenv")):
        return "container"
    with suppress(OSError):
        if "microsoft" in (root / "proc/version").read_text("utf-8", "replace").lower():
            return "wsl"
    with suppress(OSError):
        if re.search(r"docker|kubepods|containerd|lxc", (root / "proc/1/cgroup").read_text("utf-8", "replace")):
            return "container"
    return "host"


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _is_ipv4(host: str) -> bool:
    with suppress(ValueError):
        return ipaddress.ip_address(host).version == 4
    return False


def _is_use(address: Address) -> bool:
    return not (address.is_loopback or address.is_link_local or address.is_unspecified or address.is_multicast)
