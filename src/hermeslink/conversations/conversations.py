"""Conversations as devices ask for them and change them. What is said in them is `sending`'s."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from hermes.core.clock import Clock
from hermes.core.errors import HermesError, InvalidInput, NotFound
from hermes.store.database import Connection, Database
from hermeslink.blobs.blobs import Blobs
from hermeslink.conversations.cursors import cursor_of, key_of
from hermeslink.conversations.log import EventLog
from hermeslink.conversations.views import conversation_json
from hermeslink.core.conversation import Conversation, ConversationStatus, LinkEvent, Message, NewEvent
from hermeslink.core.ids import new_id
from hermeslink.core.text import one_line
from hermeslink.store import acks as ack_store
from hermeslink.store import conversation_list, conversations
from hermeslink.store import events as event_store
from hermeslink.store import messages as message_store
from hermeslink.store.conversation_list import Listed, Listing
from hermeslink.store.snippet import terms_of

Change = Callable[[Connection, float], None]


@dataclass(frozen=True, slots=True)
class ConversationPage:
    """`next_cursor` is None where this is the last one."""

    listed: list[Listed]
    limit: int
    next_cursor: str | None


@dataclass(frozen=True, slots=True)
class MessagePage:
    """All of one moment: the messages hold what the events up to `conversation.last_event_seq` say."""

    conversation: Conversation
    messages: list[Message]
    limit: int
    has_more_before: bool
    has_more_after: bool
    used_tokens: int | None


@dataclass(frozen=True, slots=True)
class Deletion:
    """What became of one. `error` is None where it was deleted."""

    conversation_id: str
    deleted_at: float | None = None
    blobs_deleted: int = 0
    error: HermesError | None = None


class Conversations:
    """`check_profile` raises NotFound `profile_not_found`. `deleted` is called after a conversation has gone: whoever
    conducts runs sets it, and stops what the agent does for it."""

    def __init__(
        self, database: Database, log: EventLog, blobs: Blobs, clock: Clock, check_profile: Callable[[str], object]
    ) -> None:
        self.deleted: Callable[[str], None] = lambda conversation_id: None
        self._database = database
        self._log = log
        self._blobs = blobs
        self._clock = clock
        self._check_profile = check_profile

    # --- to read ---

    async def page(
        self,
        device_id: str,
        *,
        limit: int,
        cursor: str | None = None,
        status: ConversationStatus = ConversationStatus.ACTIVE,
        profile: str | None = None,
        query: str | None = None,
    ) -> ConversationPage:
        """The newest first; with a `query` those in which its words are found, which are none where it has no word.

        Raises InvalidInput `invalid_cursor`.
        """
        before = key_of(cursor) if cursor else None
        terms = () if query is None else terms_of(query)
        if query is not None and not terms:
            return ConversationPage([], limit, None)
        listing = Listing(
            device_id=device_id, limit=limit + 1, status=status, profile=profile, before=before, terms=terms
        )
        found = await self._database.read(conversation_list.page, listing)
        shown = found[:limit]
        return ConversationPage(shown, limit, cursor_of(shown[-1].key) if len(found) > limit else None)

    async def messages(self, conversation_id: str, *, limit: int, before: str | None = None) -> MessagePage:
        """The newest before that message. Raises NotFound `conversation_not_found`, or InvalidInput
        `message_cursor_not_found`."""
        return await self._database.read(_messages, conversation_id, limit, before)

    async def check_events(self, conversation_id: str, after: int) -> None:
        """Raises NotFound where `EventLog.follow` would."""
        if await self._database.read(event_store.is_over, conversation_id, after):
            raise NotFound(f"no conversation {conversation_id[:64]!r}", code="conversation_not_found")

    async def newest_event(self) -> int:
        """The number of the last event of all."""
        return await self._database.read(event_store.last_position, None)

    # --- to change ---

    async def create(
        self, device_id: str, *, title: str | None = None, profile: str | None = None, model: str | None = None
    ) -> Listed:
        """Raises NotFound `profile_not_found`. For who makes it there is nothing unread in it."""
        profile = profile or "default"
        self._check_profile(profile)
        now = self._clock.now()
        made = Conversation(
            id=new_id("conv"),
            title=one_line(title or ""),
            has_own_title=bool(one_line(title or "")),
            status=ConversationStatus.ACTIVE,
            profile=profile,
            model_override=model or None,
            created_at=now,
            updated_at=now,
        )
        return await self._log.write(_create, made, device_id, durable=True)

    async def set_title(self, conversation_id: str, title: str, device_id: str) -> Listed:
        """Raises InvalidInput `title_required` where nothing of it can be seen."""
        title = one_line(title)
        if not title:
            raise InvalidInput("title is empty", code="title_required", param="title")
        return await self._change(
            conversation_id, device_id, lambda conn, now: conversations.set_title(conn, conversation_id, title, now)
        )

    async def set_profile(self, conversation_id: str, profile: str, device_id: str) -> Listed:
        """With the next message. Raises NotFound `profile_not_found`, too."""
        await self._database.read(conversations.get, conversation_id)
        self._check_profile(profile)
        return await self._change(
            conversation_id, device_id, lambda conn, now: conversations.set_profile(conn, conversation_id, profile, now)
        )

    async def set_model(self, conversation_id: str, model: str | None, device_id: str) -> Listed:
        """With the next message; None: the profile's own."""
        return await self._change(
            conversation_id, device_id, lambda conn, now: conversations.set_model(conn, conversation_id, model, now)
        )

    async def set_status(self, conversation_id: str, status: ConversationStatus, device_id: str) -> Listed:
        return await self._change(
            conversation_id, device_id, lambda conn, now: conversations.set_status(conn, conversation_id, status, now)
        )

    async def ack(self, conversation_id: str, device_id: str, seq: int) -> int:
        return await self._database.write(ack_store.ack, conversation_id, device_id, seq, self._clock.now())

    async def delete(self, conversation_id: str) -> Deletion:
        """With its blobs; what runs in it is stopped. Raises NotFound `conversation_not_found`."""
        now = self._clock.now()
        blobs = await self._log.write(conversations.delete, conversation_id, now, durable=True)
        self.deleted(conversation_id)
        await self._blobs.collect(blobs)
        return Deletion(conversation_id, now, len(blobs))

    async def delete_many(self, conversation_ids: Sequence[str]) -> list[Deletion]:
        """Each by itself; one that cannot be deleted says why."""
        done = []
        for conversation_id in dict.fromkeys(conversation_ids):
            try:
                done.append(await self.delete(conversation_id))
            except HermesError as error:
                done.append(Deletion(conversation_id, error=error))
        return done

    async def _change(self, conversation_id: str, device_id: str, change: Change) -> Listed:
        """Raises NotFound `conversation_not_found`."""
        return await self._log.write(_changed, conversation_id, device_id, change, self._clock.now(), durable=True)


def updated(conn: Connection, conversation_id: str, now: float) -> list[LinkEvent]:
    """Tells the others what a conversation is now, in the transaction that changed it."""
    facts = conversation_json(conversations.get(conn, conversation_id))
    facts["last_event_seq"] += 1  # this one
    return event_store.append(conn, conversation_id, [NewEvent("conversation.updated", {"conversation": facts})], now)


def _create(conn: Connection, made: Conversation, device_id: str) -> tuple[Listed, list[LinkEvent]]:
    conversations.insert(conn, made)
    told = updated(conn, made.id, made.created_at)
    acked_seq = ack_store.ack(conn, made.id, device_id, told[-1].seq, made.created_at)
    return Listed(conversations.get(conn, made.id), acked_seq), told


def _changed(
    conn: Connection, conversation_id: str, device_id: str, change: Change, now: float
) -> tuple[Listed, list[LinkEvent]]:
    conversations.get(conn, conversation_id)
    change(conn, now)
    told = updated(conn, conversation_id, now)
    acked_seq = ack_store.acked(conn, conversation_id, device_id)
    return Listed(conversations.get(conn, conversation_id), acked_seq), told


def _messages(conn: Connection, conversation_id: str, limit: int, before: str | None) -> MessagePage:
    conversation = conversations.get(conn, conversation_id)
    before_position = None
    if before is not None:
        before_position = message_store.position_of(conn, conversation_id, before)
        if before_position is None:
            raise InvalidInput(
                f"before: no message {before[:64]!r} in this conversation", code="message_cursor_not_found"
            )
    found = message_store.page(conn, conversation_id, limit, before_position)
    first = found[0].position if found else before_position or 1
    last = found[-1].position if found else (before_position or 1) - 1
    return MessagePage(
        conversation,
        found,
        limit,
        has_more_before=first > 1,
        has_more_after=last < conversation.stats.message_count,
        used_tokens=message_store.used_tokens(conn, conversation_id),
    )
