"""The machine that Link runs on: what starts with it, and where it is reached (spec: link-api, Updates, system)."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Literal

from fastapi import APIRouter

from hermes.home.autostart.entry import Kind
from hermeslink import __version__
from hermeslink.api.bodies import Body, CamelAnswer, CamelView
from hermeslink.api.dependencies import TheCaller, TheLink
from hermeslink.core.caller import Caller
from hermeslink.store import audit
from hermeslink.system.autostart import SERVICES, Service
from hermeslink.system.installation import install_id
from hermeslink.system.network import surroundings

if TYPE_CHECKING:
    from hermeslink.app import Link

router = APIRouter(prefix="/api/v1/system", tags=["system"])


class AutostartView(CamelView):
    """`enabled`: of Link. `method`: how it is, or would be; null where this machine has no way. `services`: the gateway
    is missing where there is no home of an agent."""

    supported: bool
    enabled: bool
    method: Kind | None
    services: dict[Service, bool]


class EnvironmentView(CamelView):
    """`warning`: what other machines do not see of it, with the way out."""

    kind: Literal["host", "container", "wsl"]
    warning: str | None


class NetworkReport(CamelView):
    lan_ips: list[str]
    public_urls: list[str]


class SystemStatus(CamelAnswer):
    version: str
    link_id: str | None
    install_id: str
    port: int
    autostart: AutostartView
    environment: EnvironmentView
    network_report: NetworkReport
    update_available: bool | None


class AutostartAnswer(CamelAnswer):
    """`note`: what is left to do, for a person."""

    autostart: AutostartView
    note: str | None


class Switching(Body):
    services: tuple[Service, ...] = SERVICES


@router.get("/status")
async def show_system(link: TheLink) -> SystemStatus:
    """Where Link is, and what there is to know about the place."""
    kind = await asyncio.to_thread(surroundings)
    routes = link.network.routes()
    return SystemStatus(
        version=__version__,
        link_id=link.identity.link_id,
        install_id=await asyncio.to_thread(install_id, link.home),
        port=link.network.port,
        autostart=await _autostart(link),
        environment=EnvironmentView(kind=kind, warning=_warning(kind, link)),
        network_report=NetworkReport(
            lan_ips=list(link.network.lan_addresses()),
            public_urls=[route.url for route in routes if route.kind == "public"],
        ),
        update_available=link.updates.known().update_available,
    )


@router.post("/autostart/enable")
async def enable_autostart(link: TheLink, caller: TheCaller, switching: Switching | None = None) -> AutostartAnswer:
    """Has Link and the gateway started with the machine. Nothing is started now."""
    services = (switching or Switching()).services
    enabled = await asyncio.to_thread(link.autostart.enable, services)
    await _write_down(link, caller, "autostart.enabled", services)
    note = None
    if any(entry.why for entry in enabled.values()):
        note = "systemd of this user does not answer here; it counts from the next login on"
    elif any(entry.needs_linger for entry in enabled.values()):
        note = "it runs while this user is logged in; at all times after: loginctl enable-linger"
    return AutostartAnswer(autostart=await _autostart(link), note=note)


@router.post("/autostart/disable")
async def disable_autostart(link: TheLink, caller: TheCaller, switching: Switching | None = None) -> AutostartAnswer:
    """Has them started with the machine no more. What runs goes on."""
    services = (switching or Switching()).services
    await asyncio.to_thread(link.autostart.disable, services)
    await _write_down(link, caller, "autostart.disabled", services)
    return AutostartAnswer(autostart=await _autostart(link), note=None)


async def _write_down(link: Link, caller: Caller, action: str, services: Sequence[Service]) -> None:
    entry = partial(
        audit.write, device_id=caller.device_id, address=caller.address, details={"services": list(services)}
    )
    await link.database.write(entry, action, link.clock.now(), durable=True)


async def _autostart(link: Link) -> AutostartView:
    states = await asyncio.to_thread(link.autostart.state)
    own = states["link"]
    return AutostartView(
        supported=own.is_supported,
        enabled=own.is_enabled,
        method=own.kind,
        services={name: state.is_enabled for name, state in states.items()},
    )


def _warning(kind: Literal["host", "container", "wsl"], link: Link) -> str | None:
    if kind == "host" or link.settings.lan_host or not link.network.is_open:
        return None
    place = {"container": "a container", "wsl": "WSL"}[kind]
    return (
        f"this is {place}, whose address other machines do not see; tell them the machine's with: hermeslink config "
        "set lan-host ADDRESS"
    )
