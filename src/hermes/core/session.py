"""A session: a conversation that runs add to, one at a time."""

from __future__ import annotations

from dataclasses import dataclass, field

from hermes.core.message import Message
from hermes.core.run import Usage


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """Times are unix seconds. `is_stateless`: made for one chat that re-sends its history; hidden from lists.

    `model_choice` is what a request's `model` may be, kept for runs that name none; `model` is the one that answered.
    """

    id: str
    owner: str
    source: str
    started_at: float
    last_active: float
    title: str | None = None
    model: str | None = None
    user_id: str | None = None
    session_key: str | None = None
    system_prompt: str | None = None
    parent_session_id: str | None = None
    ended_at: float | None = None
    end_reason: str | None = None
    is_stateless: bool = False
    message_count: int = 0
    tool_call_count: int = 0
    usage: Usage = field(default_factory=Usage)
    preview: str = ""
    model_choice: str | None = None


@dataclass(frozen=True, slots=True)
class KeptMessage:
    """A message with its place. `id` grows within a store; `run_id` is the run that added it."""

    id: int
    session_id: str
    run_id: str | None
    created_at: float
    message: Message
