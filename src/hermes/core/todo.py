"""A list of things to do, which the agent keeps for a session."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class TodoStatus(StrEnum):
    PENDING = "pending"
    IN_PROGRESS = "in_progress"
    COMPLETED = "completed"
    CANCELLED = "cancelled"


@dataclass(frozen=True, slots=True)
class Todo:
    """`id` is unique within its list; the order of the list is that of the work."""

    id: str
    content: str
    status: TodoStatus = TodoStatus.PENDING
