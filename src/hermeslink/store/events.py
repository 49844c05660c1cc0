"""The events of conversations: numbered here, kept before they are shown.

Delta events are the text of a message that streams: nothing of it is written twice until its end.
"""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Connection, bindparam, delete, insert, select, update

from hermes.core.errors import NotFound
from hermeslink.core.conversation import LinkEvent, NewEvent

from .encoding import to_json
from .schema import conversations, events


def append(conn: Connection, conversation_id: str, new: Sequence[NewEvent], now: float) -> list[LinkEvent]:
    """Raises NotFound `conversation_not_found`: it may have been deleted while its run went on."""
    if not new:
        return []
    last_seq = conn.execute(_COUNT, {"of": conversation_id, "more": len(new)}).scalar()
    if last_seq is None:
        raise NotFound(f"no conversation {conversation_id!r}", code="conversation_not_found")
    first_seq = last_seq - len(new) + 1
    rows = [
        {
            "conversation_id": conversation_id,
            "seq": first_seq + at,
            "type": one.type,
            "message_id": one.message_id,
            "run_id": one.run_id,
            "payload": to_json(one.payload),
            "created_at": now,
        }
        for at, one in enumerate(new)
    ]
    first = conn.execute(_INSERT, rows[0]).lastrowid
    if len(rows) > 1:  # nobody else writes in this transaction, so what follows is free
        conn.execute(_INSERT, [{**row, "number": first + at} for at, row in enumerate(rows) if at])
    return [
        LinkEvent(
            first + at,
            conversation_id,
            first_seq + at,
            one.type,
            str(row["payload"]),
            now,
            one.message_id,
            one.run_id,
        )
        for at, (one, row) in enumerate(zip(new, rows, strict=True))
    ]


def after(conn: Connection, conversation_id: str | None, position: int, limit: int = 500) -> list[LinkEvent]:
    """In order, of all conversations (`position` is a number) or of one (`position` is a seq)."""
    if conversation_id is None:
        rows = conn.execute(_AFTER_NUMBER, {"after": position, "most": limit})
    else:
        rows = conn.execute(_AFTER_SEQ, {"of": conversation_id, "after": position, "most": limit})
    return [LinkEvent(*row) for row in rows]


def last_position(conn: Connection, conversation_id: str | None) -> int:
    """The number, or the seq, of the newest event that is kept; 0: there is none."""
    if conversation_id is None:
        return int(conn.execute(_LAST_NUMBER).scalar() or 0)
    return int(conn.execute(_LAST_SEQ, {"of": conversation_id}).scalar() or 0)


def is_over(conn: Connection, conversation_id: str, after_seq: int) -> bool:
    """Whether there is no such conversation, and nothing to tell about it to somebody who knows it up to there."""
    if conn.execute(select(conversations.c.id).where(conversations.c.id == conversation_id)).first() is not None:
        return False
    return after_seq <= 0 or not after(conn, conversation_id, after_seq, 1)


def forget(conn: Connection, conversation_id: str, before_seq: int) -> None:
    """All of a conversation's but the last: that it was deleted."""
    conn.execute(
        delete(events).where(events.c.conversation_id == conversation_id, events.c.seq < before_seq),
    )


_COUNT = (
    update(conversations)
    .where(conversations.c.id == bindparam("of"))
    .values(last_event_seq=conversations.c.last_event_seq + bindparam("more"))
    .returning(conversations.c.last_event_seq)
)
_INSERT = insert(events).inline()
_COLUMNS = (
    events.c.number,
    events.c.conversation_id,
    events.c.seq,
    events.c.type,
    events.c.payload,
    events.c.created_at,
    events.c.message_id,
    events.c.run_id,
)
_AFTER_NUMBER = (
    select(*_COLUMNS).where(events.c.number > bindparam("after")).order_by(events.c.number).limit(bindparam("most"))
)
_AFTER_SEQ = (
    select(*_COLUMNS)
    .where(events.c.conversation_id == bindparam("of"), events.c.seq > bindparam("after"))
    .order_by(events.c.seq)
    .limit(bindparam("most"))
)
_LAST_NUMBER = select(events.c.number).order_by(events.c.number.desc()).limit(1)
_LAST_SEQ = (
    select(events.c.seq).where(events.c.conversation_id == bindparam("of")).order_by(events.c.seq.desc()).limit(1)
)
