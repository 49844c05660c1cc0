"""Questions of runs, answered."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import APIRouter
from pydantic import Field

from hermeslink.api.bodies import Answer, Body
from hermeslink.api.dependencies import TheCaller, TheLink

router = APIRouter(prefix="/api/v1/conversations/{conversation_id}/approvals/{approval_id}", tags=["approvals"])

Scope = Literal["once", "session", "always"]


class DecisionBody(Body):
    """`scope` is once unless said otherwise. `always` takes a device with the scope admin: it changes what the profile
    allows."""

    scope: Scope | None = None
    reason: Annotated[str | None, Field(max_length=2000)] = None


class DecisionAnswer(Answer):
    approval_id: str
    decision: Literal["approve", "deny"]
    scope: Scope


@router.post("/approve")
async def approve(
    conversation_id: str, approval_id: str, link: TheLink, caller: TheCaller, body: DecisionBody | None = None
) -> DecisionAnswer:
    """Let the agent do what it asks for."""
    asked = body or DecisionBody()
    scope = asked.scope or "once"
    await link.approvals.decide(
        conversation_id, approval_id, approved=True, scope=scope, reason=asked.reason, caller=caller
    )
    return DecisionAnswer(approval_id=approval_id, decision="approve", scope=scope)


@router.post("/deny")
async def deny(
    conversation_id: str, approval_id: str, link: TheLink, caller: TheCaller, body: DecisionBody | None = None
) -> DecisionAnswer:
    """Tell the agent no; `reason` is told to it."""
    asked = body or DecisionBody()
    scope = asked.scope or "once"
    await link.approvals.decide(
        conversation_id, approval_id, approved=False, scope=scope, reason=asked.reason, caller=caller
    )
    return DecisionAnswer(approval_id=approval_id, decision="deny", scope=scope)
