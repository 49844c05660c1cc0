"""Messages, with what they carry and what the agent did while it answered.

The text of an answer that streams is in its delta events alone; `finish` writes it into the row, once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import sqlalchemy as sa
from sqlalchemy import ColumnElement, Connection, Row, bindparam, func, select, update

from hermes.core.errors import NotFound
from hermeslink.core.conversation import AgentEvent, Message, MessageStatus, Role

from . import blobs as blob_store
from . import search
from .encoding import clean, from_json, to_json
from .schema import agent_events, conversations, events, messages


def insert(conn: Connection, message: Message) -> Message:
    """At the end of its conversation, whose count, and time of change, it moves. Returns it with its position.

    Raises NotFound `conversation_not_found`.
    """
    position = conn.execute(
        update(conversations)
        .where(conversations.c.id == message.conversation_id)
        .values(message_count=conversations.c.message_count + 1, updated_at=message.created_at)
        .returning(conversations.c.message_count)
    ).scalar()
    if position is None:
        raise NotFound(f"no conversation {message.conversation_id!r}", code="conversation_not_found")
    text = clean(message.text)
    added = conn.execute(
        sa.insert(messages).values(
            id=message.id,
            conversation_id=message.conversation_id,
            position=position,
            role=message.role,
            status=message.status,
            run_id=message.run_id,
            client_message_id=message.client_message_id,
            device_id=message.device_id,
            sender_name=message.sender_name,
            profile=message.profile,
            text=text,
            reasoning=clean(message.reasoning),
            said_through=0,
            usage=_json(message.usage),
            error=_json(message.error),
            created_at=message.created_at,
            updated_at=message.updated_at,
        )
    )
    blob_store.attach(conn, message.id, message.attachments)
    if text:
        assert added.inserted_primary_key is not None
        search.index_message(conn, added.inserted_primary_key[0], text)
    return replace(message, position=position, text=text)


def get(conn: Connection, message_id: str) -> Message | None:
    found = _with_all(conn, conn.execute(select(*_COLUMNS).where(messages.c.id == message_id)).all())
    return found[0] if found else None


def page(conn: Connection, conversation_id: str, limit: int, before_position: int | None = None) -> list[Message]:
    """The newest ones before that place, the oldest of them first."""
    query = select(*_COLUMNS).where(messages.c.conversation_id == conversation_id)
    if before_position is not None:
        query = query.where(messages.c.position < before_position)
    rows = conn.execute(query.order_by(messages.c.position.desc()).limit(limit)).all()
    return _with_all(conn, rows[::-1])


def after(conn: Connection, conversation_id: str, position: int, limit: int = 1000) -> list[Message]:
    """Those behind that place, in order."""
    query = select(*_COLUMNS).where(messages.c.conversation_id == conversation_id, messages.c.position > position)
    return _with_all(conn, conn.execute(query.order_by(messages.c.position).limit(limit)).all())


def position_of(conn: Connection, conversation_id: str, message_id: str) -> int | None:
    """None: it is no message of that conversation."""
    found: int | None = conn.execute(
        select(messages.c.position).where(messages.c.conversation_id == conversation_id, messages.c.id == message_id)
    ).scalar()
    return found


def set_status(conn: Connection, message_id: str, status: MessageStatus, now: float) -> None:
    conn.execute(update(messages).where(messages.c.id == message_id).values(status=status, updated_at=now))


def finish(
    conn: Connection,
    message_id: str,
    status: MessageStatus,
    now: float,
    *,
    text: str | None = None,
    usage: Mapping[str, Any] | None = None,
    error: Mapping[str, Any] | None = None,
) -> None:
    """Writes what was said into the row. `text`: what the answer is in the end; None: what its events say.

    Raises NotFound `message_not_found`: its conversation was deleted.
    """
    said, reasoning = said_so_far(conn, message_id)
    text = said if text is None else clean(text)
    number = conn.execute(
        update(messages)
        .where(messages.c.id == message_id)
        .values(
            status=status,
            text=text,
            reasoning=reasoning,
            usage=_json(usage),
            error=_json(error),
            updated_at=now,
        )
        .returning(messages.c.number)
    ).scalar()
    if number is None:
        raise NotFound(f"no message {message_id!r}", code="message_not_found")
    search.index_message(conn, number, text)


def used_tokens(conn: Connection, conversation_id: str) -> int | None:
    """How much of its window the newest answer took; None: no answer said so."""
    found = conn.scalar(
        select(messages.c.usage)
        .where(messages.c.conversation_id == conversation_id, messages.c.usage.is_not(None))
        .order_by(messages.c.position.desc())
        .limit(1)
    )
    usage = {} if found is None else from_json(found)
    try:
        return int(usage["input_tokens"]) + int(usage["output_tokens"])
    except (KeyError, TypeError):
        return None


def said_so_far(conn: Connection, message_id: str) -> tuple[str, str]:
    """(text, reasoning) of one that streams: of its row, then of its delta events."""
    return _said(conn, [message_id]).get(message_id, ("", ""))


def rewind(conn: Connection, message_id: str, text_length: int, reasoning_length: int, now: float) -> None:
    """An answer that streams is taken back to so many characters. Its events stay as they were told; from here on the
    row has what they are worth."""
    text, reasoning = said_so_far(conn, message_id)
    last = select(func.coalesce(func.max(events.c.number), 0)).where(events.c.message_id == message_id)
    conn.execute(
        update(messages)
        .where(messages.c.id == message_id)
        .values(
            text=text[:text_length],
            reasoning=reasoning[:reasoning_length],
            said_through=last.scalar_subquery(),
            updated_at=now,
        )
    )


def start_agent_event(conn: Connection, message_id: str, event: AgentEvent) -> None:
    """One of that id is there already: it is as it was (a call that was told twice)."""
    known = select(agent_events.c.id).where(agent_events.c.message_id == message_id, agent_events.c.id == event.id)
    if conn.execute(known).first() is not None:
        return
    count = select(func.count()).select_from(agent_events).where(agent_events.c.message_id == message_id)
    conn.execute(
        sa.insert(agent_events).values(
            id=event.id,
            message_id=message_id,
            position=conn.execute(count).scalar_one() + 1,
            type=event.type,
            status=event.status,
            started_at=event.started_at,
            completed_at=event.completed_at,
            payload=to_json(event.payload),
        )
    )


def finish_agent_event(
    conn: Connection, message_id: str, event_id: str, status: str, now: float, payload: Mapping[str, Any]
) -> None:
    """`payload` is added to what it had. Nothing happens where it was never started."""
    where = (agent_events.c.message_id == message_id, agent_events.c.id == event_id)
    had = conn.execute(select(agent_events.c.payload).where(*where)).scalar()
    if had is not None:
        merged = to_json({**from_json(had), **payload})
        conn.execute(update(agent_events).where(*where).values(status=status, completed_at=now, payload=merged))


def waiting_questions(conn: Connection, message_id: str) -> Sequence[str]:
    """The ids of what the agent asked while it wrote this message, and nobody has answered."""
    where = (agent_events.c.message_id == message_id, agent_events.c.type == "question")
    query = select(agent_events.c.id).where(*where, agent_events.c.status == "waiting")
    return conn.execute(query.order_by(agent_events.c.position)).scalars().all()


def _json(value: Mapping[str, Any] | None) -> str | None:
    return None if value is None else to_json(value)


_COLUMNS: Sequence[ColumnElement[Any]] = (
    messages.c.id,
    messages.c.conversation_id,
    messages.c.position,
    messages.c.role,
    messages.c.status,
    messages.c.run_id,
    messages.c.sender_name,
    messages.c.profile,
    messages.c.created_at,
    messages.c.updated_at,
    messages.c.text,
    messages.c.reasoning,
    messages.c.client_message_id,
    messages.c.device_id,
    messages.c.usage,
    messages.c.error,
)


def _with_all(conn: Connection, rows: Sequence[Row[Any]]) -> list[Message]:
    ids = [row.id for row in rows]
    if not ids:
        return []
    carried = blob_store.attached(conn, ids)
    done = _agent_events(conn, ids)
    said = _said(conn, [row.id for row in rows if row.status == MessageStatus.STREAMING])
    made = []
    for row in rows:
        values: dict[str, Any] = dict(row._mapping)
        values["text"], values["reasoning"] = said.get(row.id, (row.text, row.reasoning))
        values["role"], values["status"] = Role(row.role), MessageStatus(row.status)
        for name in ("usage", "error"):
            values[name] = None if values[name] is None else from_json(values[name])
        made.append(
            Message(**values, attachments=tuple(carried.get(row.id, ())), agent_events=tuple(done.get(row.id, ())))
        )
    return made


def _agent_events(conn: Connection, ids: Sequence[str]) -> dict[str, list[AgentEvent]]:
    rows = conn.execute(
        select(agent_events)
        .where(agent_events.c.message_id.in_(ids))
        .order_by(agent_events.c.message_id, agent_events.c.position)
    )
    found: dict[str, list[AgentEvent]] = {}
    for row in rows:
        event = AgentEvent(
            id=row.id,
            type=row.type,
            status=row.status,
            started_at=row.started_at,
            completed_at=row.completed_at,
            payload=from_json(row.payload),
        )
        found.setdefault(row.message_id, []).append(event)
    return found


def _said(conn: Connection, ids: Sequence[str]) -> dict[str, tuple[str, str]]:
    """Of messages that stream: (text, reasoning)."""
    found: dict[str, tuple[str, str]] = {}
    for message_id in ids:
        row = conn.execute(_ROW_TEXT, {"of": message_id}).first()
        texts, thoughts = ([row.text], [row.reasoning]) if row is not None else ([], [])
        said_through = row.said_through if row is not None else 0
        for (payload,) in conn.execute(_DELTAS, {"of": message_id, "behind": said_through}):
            piece = from_json(payload)
            texts.append(piece.get("text") or "")
            thoughts.append(piece.get("reasoning") or "")
        found[message_id] = ("".join(texts), "".join(thoughts))
    return found


_ROW_TEXT = select(messages.c.text, messages.c.reasoning, messages.c.said_through).where(
    messages.c.id == bindparam("of")
)
_DELTAS = (
    select(events.c.payload)
    .where(
        events.c.message_id == bindparam("of"),
        events.c.type == "message.delta",
        events.c.number > bindparam("behind"),
    )
    .order_by(events.c.number)
)
