"""How a conversation and a message are shown (spec: link-api, Conversations)."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel

from hermeslink.core.blob import Blob
from hermeslink.core.conversation import AgentEvent, Conversation, Message, Stats
from hermeslink.core.times import iso


class StatsView(BaseModel):
    input_tokens: int
    output_tokens: int
    total_tokens: int
    message_count: int
    run_count: int
    profile: str
    model: str | None
    provider: str | None
    context_window: int | None
    updated_at: str | None

    @classmethod
    def of(cls, stats: Stats, conversation: Conversation) -> StatsView:
        return cls(
            input_tokens=stats.input_tokens,
            output_tokens=stats.output_tokens,
            total_tokens=stats.input_tokens + stats.output_tokens,
            message_count=stats.message_count,
            run_count=stats.run_count,
            profile=conversation.profile,
            model=conversation.model_override or stats.model,
            provider=stats.provider,
            context_window=stats.context_window,
            updated_at=iso(stats.updated_at),
        )


class ConversationFacts(BaseModel):
    """What a conversation is for every device."""

    id: str
    kind: Literal["chat"] = "chat"
    title: str
    status: Literal["active", "archived"]
    profile: str
    model_override: str | None
    last_event_seq: int
    created_at: str
    updated_at: str
    stats: StatsView
    active_run_id: str | None


class ConversationView(ConversationFacts):
    """`unread`: how many events there are that the device that asks has not acknowledged."""

    unread: int


class TextPart(BaseModel):
    type: Literal["text"] = "text"
    text: str


class ReasoningPart(BaseModel):
    type: Literal["reasoning"] = "reasoning"
    text: str


class BlobPart(BaseModel):
    type: Literal["blob"] = "blob"
    blob_id: str
    mime: str
    size: int
    filename: str
    kind: Literal["image", "audio", "video", "file"]


class SenderView(BaseModel):
    """`id`: of the device, or the profile's name."""

    id: str
    type: Literal["human", "agent"]
    display_name: str
    profile: str


class AgentEventView(BaseModel):
    id: str
    type: str
    status: str
    started_at: str
    completed_at: str | None
    payload: dict[str, Any]


class MessageView(BaseModel):
    id: str
    schema_version: Literal[1] = 1
    conversation_id: str
    role: Literal["user", "assistant"]
    status: Literal["queued", "streaming", "completed", "failed", "cancelled"]
    run_id: str
    client_message_id: str | None
    created_at: str
    updated_at: str
    sender: SenderView
    parts: list[TextPart | ReasoningPart | BlobPart]
    attachments: list[BlobPart]
    agent_events: list[AgentEventView]
    usage: dict[str, Any] | None
    error: dict[str, Any] | None


def conversation_facts(conversation: Conversation) -> ConversationFacts:
    return ConversationFacts(**_facts(conversation))


def conversation_view(conversation: Conversation, acked_seq: int) -> ConversationView:
    unread = max(0, conversation.last_event_seq - acked_seq)
    return ConversationView(**_facts(conversation), unread=unread)


def message_view(message: Message) -> MessageView:
    is_human = message.role == "user"
    carried = [_blob(blob) for blob in message.attachments]
    parts: list[TextPart | ReasoningPart | BlobPart] = []
    if message.reasoning:
        parts.append(ReasoningPart(text=message.reasoning))
    if message.text:
        parts.append(TextPart(text=message.text))
    return MessageView(
        id=message.id,
        conversation_id=message.conversation_id,
        role=message.role.value,
        status=message.status.value,
        run_id=message.run_id,
        client_message_id=message.client_message_id,
        created_at=iso(message.created_at),
        updated_at=iso(message.updated_at),
        sender=SenderView(
            id=(message.device_id or "") if is_human else message.profile,
            type="human" if is_human else "agent",
            display_name=message.sender_name,
            profile=message.profile,
        ),
        parts=[*parts, *carried],
        attachments=carried,
        agent_events=[_agent_event(event) for event in message.agent_events],
        usage=None if message.usage is None else dict(message.usage),
        error=None if message.error is None else dict(message.error),
    )


def conversation_json(conversation: Conversation, acked_seq: int | None = None) -> dict[str, Any]:
    """As in an answer to a device; without `acked_seq` as in an event, which is for all of them."""
    if acked_seq is None:
        return conversation_facts(conversation).model_dump()
    return conversation_view(conversation, acked_seq).model_dump()


def message_json(message: Message) -> dict[str, Any]:
    return message_view(message).model_dump()


def _facts(conversation: Conversation) -> dict[str, Any]:
    return {
        "id": conversation.id,
        "title": conversation.title,
        "status": conversation.status.value,
        "profile": conversation.profile,
        "model_override": conversation.model_override,
        "last_event_seq": conversation.last_event_seq,
        "created_at": iso(conversation.created_at),
        "updated_at": iso(conversation.updated_at),
        "stats": StatsView.of(conversation.stats, conversation),
        "active_run_id": conversation.active_run_id,
    }


def _blob(blob: Blob) -> BlobPart:
    return BlobPart(blob_id=blob.id, mime=blob.mime, size=blob.size, filename=blob.filename, kind=blob.kind)


def _agent_event(event: AgentEvent) -> AgentEventView:
    return AgentEventView(
        id=event.id,
        type=event.type,
        status=event.status,
        started_at=iso(event.started_at),
        completed_at=iso(event.completed_at),
        payload=dict(event.payload),
    )
