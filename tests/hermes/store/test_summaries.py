"""The newest summary of a session."""

from __future__ import annotations

from hermes.core.ports import Summary
from hermes.core.session import Session
from hermes.store import sessions, summaries
from hermes.store.database import Connection, Database


def keep_session(conn: Connection) -> None:
    sessions.create(conn, Session(id="s", owner="o", source="test", started_at=1.0, last_active=1.0))


async def test_the_newest_is_kept_and_goes_with_its_session(database: Database):
    await database.write(keep_session)
    assert await database.read(summaries.latest, "s") is None
    for summary in (Summary(3, "d1", "first"), Summary(9, "d2", "second \x00")):
        await database.write(summaries.keep, "s", summary, 2.0)
    kept = await database.read(summaries.latest, "s")
    assert kept is not None
    assert (kept.covers, kept.digest, kept.text.rstrip("\ufffd ")) == (9, "d2", "second")
    await database.write(sessions.delete, "s")
    assert await database.read(summaries.latest, "s") is None


async def test_a_session_that_is_gone_is_given_none(database: Database):
    await database.write(summaries.keep, "gone", Summary(3, "d", "text"), 2.0)
    assert await database.read(summaries.latest, "gone") is None
