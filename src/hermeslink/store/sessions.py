"""Which session of an API server a conversation is, one with each profile that it was held with.

`known_position`: everything said in the conversation up to that message is in the session. Where something was said
elsewhere, or the session is not there any more, it stays behind for ever and each run brings the history along.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, select, update
from sqlalchemy.dialects.sqlite import insert

from .schema import sessions


@dataclass(frozen=True, slots=True)
class Session:
    """`title`: what it and its conversation both had when they were last compared."""

    session_id: str
    known_position: int
    title: str | None = None


def get(conn: Connection, conversation_id: str, profile: str) -> Session | None:
    row = conn.execute(
        select(sessions.c.session_id, sessions.c.known_position, sessions.c.title).where(
            sessions.c.conversation_id == conversation_id, sessions.c.profile == profile
        )
    ).one_or_none()
    return None if row is None else Session(row.session_id, row.known_position, row.title)


def put(conn: Connection, conversation_id: str, profile: str, session: Session) -> None:
    row = insert(sessions).values(
        conversation_id=conversation_id,
        profile=profile,
        session_id=session.session_id,
        known_position=session.known_position,
        title=session.title,
    )
    new = {name: row.excluded[name] for name in ("session_id", "known_position", "title")}
    conn.execute(row.on_conflict_do_update(index_elements=["conversation_id", "profile"], set_=new))


def of_conversation(conn: Connection, conversation_id: str) -> list[tuple[str, Session]]:
    """(profile, session) of each."""
    rows = conn.execute(select(sessions).where(sessions.c.conversation_id == conversation_id))
    return [(row.profile, Session(row.session_id, row.known_position, row.title)) for row in rows]


def advance(conn: Connection, conversation_id: str, profile: str, known_position: int) -> None:
    _change(conn, conversation_id, profile, known_position=known_position)


def set_title(conn: Connection, conversation_id: str, profile: str, title: str) -> None:
    _change(conn, conversation_id, profile, title=title)


def _change(conn: Connection, conversation_id: str, profile: str, **values: Any) -> None:
    conn.execute(
        update(sessions)
        .where(sessions.c.conversation_id == conversation_id, sessions.c.profile == profile)
        .values(values)
    )
