"""What is known of attached files; their bytes lie in blobs/, under the SHA-256 of the content."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import asdict
from typing import Any

from sqlalchemy import Row, delete, exists, insert, select

from hermes.store.database import Connection
from hermeslink.core.blob import Blob
from hermeslink.store.schema import attachments, blobs, conversations

_AT_ONCE = 500
"""Values in one statement: SQLite takes no more than some thousands."""


def has_conversation(conn: Connection, conversation_id: str) -> bool:
    return bool(conn.scalar(select(exists().where(conversations.c.id == conversation_id))))


def add(conn: Connection, blob: Blob) -> bool:
    """False: its conversation is gone."""
    if not has_conversation(conn, blob.conversation_id):
        return False
    conn.execute(insert(blobs).values(asdict(blob)))
    return True


def get(conn: Connection, conversation_id: str, blob_id: str) -> Blob | None:
    """None also for one of another conversation."""
    mine = (blobs.c.id == blob_id) & (blobs.c.conversation_id == conversation_id)
    row = conn.execute(select(blobs).where(mine)).one_or_none()
    return None if row is None else _blob(row)


def get_many(conn: Connection, conversation_id: str, blob_ids: Sequence[str]) -> list[Blob]:
    """In the order asked for; those that are not there, or are another conversation's, are left out."""
    asked = blobs.c.id.in_(blob_ids) & (blobs.c.conversation_id == conversation_id)
    found = {row.id: _blob(row) for row in conn.execute(select(blobs).where(asked))}
    return [found[blob_id] for blob_id in blob_ids if blob_id in found]


def attach(conn: Connection, message_id: str, attached: Sequence[Blob]) -> None:
    """In the transaction that makes the message."""
    rows = [{"message_id": message_id, "position": i, "blob_id": blob.id} for i, blob in enumerate(attached)]
    if rows:
        conn.execute(insert(attachments), rows)


def attached(conn: Connection, message_ids: Sequence[str]) -> dict[str, list[Blob]]:
    """What messages carry, in their order; a message that carries nothing is left out."""
    of: dict[str, list[Blob]] = {}
    joined = attachments.join(blobs, attachments.c.blob_id == blobs.c.id)
    for some in _in_parts(message_ids):
        rows = conn.execute(
            select(attachments.c.message_id, *blobs.c)
            .select_from(joined)
            .where(attachments.c.message_id.in_(some))
            .order_by(attachments.c.message_id, attachments.c.position)
        )
        for message_id, *row in rows:
            of.setdefault(message_id, []).append(Blob(*row))
    return of


def is_used(conn: Connection, blob_id: str) -> bool:
    return bool(conn.scalar(select(exists().where(attachments.c.blob_id == blob_id))))


def remove(conn: Connection, blob: Blob) -> bool:
    """False: a message carries it. One that is gone already is no matter."""
    if is_used(conn, blob.id):
        return False
    conn.execute(delete(blobs).where(blobs.c.id == blob.id))
    return True


def forget(conn: Connection, conversation_ids: Collection[str]) -> list[Blob]:
    """Those of conversations, which go; what it returned is to be given to `Blobs.collect` once that is committed."""
    gone = [
        _blob(row)
        for some in _in_parts(conversation_ids)
        for row in conn.execute(select(blobs).where(blobs.c.conversation_id.in_(some)))
    ]
    for some in _in_parts(conversation_ids):
        conn.execute(delete(blobs).where(blobs.c.conversation_id.in_(some)))
    return gone


def unnamed(conn: Connection, contents: Collection[str]) -> set[str]:
    """Which of these SHA-256 no blob has."""
    named = {
        sha256
        for some in _in_parts(contents)
        for sha256 in conn.scalars(select(blobs.c.sha256).where(blobs.c.sha256.in_(some)))
    }
    return set(contents) - named


def gone(conn: Connection, blob_ids: Collection[str]) -> set[str]:
    """Which of these ids are no blob's."""
    there = {
        blob_id
        for some in _in_parts(blob_ids)
        for blob_id in conn.scalars(select(blobs.c.id).where(blobs.c.id.in_(some)))
    }
    return set(blob_ids) - there


def _blob(row: Row[Any]) -> Blob:
    return Blob(**row._mapping)


def _in_parts(values: Iterable[str]) -> list[list[str]]:
    every = list(values)
    return [every[i : i + _AT_ONCE] for i in range(0, len(every), _AT_ONCE)]
