"""What is not kept for ever. The gateway calls `purge` at its start and every hour."""

from __future__ import annotations

from dataclasses import dataclass

from . import idempotency, responses, sessions
from .database import Database

DAY_SECONDS = 86_400.0


@dataclass(frozen=True, slots=True)
class Purged:
    sessions: int
    idempotency_keys: int
    response_chains: int = 0


async def purge(database: Database, now: float, stateless_days: float = 30.0, keep_chains: int = 100) -> Purged:
    """Deletes stateless sessions that were idle for so long, with all that hangs on them, expired idempotency keys,
    and each owner's chains of responses beyond the most recently used ones.

    In small writes, so that no turn waits long behind it.
    """
    idle_since = now - stateless_days * DAY_SECONDS
    purged_sessions = purged_keys = purged_chains = 0
    while count := await database.write(sessions.purge_stateless, idle_since):
        purged_sessions += count
    while count := await database.write(idempotency.purge_expired, now):
        purged_keys += count
    while count := await database.write(responses.purge_chains, keep_chains):
        purged_chains += count
    return Purged(purged_sessions, purged_keys, purged_chains)
