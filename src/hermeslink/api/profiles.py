"""The profiles that there are."""

from __future__ import annotations

import asyncio

from fastapi import APIRouter

from hermeslink.api.bodies import CamelAnswer
from hermeslink.api.dependencies import TheLink

router = APIRouter(prefix="/api/v1", tags=["profiles"])


class Profiles(CamelAnswer):
    profiles: list[str]


@router.get("/profiles")
async def list_profiles(link: TheLink) -> Profiles:
    """Their names, the default one first."""
    return Profiles(profiles=await asyncio.to_thread(link.servers.profiles))
