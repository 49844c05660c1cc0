"""A run: what an API server does to answer one message of a conversation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any


class RunStatus(StrEnum):
    """queued (behind another of its conversation) → running → completed, failed or cancelled."""

    QUEUED = "queued"
    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def is_final(self) -> bool:
        return self not in (RunStatus.QUEUED, RunStatus.RUNNING)


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """What the meaning of the API server's next event hangs on; kept with the run, in the transaction of its events.

    Lengths are in characters. `index` is the next delta's. The mark is the last event that was no text: where a server
    takes an unfinished answer back, it is what came behind that.
    """

    index: int = 0
    text_length: int = 0
    reasoning_length: int = 0
    last_said_seq: int = 0
    mark_seq: int = 0
    mark_text_length: int = 0
    mark_reasoning_length: int = 0
    is_new_step: bool = False
    """A tool worked since the last text: what is said next stands apart from it."""
    has_step_reasoning: bool = False
    is_said: bool = False
    """The API server took the message up: it is part of the session there, and of the history."""
    model: str | None = None
    open_calls: Mapping[str, str] = field(default_factory=dict)
    """The ids of what the agent does now, by the API server's names of it, which need not be used once only."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """`remote_id` is the API server's name of it and `remote_seq` the last of its events that is among ours.

    `prepared_at`: when it was settled what the API server is asked (`session_id`, `sends_history`). From then on it may
    have been asked, and is asked in the same words again. `is_cancelled`: somebody wants its end.
    """

    number: int
    id: str
    conversation_id: str
    user_message_id: str
    assistant_message_id: str
    status: RunStatus
    profile: str
    model: str | None
    remote_id: str | None
    remote_seq: int
    is_cancelled: bool
    created_at: float
    started_at: float | None
    finished_at: float | None
    error: Mapping[str, Any] | None
    session_id: str | None
    sends_history: bool
    prepared_at: float | None
    progress: Progress = field(default_factory=Progress)
