"""Whoever turns pages sees each conversation that stayed where it was once, and none twice, whatever moves."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hermeslink.conversations.cursors import cursor_of, key_of
from hermeslink.core.conversation import ConversationStatus
from hermeslink.store import conversation_list, conversations
from hermeslink.store.conversation_list import Listing
from hermeslink.store.snippet import terms_of
from tests.support.link_conversations import conversation, keep, link_database

pytestmark = pytest.mark.sqlite("Link keeps its data in SQLite")

IDS = [f"conv_{number:032x}" for number in range(12)]


@settings(max_examples=40)
@given(
    st.lists(st.integers(0, 3), min_size=len(IDS), max_size=len(IDS)),  # many of the same moment
    st.lists(st.tuples(st.sampled_from(["touch", "delete", "archive", "new"]), st.sampled_from(IDS)), max_size=12),
    st.integers(1, 5),
    st.booleans(),
)
def test_pages_while_conversations_move(
    times: list[int], changes: list[tuple[str, str]], limit: int, is_search: bool
) -> None:
    async def play() -> None:
        async with link_database() as database:
            for one, at in zip(IDS, times, strict=True):
                await database.write(keep, conversation(one, at=at / 3, title="Rome"))
            left = list(changes)
            seen: list[str] = []
            cursor = None
            moved: set[str] = set()
            now = 10.0
            while True:
                listing = Listing(
                    device_id="dev",
                    limit=limit,
                    before=key_of(cursor) if cursor else None,
                    terms=terms_of("rome") if is_search else (),
                )
                rows = await database.read(conversation_list.page, listing)
                seen += [row.conversation.id for row in rows]
                if len(rows) < limit:
                    break
                cursor = cursor_of(rows[-1].key)
                for what, one in left[:2]:
                    now += 1
                    if what == "new":
                        await database.write(keep, conversation(at=now, title="Rome"))
                    elif one not in moved or what == "touch":
                        await change(database, what, one, now)
                        moved.add(one)
                del left[:2]
            assert len(seen) == len(set(seen))
            assert set(IDS) - moved <= set(seen) <= set(IDS)

    gone: set[str] = set()

    async def change(database, what: str, one: str, now: float) -> None:
        if one in gone:
            return
        if what == "delete":
            gone.add(one)
            await database.write(conversations.delete, one, now)
        elif what == "archive":
            await database.write(conversations.set_status, one, ConversationStatus.ARCHIVED, now)
        else:
            await database.write(conversations.set_model, one, "m", now)

    asyncio.run(play())
