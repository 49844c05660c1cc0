"""The profiles that there are: what they are called, and what they are."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any, Literal

from fastapi import APIRouter
from pydantic import Field, WithJsonSchema
from starlette.responses import Response

from hermes.home.about import AVATAR_TYPES, MAX_PICTURE
from hermeslink.api.bodies import Body, CamelAnswer, CamelView
from hermeslink.api.dependencies import TheCaller, TheLink
from hermeslink.profiles.profiles import Profile

router = APIRouter(prefix="/api/v1", tags=["profiles"])

AvatarType = Annotated[Any, WithJsonSchema({"enum": [*AVATAR_TYPES, None]})]
Name = Annotated[Any, WithJsonSchema({"type": "string", "pattern": "^[a-z0-9][a-z0-9_-]{0,63}$"})]
Text = Annotated[str | None, Field(max_length=10_000)]


class ProfileView(CamelView):
    """`uid` stays when the name changes; it is null where the disk is read-only and it never had one. `active`: what
    commands at the machine mean. `avatar_url` goes with the avatar type image; initials are drawn by the client.
    """

    uid: str | None
    name: str
    active: bool
    path: str
    config_path: str
    display_name: str | None
    description: str | None
    avatar_type: Literal["initials", "image"]
    avatar_url: str | None
    exists: bool
    api_key_configured: bool

    @classmethod
    def of(cls, profile: Profile) -> ProfileView:
        about = profile.about
        return cls(
            uid=about.uid,
            name=profile.home.name,
            active=profile.is_active,
            path=str(profile.home.path),
            config_path=str(profile.home.config_file),
            display_name=about.display_name,
            description=about.description,
            avatar_type="image" if about.avatar_type == "image" else "initials",
            avatar_url=about.avatar_url,
            exists=profile.exists,
            api_key_configured=profile.has_api_key,
        )


class Profiles(CamelAnswer):
    profiles: list[str]


class ProfileAnswer(CamelAnswer):
    profile: ProfileView


class ProfileChanges(Body):
    """What is sent is changed; null takes it away. A new `name` renames."""

    name: Name = None
    display_name: Text = None
    description: Text = None
    avatar_type: AvatarType = None
    avatar_url: Annotated[str | None, Field(max_length=2 * MAX_PICTURE)] = None


@router.get("/profiles")
async def list_profiles(link: TheLink) -> Profiles:
    """Their names, the default one first."""
    return Profiles(profiles=await asyncio.to_thread(link.servers.profiles))


@router.get("/profiles/{name}/status")
async def show_profile(link: TheLink, name: str) -> ProfileAnswer:
    """Who it is, and where it lies."""
    return ProfileAnswer(profile=ProfileView.of(await link.profiles.show(name)))


@router.patch("/profiles/{name}")
async def change_profile(link: TheLink, caller: TheCaller, name: str, body: ProfileChanges) -> ProfileAnswer:
    """Rename it, or say who it is. Its conversations, sessions and usage go along with a new name."""
    changes = body.model_dump(exclude_unset=True)
    return ProfileAnswer(profile=ProfileView.of(await link.profiles.change(caller, name, changes)))


@router.delete("/profiles/{name}", status_code=204)
async def delete_profile(link: TheLink, caller: TheCaller, name: str) -> Response:
    """Into the trash, where it lies for some days; its conversations go to the archive."""
    await link.profiles.delete(caller, name)
    return Response(status_code=204)
