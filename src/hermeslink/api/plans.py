"""Plans to delete or to archive many conversations: a list that is looked at before it is done."""

from __future__ import annotations

from typing import Literal

from fastapi import APIRouter
from pydantic import BaseModel, Field

from hermeslink.api.bodies import Answer, Body
from hermeslink.api.dependencies import TheLink
from hermeslink.core.plan import Plan, PlanKind
from hermeslink.core.times import iso

router = APIRouter(prefix="/api/v1", tags=["plans"])


class PlanBody(Body):
    """Active conversations that have not changed for so many days, of that profile, but for those."""

    profile: str | None = None
    older_than_days: float | None = Field(None, ge=0, le=36500)
    exclude_conversation_ids: list[str] | None = None


class PlanView(BaseModel):
    """`total_count`: of the conversations it was made from."""

    id: str
    status: Literal["pending", "completed", "expired"]
    conversation_count: int
    total_count: int
    conversation_ids: list[str]
    created_at: str
    expires_at: str
    completed_at: str | None


class ClearPlanView(PlanView):
    deleted_count: int


class ArchivePlanView(PlanView):
    archived_count: int


class ClearPlanAnswer(Answer):
    plan: ClearPlanView


class ArchivePlanAnswer(Answer):
    plan: ArchivePlanView


@router.post("/conversations/clear-plans", status_code=201)
async def create_clear_plan(link: TheLink, body: PlanBody) -> ClearPlanAnswer:
    """What would be deleted. Nothing is, until the plan is executed."""
    return _clear(link.clock.now(), await _create(link, PlanKind.CLEAR, body))


@router.get("/conversations/clear-plans/{plan_id}")
async def show_clear_plan(plan_id: str, link: TheLink) -> ClearPlanAnswer:
    """What it would delete, or has deleted."""
    return _clear(link.clock.now(), await link.plans.get(PlanKind.CLEAR, plan_id))


@router.post("/conversations/clear-plans/{plan_id}/execute")
async def execute_clear_plan(plan_id: str, link: TheLink) -> ClearPlanAnswer:
    """Deletes exactly the plan's list, once."""
    return _clear(link.clock.now(), await link.plans.execute(PlanKind.CLEAR, plan_id))


@router.post("/conversations/archive-plans", status_code=201)
async def create_archive_plan(link: TheLink, body: PlanBody) -> ArchivePlanAnswer:
    """What would be archived. Nothing is, until the plan is executed."""
    return _archive(link.clock.now(), await _create(link, PlanKind.ARCHIVE, body))


@router.get("/conversations/archive-plans/{plan_id}")
async def show_archive_plan(plan_id: str, link: TheLink) -> ArchivePlanAnswer:
    """What it would archive, or has archived."""
    return _archive(link.clock.now(), await link.plans.get(PlanKind.ARCHIVE, plan_id))


@router.post("/conversations/archive-plans/{plan_id}/execute")
async def execute_archive_plan(plan_id: str, link: TheLink) -> ArchivePlanAnswer:
    """Archives exactly the plan's list, once."""
    return _archive(link.clock.now(), await link.plans.execute(PlanKind.ARCHIVE, plan_id))


async def _create(link: TheLink, kind: PlanKind, body: PlanBody) -> Plan:
    return await link.plans.create(
        kind,
        profile=body.profile,
        older_than_days=body.older_than_days,
        but=body.exclude_conversation_ids or (),
    )


def _clear(now: float, plan: Plan) -> ClearPlanAnswer:
    return ClearPlanAnswer(plan=ClearPlanView(**_view(now, plan), deleted_count=plan.done_count))


def _archive(now: float, plan: Plan) -> ArchivePlanAnswer:
    return ArchivePlanAnswer(plan=ArchivePlanView(**_view(now, plan), archived_count=plan.done_count))


def _view(now: float, plan: Plan) -> dict[str, object]:
    return {
        "id": plan.id,
        "status": plan.status(now),
        "conversation_count": len(plan.conversation_ids),
        "total_count": plan.total_count,
        "conversation_ids": list(plan.conversation_ids),
        "created_at": iso(plan.created_at),
        "expires_at": iso(plan.expires_at),
        "completed_at": iso(plan.completed_at),
    }
