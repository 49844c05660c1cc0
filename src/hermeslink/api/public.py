"""What anybody may ask: what this is, and whether one can pair with it."""

from __future__ import annotations

from typing import Literal

from fastapi import APIRouter
from pydantic import BaseModel

from hermeslink import __version__
from hermeslink.api.bodies import CamelAnswer
from hermeslink.api.dependencies import MaybeCaller, TheLink, ThePeer

router = APIRouter(tags=["public"])

CAPABILITIES: dict[str, bool] = {
    "pairing": True,
    "devices": True,
    "scopes": True,
    "conversations": True,
    "conversation_events": True,
    "conversation_search": True,
    "archive": True,
    "attachments": True,
    "approvals": True,
    "cancel": True,
    "statistics": True,
    "models": True,
    "runs": True,
    "cron_jobs": True,
    "audit": True,
    "logs": True,
    "model_configs": True,
    "profile_management": True,
    "skills": True,
    "memory": True,
    "permissions": True,
    "tool_configs": True,
    "updates": True,
    "autostart": True,
    "expose": True,
}
"""What a client may offer."""


class LinkRoute(BaseModel):
    url: str
    kind: Literal["lan", "public"]


class Bootstrap(BaseModel):
    """`link_id` is null before somebody paired. The lists are empty for who is not at this machine and has no token."""

    link_id: str | None
    display_name: str
    version: str
    api_version: Literal[1]
    paired: bool
    pairing_supported: bool
    preferred_pairing_urls: list[str]
    routes: list[LinkRoute]
    capabilities: dict[str, bool]


class Version(CamelAnswer):
    version: str


@router.get("/api/v1/bootstrap")
async def show_bootstrap(link: TheLink, peer: ThePeer, caller: MaybeCaller) -> Bootstrap:
    """What this is, and whether one can pair with it: what an app asks first."""
    is_told = peer.is_local or caller is not None
    routes = [LinkRoute(url=route.url, kind=route.kind) for route in link.network.routes()]
    return Bootstrap(
        link_id=link.identity.link_id,
        display_name=link.network.display_name,
        version=__version__,
        api_version=1,
        paired=await link.devices.is_any_active(),
        pairing_supported=True,
        preferred_pairing_urls=list(link.network.preferred_urls()) if is_told else [],
        routes=routes if is_told else [],
        capabilities=CAPABILITIES,
    )


@router.get("/api/v1/system/version")
async def show_version() -> Version:
    """The version of Hermes Link."""
    return Version(version=__version__)
