"""All sessions with what was said and done in them, whoever owns them, a page at a time: for an export."""

from __future__ import annotations

from collections.abc import Iterator

import sqlalchemy as sa
from sqlalchemy import Connection, bindparam

from hermes.core.event import KeptEvent
from hermes.core.run import Run
from hermes.core.session import KeptMessage, Session

from . import events as event_store
from . import runs as run_store
from . import schema
from . import sessions as session_store
from .statement import Statement

PAGE = 200


def sessions(conn: Connection, only: str | None = None) -> Iterator[Session]:
    """By id; one of them where it is named."""
    if only is not None:
        session = session_store.get(conn, only)
        yield from () if session is None else (session,)
        return
    after = ""
    while rows := _SESSIONS.all(conn, {"after": after, "page": PAGE}):
        for row in rows:
            session = session_store.from_row(row)
            after = session.id
            yield session


def messages(conn: Connection, session: Session) -> Iterator[KeptMessage]:
    """Oldest first."""
    after = 0
    while page := session_store.messages(conn, session.id, after, PAGE):
        yield from page
        after = page[-1].id


def runs(conn: Connection, session: Session) -> Iterator[Run]:
    """Newest first."""
    before: tuple[float, str] | None = None
    while page := run_store.list_runs(conn, session.owner, session_id=session.id, limit=PAGE, before=before):
        yield from page
        before = page[-1].created_at, page[-1].id


def events(conn: Connection, run: Run) -> Iterator[KeptEvent]:
    after = 0
    while page := event_store.after(conn, run.id, after, PAGE):
        yield from page
        after = page[-1].seq


_SESSIONS = Statement(
    sa.select(*session_store.COLUMNS)
    .where(schema.sessions.c.id > bindparam("after"))
    .order_by(schema.sessions.c.id)
    .limit(bindparam("page"))
)
