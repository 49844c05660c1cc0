"""Tool calls of durable runs that take effect: marked before, so that a restart knows whose outcome is unknown."""

from __future__ import annotations

from sqlalchemy import Connection, bindparam, delete, select

from .schema import started_calls
from .statement import Statement


def mark(conn: Connection, run_id: str, tool_call_id: str, now: float) -> None:
    _MARK.run(conn, {"run_id": run_id, "tool_call_id": tool_call_id, "started_at": now})


def of_run(conn: Connection, run_id: str) -> set[str]:
    return {call_id for (call_id,) in _OF_RUN.all(conn, {"run": run_id})}


def forget(conn: Connection, run_id: str, tool_call_id: str) -> None:
    """It has a result. Some models use an id again in a later step."""
    _FORGET.run(conn, {"run": run_id, "call": tool_call_id})


def forget_all(conn: Connection, run_id: str) -> None:
    """The run has ended: nobody asks any more."""
    _FORGET_ALL.run(conn, {"run": run_id})


_MARK = Statement(
    lambda insert: (
        insert(started_calls)
        .values({name: bindparam(name) for name in ("run_id", "tool_call_id", "started_at")})
        .on_conflict_do_nothing()
    )
)
_OF_RUN = Statement(select(started_calls.c.tool_call_id).where(started_calls.c.run_id == bindparam("run")))
_FORGET = Statement(
    delete(started_calls).where(
        started_calls.c.run_id == bindparam("run"), started_calls.c.tool_call_id == bindparam("call")
    )
)
_FORGET_ALL = Statement(delete(started_calls).where(started_calls.c.run_id == bindparam("run")))
