"""What was answered to a message that has a name of its sender's, so that the same one again gets the same answer."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Connection, delete, insert, select

from .schema import sent


@dataclass(frozen=True, slots=True)
class Sent:
    """`fingerprint`: SHA-256 of what was sent. `answer`: JSON."""

    fingerprint: str
    answer: str


def get(conn: Connection, key: str) -> Sent | None:
    row = conn.execute(select(sent.c.fingerprint, sent.c.answer).where(sent.c.key == key)).one_or_none()
    return None if row is None else Sent(row.fingerprint, row.answer)


def put(conn: Connection, key: str, conversation_id: str, kept: Sent, now: float) -> None:
    conn.execute(
        insert(sent).values(
            key=key,
            conversation_id=conversation_id,
            fingerprint=kept.fingerprint,
            answer=kept.answer,
            created_at=now,
        )
    )


def forget_before(conn: Connection, at: float) -> int:
    return conn.execute(delete(sent).where(sent.c.created_at < at)).rowcount
