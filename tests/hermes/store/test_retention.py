"""What is purged is gone, and nothing else is."""

from __future__ import annotations

from hermes.core.run import RunStatus
from hermes.store import idempotency, runs
from hermes.store.database import Connection, Database
from hermes.store.retention import DAY_SECONDS, Purged, purge
from hermes.store.session_list import Listing, list_sessions
from tests.support.store import keep_run, keep_session

NOW = 100 * DAY_SECONDS
OLD = NOW - 31 * DAY_SECONDS
YOUNG = NOW - 29 * DAY_SECONDS


async def test_stateless_sessions_go_after_their_days_and_no_others(database: Database) -> None:
    await database.write(keep_session, "a")

    def fill(conn: Connection) -> None:
        keep_session(conn, "old stateless", is_stateless=True, last_active=OLD)
        keep_session(conn, "young stateless", is_stateless=True, last_active=YOUNG)
        keep_session(conn, "old", last_active=OLD)

    await database.write(fill)
    assert await purge(database, NOW, stateless_days=30) == Purged(sessions=1, idempotency_keys=0)
    left = await database.read(lambda conn: list_sessions(conn, "alice", Listing(include_stateless=True)))
    assert [session.id for session in left] == ["young stateless", "old", "a"]


async def test_a_session_with_an_open_run_stays(database: Database) -> None:
    def fill(conn: Connection) -> None:
        for name in ("open", "ended"):
            keep_session(conn, name, is_stateless=True, last_active=OLD)
            keep_run(conn, f"run of {name}", name)
        runs.set_status(conn, "run of ended", RunStatus.FAILED, OLD)

    await database.write(fill)
    assert (await purge(database, NOW)).sessions == 1
    assert await database.read(runs.get, "run of open") is not None
    assert await database.read(runs.get, "run of ended") is None


async def test_more_than_one_batch_is_purged(database: Database) -> None:
    def fill(conn: Connection) -> None:
        for number in range(450):
            keep_session(conn, str(number), is_stateless=True, last_active=OLD)

    await database.write(fill)
    assert (await purge(database, NOW)).sessions == 450


async def test_expired_idempotency_keys_go_and_fresh_ones_stay(database: Database) -> None:
    def fill(conn: Connection) -> None:
        keep_run(conn)
        idempotency.claim(conn, "alice", "expired", "f", "r", NOW - DAY_SECONDS)
        idempotency.claim(conn, "alice", "fresh", "f", "r", NOW - 1)

    await database.write(fill)
    assert await purge(database, NOW) == Purged(sessions=0, idempotency_keys=1)
    assert await database.write(idempotency.claim, "alice", "fresh", "f", "r2", NOW) == idempotency.Claim("r", "f")
