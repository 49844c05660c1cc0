"""What was said last, for the agent's own look back: `hermes.sessions` asks, `store.search` finds words."""

from __future__ import annotations

from functools import cache
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection, bindparam

from hermes.core.session import KeptMessage, Session

from . import messages as message_rows
from .schema import messages, sessions
from .session_list import CHILD_SOURCE
from .sessions import COLUMNS, from_row
from .statement import Statement


def recent(conn: Connection, owner: str, *, limit: int, but_session_id: str, session_key: str | None) -> list[Session]:
    """The owner's other sessions, single chats too, the most recently active first. With a key only its own."""
    values: dict[str, Any] = {"owner": owner, "but": but_session_id, "limit": limit}
    if session_key is not None:
        values["session_key"] = session_key
    return [from_row(row) for row in _recent(session_key is not None).all(conn, values)]


def last_said(conn: Connection, session_id: str, *, limit: int, but_run_id: str) -> list[KeptMessage]:
    """The newest words of people and of the agent in a session, oldest first, without those of one run."""
    rows = _LAST_SAID.all(conn, {"session": session_id, "run": but_run_id, "limit": limit})
    kept = [KeptMessage(place, session_id, run, at, message_rows.decode(row)) for place, run, at, *row in rows]
    return kept[::-1]


@cache
def _recent(with_key: bool) -> Statement:
    query = sa.select(*COLUMNS).where(
        sessions.c.owner == bindparam("owner"),
        sessions.c.id != bindparam("but"),
        sessions.c.source != sa.literal(CHILD_SOURCE),
    )
    if with_key:
        query = query.where(sessions.c.session_key == bindparam("session_key"))
    return Statement(query.order_by(sessions.c.last_active.desc(), sessions.c.id.desc()).limit(bindparam("limit")))


_LAST_SAID = Statement(
    sa.select(
        messages.c.id,
        messages.c.run_id,
        messages.c.created_at,
        *[messages.c[name] for name in message_rows.COLUMNS],
    )
    .where(
        messages.c.session_id == bindparam("session"),
        sa.or_(messages.c.run_id.is_(None), messages.c.run_id != bindparam("run")),
        sa.or_(messages.c.role == sa.literal("user"), messages.c.role == sa.literal("assistant")),
        messages.c.content != sa.literal(""),
    )
    .order_by(messages.c.id.desc())
    .limit(bindparam("limit"))
)
