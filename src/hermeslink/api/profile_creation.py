"""New profiles: a job that tells how far it is."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Annotated, Any, Literal

from fastapi import APIRouter
from pydantic import Field
from starlette.requests import Request
from starlette.responses import Response

from hermeslink.api.bodies import Answer, Body
from hermeslink.api.dependencies import After, TheCaller, TheLink
from hermeslink.api.profiles import Name
from hermeslink.api.sse import Event, events_response
from hermeslink.profiles.creation import Creation, Creations, NewProfile, shown

router = APIRouter(prefix="/api/v1", tags=["profiles"])

_STREAM: dict[int | str, dict[str, Any]] = {
    200: {"description": "Server-sent events", "content": {"text/event-stream": {"schema": {"type": "string"}}}}
}


class CreationAnswer(Answer):
    """`error` where it failed: then nothing of it was made."""

    state: Literal["idle", "running", "succeeded", "failed"]
    profile_name: str | None
    job_id: str | None
    started_at: str | None
    finished_at: str | None
    lines: list[str]
    error: str | None

    @classmethod
    def of(cls, creation: Creation) -> CreationAnswer:
        return cls.model_validate(shown(creation))


class ProfileWish(Body):
    """`clone_from`: a profile whose settings, SOUL.md and provider keys it gets."""

    name: Name = None
    clone_from: Annotated[str | None, Field(max_length=256)] = None
    display_name: Annotated[str | None, Field(max_length=10_000)] = None


@router.post("/profiles", status_code=202)
async def create_profile(link: TheLink, caller: TheCaller, body: ProfileWish) -> CreationAnswer:
    """A new profile with a key of its own, which the default profile's gateway answers for at once."""
    wanted = NewProfile(body.name, body.clone_from or None, body.display_name)
    return CreationAnswer.of(await link.creations.start(caller, wanted))


@router.get("/profile-creation/status")
async def show_creation(link: TheLink) -> CreationAnswer:
    """How far the new profile is, or how the last one went."""
    return CreationAnswer.of(link.creations.status)


@router.get("/profile-creation/events", responses=_STREAM, response_class=Response)
async def follow_creation(request: Request, link: TheLink, caller: TheCaller, after: After) -> Response:
    """`profile.creation.status`: how it is now, and each time that this changes."""
    revoked = link.devices.revoked(caller.device_id)
    return events_response(request, _events(link.creations, after), revoked)


async def _events(creations: Creations, after: int) -> AsyncIterator[Event]:
    async for creation in creations.follow(after):
        told: dict[str, Any] = CreationAnswer.of(creation).model_dump()
        yield creation.version, "profile.creation.status", told
