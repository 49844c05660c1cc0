"""A run as it is told outside: at GET /v1/runs/{run_id} and in a callback (spec: api-server section 5)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hermes.agent.turn import usage_data
from hermes.core.run import Run


def run_object(
    run: Run,
    approvals: Sequence[dict[str, Any]] = (),
    *,
    clarifications: Sequence[dict[str, Any]] = (),
    has_pending_steer: bool = False,
) -> dict[str, Any]:
    """JSON values. `approvals` and `clarifications` are the questions that wait. Times are unix seconds."""
    return {
        "object": "hermes.run",
        "run_id": run.id,
        "status": run.status.value,
        "session_id": run.session_id,
        "model": run.model,
        "created_at": run.created_at,
        "updated_at": run.updated_at,
        "started_at": run.started_at,
        "finished_at": run.finished_at,
        "last_event": run.last_event,
        "last_seq": run.last_seq,
        "output": run.output,
        "finish_reason": run.finish_reason,
        "usage": usage_data(run.usage),
        "parent_run_id": run.parent_run_id,
        "delegated_usage": None if run.delegated is None else usage_data(run.delegated),
        "error": dict(run.error) if run.error else None,
        "approvals": list(approvals),
        "clarifications": list(clarifications),
        "pending_steer": has_pending_steer,
        "resumed": run.resumed,
    }
