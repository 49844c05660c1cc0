"""Link's sending in front of a stand-in for the API server, without HTTP of its own."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hermes.core.clock import SystemClock
from hermes.store.database import Connection, Database
from hermeslink.blobs.attaching import Attaching
from hermeslink.blobs.blobs import Blobs
from hermeslink.blobs.folder import Folder
from hermeslink.blobs.inboxes import Inboxes
from hermeslink.conversations.approvals import Approvals
from hermeslink.conversations.log import EventLog
from hermeslink.conversations.sending import Sending
from hermeslink.conversations.turn import Outgoing
from hermeslink.core.caller import Caller
from hermeslink.core.conversation import LinkEvent, Message
from hermeslink.core.device import Scope
from hermeslink.core.ids import new_id
from hermeslink.hermes.servers import ApiServers
from hermeslink.store import conversations as conversation_store
from hermeslink.store import events as event_store
from hermeslink.store import messages as message_store
from hermeslink.store import runs as run_store
from tests.support.link_conversations import conversation

LINK_ID = f"link_{'1' * 32}"
PHONE = Caller(f"dev_{'1' * 32}", Scope.ADMIN)
GUEST = Caller(f"dev_{'2' * 32}", Scope.CHAT)
WAIT_SECONDS = 20.0


@dataclass
class Desk:
    """`home` is what ApiServers finds the stand-in by."""

    database: Database
    log: EventLog
    servers: ApiServers
    blobs: Blobs
    sending: Sending
    approvals: Approvals

    async def new_conversation(self, **values: Any) -> str:
        made = conversation(at=1.0, **values)
        await self.database.write(conversation_store.insert, made)
        return made.id

    async def send(self, conversation_id: str, text: str, key: str | None = None, **values: Any) -> dict[str, Any]:
        return await self.sending.send(conversation_id, Outgoing(text, **values), PHONE, key)

    async def events(self, conversation_id: str) -> list[LinkEvent]:
        return await self.database.read(event_store.after, conversation_id, 0, 100_000)

    async def messages(self, conversation_id: str) -> list[Message]:
        return await self.database.read(message_store.page, conversation_id, 1000)

    async def until(self, conversation_id: str, is_it: Callable[[LinkEvent], bool]) -> LinkEvent:
        """The first event of that kind, kept already or still to come."""
        async with asyncio.timeout(WAIT_SECONDS):
            async for event in self.log.follow(conversation_id):
                if is_it(event):
                    return event
        raise AssertionError("the events ended")

    async def until_run_ends(self, conversation_id: str, run_id: str) -> LinkEvent:
        ends = ("run.completed", "run.failed", "run.cancelled")
        return await self.until(conversation_id, lambda event: event.type in ends and event.run_id == run_id)

    async def until_idle(self, conversation_id: str) -> None:
        for run in await self.database.read(run_store.open_runs, conversation_id):
            await self.until_run_ends(conversation_id, run.id)


@asynccontextmanager
async def desk(home: Path, database: Database, **settings: float) -> AsyncIterator[Desk]:
    """One life of Link: what is under way when it ends breaks off."""
    clock = SystemClock()
    log = EventLog(database, clock, wake_seconds=0.0)
    async with ApiServers(home, clock, {}) as servers:
        blobs = Blobs(database, Folder(home / "link" / "blobs"), Inboxes(home, lambda: LINK_ID), clock)
        sending = Sending(log, database, servers, Attaching(blobs), clock, **settings)
        try:
            async with sending.running():
                yield Desk(database, log, servers, blobs, sending, Approvals(log, database, servers, clock))
        finally:
            await log.close()


def types(events: Sequence[LinkEvent]) -> list[str]:
    return [event.type for event in events]


def text_of(events: Sequence[LinkEvent], message_id: str) -> str:
    """What a device has that knows the events alone."""
    text = ""
    for event in events:
        if event.message_id != message_id:
            continue
        payload = event.payload
        if event.type == "message.delta":
            text += payload.get("text", "")
        elif "message" in payload:
            text = "".join(part["text"] for part in payload["message"]["parts"] if part["type"] == "text")
    return text


def unknown_conversation() -> str:
    return new_id("conv")


__all__ = ["GUEST", "PHONE", "Connection", "Desk", "desk", "text_of", "types", "unknown_conversation"]
