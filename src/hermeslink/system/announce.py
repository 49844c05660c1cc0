"""Link announces itself on the local network (mDNS), so that an app finds it without an address being typed in.

The service is `_hermeslink._tcp.local.`; it tells the link_id, the name, and the version of the interface: what
bootstrap tells anybody. Its host name is one of its own, so that it contradicts no other responder on this machine.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable
from typing import TYPE_CHECKING

from hermes.core.clock import Clock
from hermeslink.system.network import Network

if TYPE_CHECKING:
    from zeroconf import ServiceInfo
    from zeroconf.asyncio import AsyncZeroconf

log = logging.getLogger(__name__)

SERVICE = "_hermeslink._tcp.local."
LOOK_SECONDS = 30.0
"""How soon a change of the network is announced."""


LinkId = Callable[[], str | None]
"""None while there is no identity."""


async def announce(network: Network, link_id: LinkId, clock: Clock) -> None:
    """Until it is cancelled; then it says good-bye. A network that takes no multicast is told once in the log."""
    if not network.is_open:
        return
    from zeroconf import Error

    is_told = False
    while True:
        try:
            if network.announced_addresses():
                await _announce(network, link_id, clock)
        except (OSError, Error) as error:
            if not is_told:
                is_told = True
                log.warning("this network takes no announcement: apps have to be told the address (%r)", error)
        await clock.sleep(LOOK_SECONDS)


async def _announce(network: Network, link_id: LinkId, clock: Clock) -> None:
    """Until the addresses or the identity change."""
    from zeroconf import IPVersion
    from zeroconf.asyncio import AsyncZeroconf

    addresses, own_id = network.announced_addresses(), link_id()
    for address in addresses:
        _check(address)
    responder = AsyncZeroconf(interfaces=list(addresses), ip_version=IPVersion.V4Only)
    try:
        await (await responder.async_register_service(service_info(network, own_id), allow_name_change=True))
        while (network.announced_addresses(), link_id()) == (addresses, own_id):
            await clock.sleep(LOOK_SECONDS)
    finally:
        await asyncio.shield(_good_bye(responder))


def _check(address: str) -> None:
    """Raises OSError where it is not this machine's any more: zeroconf would leave a socket open."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind((address, 0))


async def _good_bye(responder: AsyncZeroconf) -> None:
    await responder.async_unregister_all_services()
    await responder.async_close()


def service_info(network: Network, link_id: str | None) -> ServiceInfo:
    from zeroconf import ServiceInfo

    label = network.display_name.encode()[:60].decode("utf-8", "ignore").replace(".", "-")  # of DNS: 63 bytes
    told = {"name": label, "api": "1", "path": "/api/v1"}
    return ServiceInfo(
        SERVICE,
        f"{label}.{SERVICE}",
        port=network.port,
        addresses=[socket.inet_aton(address) for address in network.announced_addresses()],
        server=f"{network.announced_name}.",
        properties=told if link_id is None else {**told, "link_id": link_id},
    )
