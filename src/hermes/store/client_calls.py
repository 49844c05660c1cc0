"""Calls of a client's own tools, by the id the client answers with.

A client that re-sends its history knows only its own calls; what the server did in the same turn is found through them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import Connection, bindparam, literal, select

from hermes.core.message import Message

from . import messages as message_rows
from .schema import client_calls, messages, runs
from .statement import InsertInto, Statement


def keep(conn: Connection, run_id: str, owner: str, call_ids: Iterable[str]) -> None:
    """Servers that use an id again mean the newest call."""
    for call_id in call_ids:
        _KEEP.run(conn, {"owner": owner, "call_id": call_id, "run_id": run_id})


def turn_of(conn: Connection, owner: str, call_id: str) -> list[Message] | None:
    """What the run that made this call said and did, without what it was asked. None for an unknown call."""
    row = _RUN.first(conn, {"of_owner": owner, "of_call": call_id})
    if row is None:
        return None
    run_id, session_id = row
    return [message_rows.decode(kept) for kept in _TURN.all(conn, {"run": run_id, "session": session_id})]


def turns_of(conn: Connection, owner: str, call_ids: Sequence[str]) -> dict[str, list[Message]]:
    """`turn_of` for each call that is known."""
    turns = {call_id: turn_of(conn, owner, call_id) for call_id in call_ids}
    return {call_id: turn for call_id, turn in turns.items() if turn is not None}


def _keep(insert: InsertInto) -> Any:
    row = insert(client_calls).values({name: bindparam(name) for name in ("owner", "call_id", "run_id")})
    return row.on_conflict_do_update(index_elements=["owner", "call_id"], set_={"run_id": row.excluded.run_id})


_KEEP = Statement(_keep)
_RUN = Statement(
    select(runs.c.id, runs.c.session_id)
    .join(client_calls, client_calls.c.run_id == runs.c.id)
    .where(client_calls.c.owner == bindparam("of_owner"), client_calls.c.call_id == bindparam("of_call"))
)
_TURN = Statement(
    select(*(messages.c[name] for name in message_rows.COLUMNS))
    .where(
        messages.c.session_id == bindparam("session"),
        messages.c.run_id == bindparam("run"),
        messages.c.role.in_([literal("assistant"), literal("tool")]),
    )
    .order_by(messages.c.id)
)
