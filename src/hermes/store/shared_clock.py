"""The time that all nodes of a database have: its server's. What a node's own clock says or does is no matter.

Jobs, deliveries and their leases go by it (docs/adr/0099).
"""

from __future__ import annotations

import logging

import sqlalchemy as sa
from sqlalchemy import Connection

from hermes.core.clock import Clock
from hermes.core.errors import HermesError

from .database import Database
from .statement import Statement

log = logging.getLogger(__name__)

LOOK_EVERY_SECONDS = 5.0


class SharedClock:
    """A `Clock`. Between two looks at the server it goes on with the node's monotonic time."""

    def __init__(self, database: Database, clock: Clock) -> None:
        """`clock` tells the time until the first look."""
        self._database = database
        self._clock = clock
        self._ahead = clock.now() - clock.monotonic()

    def now(self) -> float:
        return self._clock.monotonic() + self._ahead

    def monotonic(self) -> float:
        return self._clock.monotonic()

    async def sleep(self, seconds: float) -> None:
        await self._clock.sleep(seconds)

    async def look(self) -> None:
        """Raises StoreUnavailable."""
        before = self._clock.monotonic()
        at = await self._database.read(server_time)
        self._ahead = at - (before + self._clock.monotonic()) / 2

    async def keep_right(self) -> None:
        """Until it is cancelled. While the server is away it goes on as before."""
        while True:
            try:
                await self.look()
            except HermesError as error:
                log.warning("the time of the database's server cannot be read: %s", error.message)
            await self._clock.sleep(LOOK_EVERY_SECONDS)


def server_time(conn: Connection) -> float:
    """Of a PostgreSQL."""
    row = _TIME.first(conn, {})
    assert row is not None
    return float(row[0])


_TIME = Statement(sa.select(sa.func.extract("epoch", sa.func.clock_timestamp())))
