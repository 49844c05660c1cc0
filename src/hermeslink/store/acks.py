"""How far each device has read each conversation."""

from __future__ import annotations

from sqlalchemy import Connection, func, select
from sqlalchemy.dialects.sqlite import insert

from hermes.core.errors import NotFound

from .schema import acks, conversations


def ack(conn: Connection, conversation_id: str, device_id: str, seq: int, now: float) -> int:
    """Never goes back, and never beyond the newest event. Returns where it stands.

    Raises NotFound `conversation_not_found`.
    """
    last = conn.scalar(select(conversations.c.last_event_seq).where(conversations.c.id == conversation_id))
    if last is None:
        raise NotFound(f"no conversation {conversation_id[:64]!r}", code="conversation_not_found")
    row = {"conversation_id": conversation_id, "device_id": device_id, "seq": min(seq, last), "updated_at": now}
    adding = insert(acks).values(row)
    return int(
        conn.execute(
            adding.on_conflict_do_update(
                index_elements=[acks.c.conversation_id, acks.c.device_id],
                set_={"seq": func.max(acks.c.seq, adding.excluded.seq), "updated_at": now},
            ).returning(acks.c.seq)
        ).scalar_one()
    )


def acked(conn: Connection, conversation_id: str, device_id: str) -> int:
    """0: nothing yet."""
    of_device = (acks.c.conversation_id == conversation_id) & (acks.c.device_id == device_id)
    return int(conn.scalar(select(acks.c.seq).where(of_device)) or 0)
