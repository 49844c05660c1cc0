"""What was logged, for an admin."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Annotated, Any, Literal

from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict

from hermes.core.redact import Redactor
from hermes.home.paths import DEFAULT_PROFILE
from hermeslink.api.bodies import Answer, CamelAnswer
from hermeslink.api.dependencies import TheLink
from hermeslink.system.logs import gateway_log, last_lines, secrets_of

if TYPE_CHECKING:
    from hermeslink.app import Link

router = APIRouter(prefix="/api/v1", tags=["status"])

Source = Literal["link", "gateway"]


class LogLine(BaseModel):
    """And what else the line tells. `time` in UTC; null where the line says none."""

    model_config = ConfigDict(extra="allow")

    time: str | None
    level: str | None
    message: str


class Logs(Answer):
    """Oldest first."""

    source: Source
    logs: list[LogLine]


class Entries(CamelAnswer):
    """Oldest first; the fields of an entry are those of the line."""

    entries: list[LogLine]


Limit = Annotated[int, Query(ge=1, le=1000, description="How many of the last lines.")]
Profile = Annotated[str, Query(description="Whose gateway, where a profile has one of its own.")]


@router.get("/logs")
async def show_logs(
    link: TheLink,
    source: Annotated[Source, Query(description="Whose log.")] = "link",
    limit: Limit = 50,
    profile: Profile = DEFAULT_PROFILE,
) -> Logs:
    """The last lines of Link's log, or of the gateway's. Secrets are taken out."""
    return Logs(source=source, logs=await _lines(link, limit, profile if source == "gateway" else None))


@router.get("/system/logs", tags=["system"])
async def show_system_logs(link: TheLink, limit: Limit = 50) -> Entries:
    """The last lines of Link's log. Secrets are taken out."""
    return Entries(entries=await _lines(link, limit, None))


@router.get("/system/logs/gateway", tags=["system"])
async def show_gateway_logs(link: TheLink, limit: Limit = 50, profile: Profile = DEFAULT_PROFILE) -> Entries:
    """The last lines of the gateway's log, also while it is down. Secrets are taken out."""
    return Entries(entries=await _lines(link, limit, profile))


async def _lines(link: Link, limit: int, profile: str | None) -> list[LogLine]:
    """`profile` None: Link's own."""

    def read() -> list[dict[str, Any]]:
        file = link.home.log_file if profile is None else gateway_log(link.servers.home(profile))
        return last_lines(file, limit, Redactor(secrets_of(link.hermes_root, link.environ)))

    return [LogLine.model_validate(line) for line in await asyncio.to_thread(read)]
