"""A conversation and its sessions have one title, whichever of them it was changed in."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from hermes.core.clock import Clock
from hermes.core.errors import HermesError
from hermes.store.database import Connection, Database
from hermeslink.conversations.log import EventLog
from hermeslink.conversations.titles import agreed
from hermeslink.conversations.views import conversation_json
from hermeslink.core.conversation import Conversation, LinkEvent, NewEvent
from hermeslink.hermes.servers import ApiServers
from hermeslink.store import conversations as conversation_store
from hermeslink.store import events as event_store
from hermeslink.store import sessions as session_store
from hermeslink.store.sessions import Session

log = logging.getLogger(__name__)

LONGEST = 200
"""Of a session's title."""


class SessionTitles:
    def __init__(self, log: EventLog, database: Database, servers: ApiServers, clock: Clock) -> None:
        self._log = log
        self._database = database
        self._servers = servers
        self._clock = clock

    async def agree(self, conversation_id: str) -> None:
        """With the session of its profile. What cannot be done now is done after the next answer."""
        try:
            conversation, session = await self._database.read(_both, conversation_id)
            if session is None:
                return
            server = self._servers.of(conversation.profile)
            theirs = (await server.session(session.session_id)).get("title")
            title = agreed(conversation.title, theirs if isinstance(theirs, str) else None, session.title)
            if not title:
                return
            if title[:LONGEST] != theirs:
                await server.rename_session(session.session_id, title[:LONGEST])
            if (title, title) != (conversation.title, session.title):
                change = (conversation_id, conversation.profile, conversation.title, title, self._clock.now())
                await self._log.write(_take_over, *change)
        except HermesError as error:
            log.info("the title of %s is not compared now: %s", conversation_id, error.message)


def _both(conn: Connection, conversation_id: str) -> tuple[Conversation, Session | None]:
    conversation = conversation_store.get(conn, conversation_id)
    return conversation, session_store.get(conn, conversation_id, conversation.profile)


def _take_over(
    conn: Connection, conversation_id: str, profile: str, seen: str, title: str, now: float
) -> tuple[None, Sequence[LinkEvent]]:
    """`seen`: the conversation's title when they were compared; one that was given since stays."""
    conversation = conversation_store.get(conn, conversation_id)
    if conversation.title != seen:
        return None, []
    session_store.set_title(conn, conversation_id, profile, title)
    if title == seen:
        return None, []
    conversation_store.set_title(conn, conversation_id, title, now, is_own=True)
    changed = conversation_json(conversation_store.get(conn, conversation_id))
    changed["last_event_seq"] += 1
    return None, event_store.append(
        conn, conversation_id, [NewEvent("conversation.updated", {"conversation": changed})], now
    )
