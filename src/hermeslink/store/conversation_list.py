"""Lists of conversations, the newest first: by their keys, or by what is found in them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection, select

from hermeslink.core.conversation import Conversation, ConversationStatus

from . import search
from .conversations import COLUMNS, from_row
from .schema import acks, conversations, messages
from .snippet import Term, snippet

MATCHES = 3
"""How many messages of a conversation are shown where words were found."""

Key = tuple[float, str]
"""(updated_at, id): a place in such a list, which stays where it is while conversations move to the top."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """`before`: the key of the last one that was seen. `terms`: all of them are in the title, or in one message."""

    device_id: str
    limit: int
    status: ConversationStatus = ConversationStatus.ACTIVE
    profile: str | None = None
    before: Key | None = None
    terms: tuple[Term, ...] = ()


@dataclass(frozen=True, slots=True)
class Match:
    """`snippet`: the words of the message around the first of those that were looked for."""

    message_id: str
    snippet: str


@dataclass(frozen=True, slots=True)
class Listed:
    """A conversation as a device sees it."""

    conversation: Conversation
    acked_seq: int
    matches: tuple[Match, ...] = ()

    @property
    def key(self) -> Key:
        return self.conversation.updated_at, self.conversation.id


def page(conn: Connection, listing: Listing) -> list[Listed]:
    of_device = (acks.c.conversation_id == conversations.c.id) & (acks.c.device_id == listing.device_id)
    shown: list[sa.ColumnElement[Any]] = [*COLUMNS, sa.func.coalesce(acks.c.seq, 0).label("acked_seq")]
    query = (
        select(*shown)
        .select_from(conversations.outerjoin(acks, of_device))
        .where(conversations.c.status == listing.status.value)
    )
    if listing.profile is not None:
        query = query.where(conversations.c.profile == listing.profile)
    if listing.before is not None:
        at, conversation_id = listing.before
        place = sa.tuple_(conversations.c.updated_at, conversations.c.id)
        query = query.where(place < sa.tuple_(sa.literal(at), sa.literal(conversation_id)))
    if listing.terms:
        query = query.where(_has_found(search.question(listing.terms)))
    rows = conn.execute(
        query.order_by(conversations.c.updated_at.desc(), conversations.c.id.desc()).limit(listing.limit)
    ).all()
    matches = _matches(conn, [row.id for row in rows], listing.terms) if listing.terms else {}
    return [Listed(from_row(row), row.acked_seq, tuple(matches.get(row.id, ()))) for row in rows]


def ids(
    conn: Connection, *, profile: str | None, unchanged_since: float | None, but: Sequence[str]
) -> tuple[list[str], int]:
    """Of active ones, the newest first: those that fit, and how many there are at all."""
    active = conversations.c.status == ConversationStatus.ACTIVE.value
    query = select(conversations.c.id).where(active)
    if profile is not None:
        query = query.where(conversations.c.profile == profile)
    if unchanged_since is not None:
        query = query.where(conversations.c.updated_at < unchanged_since)
    left_out = set(but)
    found = conn.scalars(query.order_by(conversations.c.updated_at.desc(), conversations.c.id.desc()))
    total = conn.scalar(select(sa.func.count()).select_from(conversations).where(active))
    return [one for one in found if one not in left_out], total or 0


def _has_found(question: str) -> sa.ColumnElement[bool]:
    in_titles = select(search.title_search.c.rowid).where(search.matches(search.title_search, question))
    in_messages = (
        select(messages.c.conversation_id)
        .join(search.message_search, search.message_search.c.rowid == messages.c.number)
        .where(search.matches(search.message_search, question))
    )
    return conversations.c.number.in_(in_titles) | conversations.c.id.in_(in_messages)


def _matches(conn: Connection, ids: Sequence[str], terms: Sequence[Term]) -> dict[str, list[Match]]:
    """The newest messages of each."""
    place = sa.func.row_number().over(partition_by=messages.c.conversation_id, order_by=messages.c.position.desc())
    found = (
        select(messages.c.conversation_id, messages.c.id, messages.c.text, place.label("place"))
        .join(search.message_search, search.message_search.c.rowid == messages.c.number)
        .where(search.matches(search.message_search, search.question(terms)), messages.c.conversation_id.in_(ids))
        .subquery()
    )
    shown: dict[str, list[Match]] = {}
    rows = conn.execute(select(found).where(found.c.place <= MATCHES).order_by(found.c.conversation_id, found.c.place))
    for conversation_id, message_id, text, _ in rows:
        shown.setdefault(conversation_id, []).append(Match(message_id, snippet(text, terms)))
    return shown
