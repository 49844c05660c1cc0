"""What is not kept for ever. The gateway calls `purge` at its start and every hour."""

from __future__ import annotations

from dataclasses import dataclass

from . import idempotency, sessions
from .database import Database

DAY_SECONDS = 86_400.0


@dataclass(frozen=True, slots=True)
class Purged:
    sessions: int
    idempotency_keys: int


async def purge(database: Database, now: float, stateless_days: float = 30.0) -> Purged:
    """Deletes stateless sessions that were idle for so long, with all that hangs on them, and expired idempotency keys.

    In small writes, so that no turn waits long behind it.
    """
    idle_since = now - stateless_days * DAY_SECONDS
    purged_sessions = purged_keys = 0
    while count := await database.write(sessions.purge_stateless, idle_since):
        purged_sessions += count
    while count := await database.write(idempotency.purge_expired, now):
        purged_keys += count
    return Purged(purged_sessions, purged_keys)
