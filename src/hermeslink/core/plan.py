"""What is to be done to many conversations at once, shown before it is done."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

LIFE_SECONDS = 3600.0


class PlanKind(StrEnum):
    CLEAR = "clear"
    ARCHIVE = "archive"


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """`total_count`: of the conversations it was made from. `done_count`: those that were still there when it was
    executed."""

    id: str
    kind: PlanKind
    conversation_ids: tuple[str, ...]
    total_count: int
    created_at: float
    expires_at: float
    completed_at: float | None = None
    done_count: int = 0

    def status(self, now: float) -> str:
        """pending, completed or expired."""
        if self.completed_at is not None:
            return "completed"
        return "pending" if now < self.expires_at else "expired"
