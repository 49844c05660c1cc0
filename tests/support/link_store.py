"""A database of Link's with as many conversations as a test needs."""

from __future__ import annotations

from typing import Any

from sqlalchemy import insert

from hermes.store.database import Connection, Database
from hermeslink.core.ids import new_id
from hermeslink.store.schema import LINK, conversations, messages
from tests.support import database as databases


async def open_database() -> Database:
    return await Database.open(databases.new_url(), LINK)


async def add_conversation(database: Database, **fields: Any) -> str:
    values: dict[str, Any] = {"id": new_id("conv"), "title": "", "has_own_title": False, "status": "active"}
    values |= {"profile": "default", "created_at": 1.0, "updated_at": 1.0, "last_event_seq": 0}
    values |= {"input_tokens": 0, "output_tokens": 0, "message_count": 0, "run_count": 0}
    await database.write(_insert, conversations, values | fields)
    return str((values | fields)["id"])


async def add_message(database: Database, conversation_id: str, position: int = 1) -> str:
    values = {"id": new_id("msg"), "conversation_id": conversation_id, "position": position, "role": "user"}
    values |= {"status": "completed", "run_id": new_id("run"), "sender_name": "", "profile": "default", "text": ""}
    await database.write(_insert, messages, values | {"reasoning": "", "created_at": 1.0, "updated_at": 1.0})
    return str(values["id"])


def _insert(conn: Connection, table: Any, values: dict[str, Any]) -> None:
    conn.execute(insert(table).values(values))
