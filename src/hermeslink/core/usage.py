"""What a run used."""

from __future__ import annotations

from dataclasses import dataclass

UNKNOWN_MODEL = "unknown"
"""Of a run whose API server does not say which model answered."""


@dataclass(frozen=True, slots=True)
class Used:
    """`run_id` is Link's own of a conversation's run, the API server's of a direct one. `messages` are those that the
    run brought: two where a question was answered. `cost_usd` None: not known. `at` says on which day it counts."""

    run_id: str
    conversation_id: str | None
    profile: str
    model: str
    input_tokens: int
    output_tokens: int
    messages: int
    cost_usd: float | None
    at: float
