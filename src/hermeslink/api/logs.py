"""What was logged, for an admin."""

from __future__ import annotations

import asyncio
from typing import Annotated, Literal

from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict

from hermes.core.redact import Redactor
from hermeslink.api.bodies import Answer
from hermeslink.api.dependencies import TheLink
from hermeslink.system.logs import gateway_log, last_lines, secrets_of

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


@router.get("/logs")
async def show_logs(
    link: TheLink,
    source: Annotated[Source, Query(description="Whose log.")] = "link",
    limit: Annotated[int, Query(ge=1, le=1000, description="How many of the last lines.")] = 50,
) -> Logs:
    """The last lines of Link's log, or of the gateway's. Secrets are taken out."""
    file = link.home.log_file if source == "link" else gateway_log(link.hermes_root)
    redactor = Redactor(await asyncio.to_thread(secrets_of, link.hermes_root, {}))
    found = await asyncio.to_thread(last_lines, file, limit, redactor)
    return Logs(source=source, logs=[LogLine.model_validate(line) for line in found])
