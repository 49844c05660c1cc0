"""How a run ends: the last transaction, and what a failure tells."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from hermes.agent.turn import usage_data
from hermes.core import event as events
from hermes.core.errors import HermesError, UpstreamError
from hermes.core.event import RunEvent
from hermes.core.key import OWNER
from hermes.core.message import Message
from hermes.core.redact import Redactor
from hermes.core.run import Run, RunStatus, Usage
from hermes.runs.events import Recorder
from hermes.store import keys as key_store
from hermes.store import runs as run_store
from hermes.store import sessions as session_store
from hermes.store import steers as steer_store
from hermes.store.database import Connection
from hermes.store.requests import whereabouts


async def record_end(
    recorder: Recorder,
    run: Run,
    now: float,
    status: RunStatus,
    final: RunEvent,
    messages: list[Message],
    last_usage: Usage,
    output: str | None,
    *,
    before_sent: Callable[[], None] | None = None,
) -> None:
    """One transaction: what is left to keep of its messages, its usage, its status and its last event.

    What was said to the run and came too late for its model stays in the session.
    `before_sent` is called between the commit and the moment a reader sees it.
    """
    usage = recorder.usage + last_usage
    if isinstance(final, events.RunFailed | events.RunCancelled):
        final = replace(final, usage=usage_data(usage))
    finish_reason = final.finish_reason if isinstance(final, events.RunCompleted) else None
    error = final.error if isinstance(final, events.RunFailed) else None

    def finish(conn: Connection) -> None:
        last_seq = recorder.last_seq
        left = whereabouts(run.request)
        ended = run_store.finish(
            conn, run.id, status, now, output, finish_reason, usage, error, final.name, last_seq, request=left
        )
        if ended is not None and usage.cost_usd and run.owner != OWNER:
            key_store.spend(conn, run.owner, usage.cost_usd)
        unheard = steer_store.waiting(conn, run.id) if ended is not None and ended.was_steered else ()
        if unheard:
            session_store.add_messages(
                conn, run.session_id, run.id, [Message("user", text) for _, text in unheard], now
            )
            steer_store.forget(conn, run.id)

    await recorder.record(
        *messages,
        final,
        usage=last_usage,
        operations=(finish,),
        is_durable=run.is_durable,
        is_end=True,
        before_sent=before_sent,
    )


def error_data(error: BaseException, redactor: Redactor) -> dict[str, Any]:
    """What a failed run tells: the edge answers from it, today or after a restart.

    Providers repeat the key they refuse, and what was sent to them: the message is redacted.
    """
    if not isinstance(error, HermesError):
        return {"message": "The run failed inside the server; its log says why.", "code": "internal_error"}
    data: dict[str, Any] = {"message": redactor(error.message), "code": error.code}
    if error.param is not None:
        data["param"] = error.param
    if isinstance(error, UpstreamError):
        data["upstream_status"] = error.status
    retry_after = getattr(error, "retry_after_seconds", None)
    if retry_after is not None:
        data["retry_after"] = retry_after
    return data
