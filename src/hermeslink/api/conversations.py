"""Conversations: lists, search, changes, and what was said in them."""

from __future__ import annotations

import logging
from typing import Annotated, Literal

from fastapi import APIRouter, Query
from pydantic import BaseModel, Field, StringConstraints
from starlette.requests import Request
from starlette.responses import Response

from hermes.core.errors import HermesError, InvalidInput
from hermeslink.api.bodies import Answer, Body
from hermeslink.api.dependencies import REQUEST_ID, TheCaller, TheLink
from hermeslink.api.errors import ErrorBody, error_body, is_inside
from hermeslink.conversations.conversations import ConversationPage, Deletion
from hermeslink.conversations.views import ConversationView, MessageView, conversation_view, message_view
from hermeslink.core.conversation import ConversationStatus
from hermeslink.core.times import iso
from hermeslink.store.conversation_list import Listed

log = logging.getLogger(__name__)

router = APIRouter(prefix="/api/v1", tags=["conversations"])

MOST_AT_ONCE = 1000
"""Conversations that one request may delete."""

Name = Annotated[str, StringConstraints(strip_whitespace=True, max_length=200)]
Words = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=1000)]


class ListQuery(Body):
    limit: int = Field(20, ge=1, le=100)
    cursor: str | None = None
    profile: str | None = None


class SearchQuery(ListQuery):
    q: Words


class StatusQuery(ListQuery):
    status: ConversationStatus = ConversationStatus.ACTIVE


class StatusSearchQuery(SearchQuery):
    status: ConversationStatus = ConversationStatus.ACTIVE


class MessagesQuery(Body):
    limit: int = Field(50, ge=1, le=200)
    before: str | None = None


class NewConversation(Body):
    title: Name | None = None
    profile: Name | None = None
    model: Name | None = None


class Title(Body):
    title: Name | None = None


class Model(Body):
    model: Name | None = None


class Profile(Body):
    profile: Name | None = None


class Ack(Body):
    seq: int | None = Field(None, ge=0, le=2**53)
    last_event_seq: int | None = Field(None, ge=0, le=2**53)


class ConversationIds(Body):
    conversation_ids: list[str] | None = Field(None, max_length=MOST_AT_ONCE)


class ConversationAnswer(Answer):
    conversation: ConversationView


class Page(BaseModel):
    limit: int
    has_more: bool
    next_cursor: str | None


class ConversationsAnswer(Answer):
    conversations: list[ConversationView]
    page: Page


class MatchView(BaseModel):
    """A message in which the words are; `snippet` is plain text around them."""

    message_id: str
    snippet: str


class FoundConversation(ConversationView):
    """`matches` is empty where the words are in the title alone."""

    matches: list[MatchView]


class FoundAnswer(Answer):
    conversations: list[FoundConversation]
    page: Page


class MessagesPage(BaseModel):
    limit: int
    has_more_before: bool
    has_more_after: bool
    oldest_message_id: str | None
    newest_message_id: str | None


class Context(BaseModel):
    """`window`: how many tokens the model takes; `used_tokens`: how many the newest answer took. None: not known."""

    window: int | None
    used_tokens: int | None


class Runtime(BaseModel):
    """What the next message is answered with, as far as it is known."""

    profile: str
    model: str | None
    context: Context


class MessagesAnswer(Answer):
    conversation_id: str
    messages: list[MessageView]
    last_event_seq: int
    runtime: Runtime
    page: MessagesPage


class AckAnswer(Answer):
    acked_seq: int


class DeletedAnswer(Answer):
    conversation_id: str
    deleted_at: str
    blobs_deleted: int


class DeletedView(BaseModel):
    conversation_id: str
    status: Literal["deleted", "failed"]
    deleted_at: str | None
    error: ErrorBody | None


class ManyDeletedAnswer(Answer):
    deleted_count: int
    failed_count: int
    conversations: list[DeletedView]


class SomeDeletedAnswer(BaseModel):
    """409 `conversation_bulk_delete_partial_failure`."""

    ok: Literal[False] = False
    error: ErrorBody
    deleted_count: int
    failed_count: int
    conversations: list[DeletedView]


@router.get("/conversations")
async def list_conversations(
    link: TheLink, caller: TheCaller, asked: Annotated[StatusQuery, Query()]
) -> ConversationsAnswer:
    """Conversations, the last changed first."""
    return page_answer(await page_of(link, caller, asked, asked.status))


@router.get("/conversations/search")
async def search_conversations(
    link: TheLink, caller: TheCaller, asked: Annotated[StatusSearchQuery, Query()]
) -> FoundAnswer:
    """Conversations with all of the words in their title or in one message. A word is found by its beginning, "two
    words" in this order, and any run of signs of a script without spaces."""
    return found_answer(await page_of(link, caller, asked, asked.status))


@router.post("/conversations", status_code=201)
async def create_conversation(link: TheLink, caller: TheCaller, body: NewConversation) -> ConversationAnswer:
    """A conversation, with a title of one's own or one that is made of the first exchange."""
    made = await link.conversations.create(caller.device_id, title=body.title, profile=body.profile, model=body.model)
    return conversation_answer(made)


@router.delete("/conversations", response_model=ManyDeletedAnswer, responses={409: {"model": SomeDeletedAnswer}})
async def delete_conversations(request: Request, link: TheLink, body: ConversationIds) -> ManyDeletedAnswer | Response:
    """Each of them, with its attachments; 409 when one of them could not be deleted."""
    if not body.conversation_ids:
        raise InvalidInput("conversation_ids names no conversation", code="conversation_ids_required")
    done = await link.conversations.delete_many(body.conversation_ids)
    views = [_deleted(one, request.scope[REQUEST_ID]) for one in done]
    failed_count = sum(one.error is not None for one in done)
    if not failed_count:
        return ManyDeletedAnswer(deleted_count=len(views), failed_count=0, conversations=views)
    partial = SomeDeletedAnswer(
        ok=False,
        error=ErrorBody(
            code="conversation_bulk_delete_partial_failure",
            message=f"{failed_count} of {len(done)} conversations could not be deleted",
        ),
        deleted_count=len(views) - failed_count,
        failed_count=failed_count,
        conversations=views,
    )
    return Response(partial.model_dump_json(exclude_unset=True), 409, media_type="application/json")


@router.delete("/conversations/{conversation_id}")
async def delete_conversation(conversation_id: str, link: TheLink) -> DeletedAnswer:
    """With its messages and attachments. What the agent does for it is stopped."""
    done = await link.conversations.delete(conversation_id)
    assert done.deleted_at is not None
    return DeletedAnswer(
        conversation_id=conversation_id, deleted_at=iso(done.deleted_at), blobs_deleted=done.blobs_deleted
    )


@router.get("/conversations/{conversation_id}/messages")
async def list_messages(
    conversation_id: str, link: TheLink, asked: Annotated[MessagesQuery, Query()]
) -> MessagesAnswer:
    """The newest messages, or the newest before one of them, in their order. They hold what the events up to
    `last_event_seq` say: go on from there to miss nothing."""
    page = await link.conversations.messages(conversation_id, limit=asked.limit, before=asked.before or None)
    views = [message_view(message) for message in page.messages]
    conversation = page.conversation
    return MessagesAnswer(
        conversation_id=conversation.id,
        messages=views,
        last_event_seq=conversation.last_event_seq,
        runtime=Runtime(
            profile=conversation.profile,
            model=conversation.model_override or conversation.stats.model,
            context=Context(window=conversation.stats.context_window, used_tokens=page.used_tokens),
        ),
        page=MessagesPage(
            limit=page.limit,
            has_more_before=page.has_more_before,
            has_more_after=page.has_more_after,
            oldest_message_id=views[0].id if views else None,
            newest_message_id=views[-1].id if views else None,
        ),
    )


@router.patch("/conversations/{conversation_id}/title")
async def set_title(conversation_id: str, link: TheLink, caller: TheCaller, body: Title) -> ConversationAnswer:
    """A title of a person's own, which stays; also of the session that the API server keeps of it."""
    changed = await link.conversations.set_title(conversation_id, body.title or "", caller.device_id)
    link.sending.retitle(conversation_id)
    return conversation_answer(changed)


@router.patch("/conversations/{conversation_id}/model")
async def set_model(conversation_id: str, link: TheLink, caller: TheCaller, body: Model) -> ConversationAnswer:
    """With the next message. null: what the profile says."""
    if "model" not in body.model_fields_set or body.model == "":
        raise InvalidInput("model_id is missing", code="model_id_required", param="model_id")
    return conversation_answer(await link.conversations.set_model(conversation_id, body.model, caller.device_id))


@router.patch("/conversations/{conversation_id}/profile")
async def set_profile(conversation_id: str, link: TheLink, caller: TheCaller, body: Profile) -> ConversationAnswer:
    """With the next message."""
    if not body.profile:
        raise InvalidInput("profile is missing", code="profile_required", param="profile")
    return conversation_answer(await link.conversations.set_profile(conversation_id, body.profile, caller.device_id))


@router.post("/conversations/{conversation_id}/ack")
async def ack(conversation_id: str, link: TheLink, caller: TheCaller, body: Ack) -> AckAnswer:
    """How far this device has read. It never goes back."""
    seq = body.seq if body.seq is not None else body.last_event_seq
    if seq is None:
        raise InvalidInput("seq is missing", code="validation_error", param="seq")
    return AckAnswer(acked_seq=await link.conversations.ack(conversation_id, caller.device_id, seq))


async def page_of(link: TheLink, caller: TheCaller, asked: ListQuery, status: ConversationStatus) -> ConversationPage:
    return await link.conversations.page(
        caller.device_id,
        limit=asked.limit,
        cursor=asked.cursor,
        status=status,
        profile=asked.profile,
        query=asked.q if isinstance(asked, SearchQuery) else None,
    )


def conversation_answer(listed: Listed) -> ConversationAnswer:
    return ConversationAnswer(conversation=conversation_view(listed.conversation, listed.acked_seq))


def page_answer(page: ConversationPage) -> ConversationsAnswer:
    shown = [conversation_view(one.conversation, one.acked_seq) for one in page.listed]
    return ConversationsAnswer(conversations=shown, page=_page(page))


def found_answer(page: ConversationPage) -> FoundAnswer:
    shown = [
        FoundConversation(
            **conversation_view(one.conversation, one.acked_seq).model_dump(),
            matches=[MatchView(message_id=match.message_id, snippet=match.snippet) for match in one.matches],
        )
        for one in page.listed
    ]
    return FoundAnswer(conversations=shown, page=_page(page))


def _page(page: ConversationPage) -> Page:
    return Page(limit=page.limit, has_more=page.next_cursor is not None, next_cursor=page.next_cursor)


def _deleted(done: Deletion, request_id: str) -> DeletedView:
    return DeletedView(
        conversation_id=done.conversation_id,
        status="deleted" if done.error is None else "failed",
        deleted_at=iso(done.deleted_at),
        error=None if done.error is None else _told(done.error, request_id),
    )


def _told(error: HermesError, request_id: str) -> ErrorBody:
    if is_inside(error):
        log.error("a deletion failed", exc_info=error)
    return ErrorBody(**error_body(error, request_id)["error"])
