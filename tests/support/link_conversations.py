"""Conversations for tests of Link that need some."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from hermes.store.database import Connection, Database
from hermeslink.core.conversation import (
    Conversation,
    ConversationStatus,
    Message,
    MessageStatus,
    Role,
)
from hermeslink.core.ids import new_id
from hermeslink.store import conversations as conversation_store
from hermeslink.store import messages as message_store
from hermeslink.store.schema import LINK


@asynccontextmanager
async def link_database(path: Path | None = None) -> AsyncIterator[Database]:
    """In a file where a path is given, else in memory."""
    database = await Database.open("sqlite://" if path is None else f"sqlite:///{path}", LINK)
    try:
        yield database
    finally:
        await database.close()


def conversation(conversation_id: str | None = None, *, at: float = 0.0, **values: Any) -> Conversation:
    given: dict[str, Any] = {
        "title": "",
        "has_own_title": False,
        "status": ConversationStatus.ACTIVE,
        "profile": "default",
        "model_override": None,
    }
    return Conversation(id=conversation_id or new_id("conv"), created_at=at, updated_at=at, **{**given, **values})


def message(conversation_id: str, text: str = "", *, at: float = 0.0, **values: Any) -> Message:
    """One of a person, unless the values say something else."""
    given: dict[str, Any] = {
        "id": new_id("msg"),
        "role": Role.USER,
        "status": MessageStatus.COMPLETED,
        "run_id": new_id("run"),
        "sender_name": "Phone",
        "profile": "default",
    }
    return Message(
        conversation_id=conversation_id,
        position=0,
        text=text,
        created_at=at,
        updated_at=at,
        **{**given, **values},
    )


def keep(conn: Connection, kept: Conversation, *messages: Message) -> list[Message]:
    """Returns the messages with their positions."""
    conversation_store.insert(conn, kept)
    return [message_store.insert(conn, one) for one in messages]


async def add_conversation(database: Database, **values: Any) -> str:
    """Its id."""
    kept = conversation(**values)
    await database.write(keep, kept)
    return kept.id


async def add_message(database: Database, conversation_id: str) -> str:
    """Its id."""
    added = message(conversation_id)
    await database.write(message_store.insert, added)
    return added.id
