"""How it all is at this moment: Link, the gateway, its API, and who has a device here."""

from __future__ import annotations

import asyncio
from typing import Literal

from fastapi import APIRouter
from pydantic import BaseModel

from hermes import __version__ as hermes_version
from hermes.home.locks import running_gateway
from hermes.home.paths import Home
from hermeslink import __version__
from hermeslink.api.bodies import Answer
from hermeslink.api.dependencies import TheCaller, TheLink

router = APIRouter(prefix="/api/v1", tags=["status"])


class LinkStatus(BaseModel):
    """`update_available` is null as long as the package index never answered."""

    state: Literal["running", "stopping"]
    version: str
    update_available: bool | None = None


class HermesStatus(BaseModel):
    local_version: str
    update_available: bool | None = None


class GatewayStatus(BaseModel):
    """The process of this machine that holds the default profile. `issue`: what is wrong, or waits for a restart, and
    how to mend it."""

    state: Literal["running", "starting", "jobs_only", "stopped"]
    issue: str | None = None


class ApiServerStatus(BaseModel):
    state: Literal["online", "offline", "unauthorized"]
    issue: str | None = None


class DeviceCounts(BaseModel):
    total: int
    active: int
    revoked: int
    trusted: int


class ProfileCount(BaseModel):
    total: int


class Status(Answer):
    version: str
    paired: bool
    link_id: str | None
    port: int
    link: LinkStatus
    hermes: HermesStatus
    gateway: GatewayStatus
    api_server: ApiServerStatus
    devices: DeviceCounts
    profiles: ProfileCount


@router.get("/status")
async def show_status(link: TheLink, caller: TheCaller) -> Status:
    """What is up and what is not, with the mend. A device of scope chat counts itself alone."""
    server, gateway, profiles, devices = await asyncio.gather(
        link.servers.of().state(),
        asyncio.to_thread(_gateway, Home(link.hermes_root)),
        asyncio.to_thread(link.servers.profiles),
        link.devices.all(caller),
    )
    if gateway.issue is None and caller.is_admin:
        gateway.issue = server.settings
    counted, newer = link.devices.summary(devices), link.updates.known().update_available
    state: Literal["running", "stopping"] = "stopping" if link.stopping.is_set() else "running"
    return Status(
        version=__version__,
        paired=counted.active > 0,
        link_id=link.identity.link_id,
        port=link.settings.port,
        link=LinkStatus(state=state, version=__version__, update_available=newer),
        hermes=HermesStatus(local_version=hermes_version, update_available=newer),
        gateway=gateway,
        api_server=ApiServerStatus(state=server.state, issue=server.issue),
        devices=DeviceCounts(
            total=counted.total, active=counted.active, revoked=counted.revoked, trusted=counted.trusted
        ),
        profiles=ProfileCount(total=len(profiles)),
    )


def _gateway(home: Home) -> GatewayStatus:
    running = running_gateway(home.pid_file)
    if running is None:
        return GatewayStatus(state="stopped", issue="the gateway does not run; start it with: hermes gateway")
    if not running.is_ready:
        return GatewayStatus(state="starting")
    if running.url is None:
        issue = "the gateway runs jobs only; switch its API on with: hermes config set API_SERVER_ENABLED true"
        return GatewayStatus(state="jobs_only", issue=issue)
    return GatewayStatus(state="running")
