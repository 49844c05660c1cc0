"""Conversations: their rows, their lists, their end."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection, Row, select, update

from hermes.core.errors import NotFound
from hermeslink.core.blob import Blob
from hermeslink.core.conversation import Conversation, ConversationStatus, LinkEvent, NewEvent, Stats

from . import blobs as blob_store
from . import events as event_store
from . import runs as run_store
from . import search
from .encoding import clean
from .schema import conversations, runs


def insert(conn: Connection, conversation: Conversation) -> None:
    title = clean(conversation.title)
    added = conn.execute(
        sa.insert(conversations).values(
            id=conversation.id,
            title=title,
            has_own_title=conversation.has_own_title,
            status=conversation.status,
            profile=conversation.profile,
            model_override=conversation.model_override,
            created_at=conversation.created_at,
            updated_at=conversation.updated_at,
            last_event_seq=conversation.last_event_seq,
            input_tokens=0,
            output_tokens=0,
            message_count=0,
            run_count=0,
        )
    )
    assert added.inserted_primary_key is not None
    search.index_title(conn, added.inserted_primary_key[0], title)


def get(conn: Connection, conversation_id: str) -> Conversation:
    """Raises NotFound `conversation_not_found`."""
    row = conn.execute(select(*COLUMNS).where(conversations.c.id == conversation_id)).first()
    if row is None:
        raise NotFound(f"no conversation {conversation_id[:64]!r}", code="conversation_not_found")
    return from_row(row)


def set_title(conn: Connection, conversation_id: str, title: str, now: float, *, is_own: bool = True) -> None:
    """`is_own`: a person gave it. One that is made does not replace a person's."""
    title = clean(title)
    query = update(conversations).where(conversations.c.id == conversation_id)
    if not is_own:
        query = query.where(sa.not_(conversations.c.has_own_title))
    number = conn.execute(
        query.values(
            title=title, has_own_title=sa.or_(conversations.c.has_own_title, sa.literal(is_own)), updated_at=now
        ).returning(conversations.c.number)
    ).scalar()
    if number is not None:
        search.index_title(conn, number, title)


def set_profile(conn: Connection, conversation_id: str, profile: str, now: float) -> None:
    _change(conn, conversation_id, profile=profile, updated_at=now)


def set_model(conn: Connection, conversation_id: str, model: str | None, now: float) -> None:
    _change(conn, conversation_id, model_override=model, updated_at=now)


def set_status(conn: Connection, conversation_id: str, status: ConversationStatus, now: float) -> None:
    _change(conn, conversation_id, status=status, updated_at=now)


def add_usage(
    conn: Connection,
    conversation_id: str,
    now: float,
    *,
    input_tokens: int,
    output_tokens: int,
    model: str | None,
    provider: str | None = None,
    context_window: int | None = None,
) -> None:
    """Of a run that ended. What is None stays as it was; the window of another model is not this one's."""
    known: dict[str, Any] = {
        "last_model": model,
        "last_provider": provider,
        "context_window": context_window,
    }
    if model is not None and context_window is None:
        known["context_window"] = sa.case((conversations.c.last_model == model, conversations.c.context_window))
    _change(
        conn,
        conversation_id,
        input_tokens=conversations.c.input_tokens + input_tokens,
        output_tokens=conversations.c.output_tokens + output_tokens,
        run_count=conversations.c.run_count + 1,
        stats_updated_at=now,
        updated_at=now,
        **{name: value for name, value in known.items() if value is not None},
    )


def delete(conn: Connection, conversation_id: str, now: float) -> tuple[list[Blob], list[LinkEvent]]:
    """With all that belongs to it; of its events the last one is left, which tells it. A run that its API server has is
    to be stopped. Returns its blobs, which are to be given to `Blobs.collect` once that is committed.

    Raises NotFound `conversation_not_found`.
    """
    gone = event_store.append(
        conn, conversation_id, [NewEvent("conversation.deleted", {"conversation_id": conversation_id})], now
    )
    run_store.owe_stops(conn, conversation_id, now)
    number = conn.execute(select(conversations.c.number).where(conversations.c.id == conversation_id)).scalar_one()
    event_store.forget(conn, conversation_id, gone[0].seq)
    search.forget(conn, number, conversation_id)
    blobs = blob_store.forget(conn, [conversation_id])
    conn.execute(sa.delete(conversations).where(conversations.c.id == conversation_id))
    return blobs, gone


def from_row(row: Row[Any]) -> Conversation:
    return Conversation(
        id=row.id,
        title=row.title,
        has_own_title=bool(row.has_own_title),
        status=ConversationStatus(row.status),
        profile=row.profile,
        model_override=row.model_override,
        created_at=row.created_at,
        updated_at=row.updated_at,
        last_event_seq=row.last_event_seq,
        active_run_id=row.active_run_id,
        stats=Stats(
            input_tokens=row.input_tokens,
            output_tokens=row.output_tokens,
            message_count=row.message_count,
            run_count=row.run_count,
            model=row.last_model,
            provider=row.last_provider,
            context_window=row.context_window,
            updated_at=row.stats_updated_at,
        ),
    )


def _change(conn: Connection, conversation_id: str, **values: Any) -> None:
    done = conn.execute(update(conversations).where(conversations.c.id == conversation_id).values(**values))
    if not done.rowcount:
        raise NotFound(f"no conversation {conversation_id[:64]!r}", code="conversation_not_found")


OPEN = ("queued", "running")
"""Of runs that have not ended."""

COLUMNS: Sequence[sa.ColumnElement[Any]] = (
    *conversations.c,
    select(runs.c.id)
    .where(runs.c.conversation_id == conversations.c.id, runs.c.status.in_(OPEN))
    .order_by(runs.c.number)
    .limit(1)
    .scalar_subquery()
    .label("active_run_id"),
)
