"""Who paired, refreshed, revoked, approved (spec: link-api, Beyond the 97)."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query
from pydantic import BaseModel, Field

from hermes.core.errors import InvalidInput
from hermeslink.api.bodies import Answer, Body
from hermeslink.api.dependencies import TheLink
from hermeslink.core.times import iso
from hermeslink.store import audit
from hermeslink.store.audit import AuditEntry

router = APIRouter(prefix="/api/v1/audit", tags=["audit"])


class AuditView(BaseModel):
    """`device_id`: who did it; null for somebody at the machine, or nobody known. `subject`: what it was done to."""

    id: int
    at: str
    action: str
    device_id: str | None
    subject: str | None
    address: str | None
    details: dict[str, Any]

    @classmethod
    def of(cls, entry: AuditEntry) -> AuditView:
        return cls(
            id=entry.id,
            at=iso(entry.at),
            action=entry.action,
            device_id=entry.device_id,
            subject=entry.subject,
            address=entry.address,
            details=entry.details,
        )


class AuditPage(BaseModel):
    limit: int
    has_more: bool
    next_cursor: str | None


class AuditAnswer(Answer):
    entries: list[AuditView]
    page: AuditPage


class AuditQuery(Body):
    limit: int = Field(50, ge=1, le=200)
    cursor: str | None = None


@router.get("")
async def list_audit(link: TheLink, query: Annotated[AuditQuery, Query()]) -> AuditAnswer:
    """What was done to who may come in, newest first. Rows are added, and never changed."""
    found = await link.database.read(audit.page, query.limit + 1, _position(query.cursor))
    shown, has_more = found[: query.limit], len(found) > query.limit
    page = AuditPage(limit=query.limit, has_more=has_more, next_cursor=str(shown[-1].id) if has_more else None)
    return AuditAnswer(entries=[AuditView.of(entry) for entry in shown], page=page)


def _position(cursor: str | None) -> int | None:
    if not cursor:
        return None
    if not (cursor.isascii() and cursor.isdigit() and len(cursor) <= 18):
        raise InvalidInput("this cursor is of no page: leave it out to begin", code="invalid_cursor", param="cursor")
    return int(cursor)
