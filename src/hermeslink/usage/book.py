"""What runs used, written at their ends and read by the day."""

from __future__ import annotations

from hermes.core.clock import Clock
from hermes.store.database import Connection, Database
from hermeslink.core.usage import Used
from hermeslink.store import usage as usage_store
from hermeslink.store.usage import Usage
from hermeslink.usage.days import Days, days_of

MOST_NAMED = 12
"""Models, and profiles, that are told of one by one."""


class UsageBook:
    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    async def record(self, used: Used) -> bool:
        """For a run that ends outside of a transaction of its own, which would call `store.usage.record`. Whether it
        counts: a run does so once."""
        return await self._database.write(usage_store.record, used, durable=True)

    def days(self, days: str | None = None, first: str | None = None, last: str | None = None) -> Days:
        """What a client asked for. Raises InvalidInput `invalid_range`."""
        return days_of(self._clock.now(), days, first, last)

    async def read(self, days: Days, *, model: str | None = None, profile: str | None = None) -> Usage:
        def read(conn: Connection) -> Usage:
            return usage_store.read(
                conn, days.first.isoformat(), days.last.isoformat(), model=model, profile=profile, most=MOST_NAMED
            )

        return await self._database.read(read)
