"""A copy of a session up to one of its messages, which goes on as a session of its own."""

from __future__ import annotations

from dataclasses import replace

import sqlalchemy as sa
from sqlalchemy import Connection, bindparam

from hermes.core.errors import InvalidInput
from hermes.core.session import Session

from . import messages as message_rows
from . import sessions, todos
from .encoding import from_json
from .schema import messages
from .schema import sessions as schema_sessions
from .statement import Statement


def fork(conn: Connection, source: Session, copy: Session, at_message_id: int | None = None) -> Session:
    """Makes `copy` with the messages of `source` up to and with that one, or all of them. Gives it as it was kept.

    A call is never parted from its result: when the cut lies between them, the results that follow come along; when
    one of them is not there yet, the copy ends before the call. A copy of all has its todo list, too. Raises Conflict
    `session_exists`, InvalidInput for a message that is not of this session.
    """
    last, tool_calls = _whole_steps(conn, source.id, at_message_id)
    sessions.create(conn, copy)
    count = _COPY.run(conn, {"session": source.id, "copy": copy.id, "last": last}) if last else 0
    first = _FIRST_SAID.first(conn, {"session": copy.id})
    preview = sessions.preview_of(first[0]) if first is not None else ""
    counted = replace(copy, message_count=count, tool_call_count=tool_calls, preview=preview)
    values = {"session": copy.id, "count": count, "tool_calls": tool_calls, "head": preview}
    _SET_COUNTS.run(conn, values)
    if at_message_id is None and (list_of_source := todos.get(conn, source.id)):
        todos.put(conn, copy.id, list_of_source, copy.started_at)
    return counted


def _whole_steps(conn: Connection, session_id: str, at_message_id: int | None) -> tuple[int, int]:
    """The id of the message that a copy ends with, 0 for none, and how many tool calls it then has."""
    is_there = at_message_id is None
    whole, calls = (0, 0), 0  # up to where every call has its result
    waits_for: set[str] = set()
    for message_id, role, tool_calls, tool_call_id in _STEPS.all(conn, {"session": session_id}):
        if at_message_id is not None and message_id > at_message_id and (not waits_for or role != "tool"):
            break
        is_there = is_there or message_id == at_message_id
        if role != "tool":
            waits_for.clear()  # what has no result by now was lost with its run, and the history says so
        if tool_calls is not None:
            made = [call[0] for call in from_json(tool_calls)]
            calls += len(made)
            waits_for.update(made)
        elif role == "tool":
            waits_for.discard(tool_call_id)
        if not waits_for:
            whole = (message_id, calls)
    if not is_there:
        raise InvalidInput(f"the session {session_id!r} has no message {at_message_id}", param="at_message_id")
    return whole


_COLUMNS = [messages.c[name] for name in message_rows.COLUMNS]
_OF_SESSION = messages.c.session_id == bindparam("session")
_STEPS = Statement(
    sa.select(messages.c.id, messages.c.role, messages.c.tool_calls, messages.c.tool_call_id)
    .where(_OF_SESSION)
    .order_by(messages.c.id)
)
_COPY = Statement(
    sa.insert(messages).from_select(
        ["session_id", "created_at", *message_rows.COLUMNS],
        sa.select(bindparam("copy", type_=sa.String), messages.c.created_at, *_COLUMNS)
        .where(_OF_SESSION, messages.c.id <= bindparam("last"))
        .order_by(messages.c.id),
    )
)
_FIRST_SAID = Statement(
    sa.select(messages.c.content)
    .where(_OF_SESSION, messages.c.role == sa.literal("user"))
    .order_by(messages.c.id)
    .limit(1)
)
_SET_COUNTS = Statement(
    sa.update(schema_sessions)
    .where(schema_sessions.c.id == bindparam("session"))
    .values(message_count=bindparam("count"), tool_call_count=bindparam("tool_calls"), preview=bindparam("head"))
)
