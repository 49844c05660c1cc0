"""A conversation, its messages, and the events by which devices follow it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property
from typing import Any, Literal

from .blob import Blob
from .times import iso


class ConversationStatus(StrEnum):
    ACTIVE = "active"
    ARCHIVED = "archived"


class Role(StrEnum):
    USER = "user"
    ASSISTANT = "assistant"


class MessageStatus(StrEnum):
    """queued → streaming (the answer) or completed (what was sent) → completed, failed or cancelled."""

    QUEUED = "queued"
    STREAMING = "streaming"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"


EventType = Literal[
    "message.created",
    "message.delta",
    "message.updated",
    "message.completed",
    "message.failed",
    "run.started",
    "run.completed",
    "run.failed",
    "run.cancelled",
    "tool.started",
    "tool.completed",
    "approval.requested",
    "approval.resolved",
    "question.asked",
    "question.answered",
    "conversation.updated",
    "conversation.deleted",
]
"""Every event that a device may read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stats:
    """What a conversation took so far, and of which model its last answer was."""

    input_tokens: int = 0
    output_tokens: int = 0
    message_count: int = 0
    run_count: int = 0
    model: str | None = None
    provider: str | None = None
    context_window: int | None = None
    updated_at: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Conversation:
    """`has_own_title`: a person gave it, so none is made of the first exchange. `active_run_id`: the oldest run that
    has not ended, whether it runs or waits."""

    id: str
    title: str
    has_own_title: bool
    status: ConversationStatus
    profile: str
    model_override: str | None
    created_at: float
    updated_at: float
    last_event_seq: int = 0
    stats: Stats = field(default_factory=Stats)
    active_run_id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentEvent:
    """What the agent did while it answered: a call of a tool, a question for approval."""

    id: str
    type: str
    status: str
    started_at: float
    completed_at: float | None = None
    payload: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """`position` is 1, 2, 3 … in its conversation. `run_id`: the run that answers it, or whose answer it is."""

    id: str
    conversation_id: str
    position: int
    role: Role
    status: MessageStatus
    run_id: str
    sender_name: str
    profile: str
    created_at: float
    updated_at: float
    text: str = ""
    reasoning: str = ""
    client_message_id: str | None = None
    device_id: str | None = None
    usage: Mapping[str, Any] | None = None
    error: Mapping[str, Any] | None = None
    attachments: tuple[Blob, ...] = ()
    agent_events: tuple[AgentEvent, ...] = ()


@dataclass(frozen=True, slots=True)
class NewEvent:
    """One that has no number yet. `payload`: JSON values."""

    type: EventType
    payload: Mapping[str, Any]
    message_id: str | None = None
    run_id: str | None = None


@dataclass(frozen=True)
class LinkEvent:
    """One that is kept. `seq` is 1, 2, 3 … in its conversation, `number` grows over all of them. What is sent of it is
    made once, however many read it."""

    number: int
    conversation_id: str
    seq: int
    type: str
    payload_json: str
    created_at: float
    message_id: str | None = None
    run_id: str | None = None

    @property
    def payload(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.payload_json)
        return found

    @cached_property
    def envelope(self) -> bytes:
        """The JSON of `{seq, type, conversation_id, message_id?, run_id?, payload, created_at}`."""
        message = f'"message_id":"{self.message_id}",' if self.message_id is not None else ""
        run = f'"run_id":"{self.run_id}",' if self.run_id is not None else ""
        text = (
            f'{{"seq":{self.seq},"type":"{self.type}","conversation_id":"{self.conversation_id}",{message}{run}'
            f'"payload":{self.payload_json},"created_at":"{iso(self.created_at)}"}}'
        )
        return text.encode()
