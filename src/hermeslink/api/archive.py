"""Conversations that were put away."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query

from hermeslink.api.conversations import (
    ConversationAnswer,
    ConversationsAnswer,
    FoundAnswer,
    ListQuery,
    SearchQuery,
    conversation_answer,
    found_answer,
    page_answer,
    page_of,
)
from hermeslink.api.dependencies import TheCaller, TheLink
from hermeslink.core.conversation import ConversationStatus

router = APIRouter(prefix="/api/v1", tags=["archive"])

ARCHIVED, ACTIVE = ConversationStatus.ARCHIVED, ConversationStatus.ACTIVE


@router.get("/conversations/archived")
async def list_archived(link: TheLink, caller: TheCaller, asked: Annotated[ListQuery, Query()]) -> ConversationsAnswer:
    """Archived conversations, the last changed first."""
    return page_answer(await page_of(link, caller, asked, ARCHIVED))


@router.get("/conversations/archived/search")
async def search_archived(link: TheLink, caller: TheCaller, asked: Annotated[SearchQuery, Query()]) -> FoundAnswer:
    """Archived conversations with all of the words in their title or in one message."""
    return found_answer(await page_of(link, caller, asked, ARCHIVED))


@router.post("/conversations/{conversation_id}/archive")
async def archive(conversation_id: str, link: TheLink, caller: TheCaller) -> ConversationAnswer:
    """Away from the list of conversations. It can still be read, found and gone on with."""
    return conversation_answer(await link.conversations.set_status(conversation_id, ARCHIVED, caller.device_id))


@router.post("/conversations/{conversation_id}/unarchive")
async def unarchive(conversation_id: str, link: TheLink, caller: TheCaller) -> ConversationAnswer:
    """Back into the list of conversations."""
    return conversation_answer(await link.conversations.set_status(conversation_id, ACTIVE, caller.device_id))
