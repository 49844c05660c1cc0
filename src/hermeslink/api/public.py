"""What anybody may ask: what this is, and whether one can pair with it."""

from __future__ import annotations

from fastapi import APIRouter

from hermeslink import __version__
from hermeslink.api.bodies import CamelAnswer

router = APIRouter(tags=["public"])


class Version(CamelAnswer):
    version: str


@router.get("/api/v1/system/version")
async def show_version() -> Version:
    """The version of Hermes Link."""
    return Version(version=__version__)
