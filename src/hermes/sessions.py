"""Sessions as their owner sees them: list, search, make, change, fork, delete. Runs add to them through hermes.runs."""

from __future__ import annotations

from hermes.core.clock import Clock
from hermes.store.database import Database


class Sessions:
    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock
