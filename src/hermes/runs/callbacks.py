"""Telling a URL that a run has ended (spec: api-server section 5, callback_url): signed, and tried again."""

from __future__ import annotations

from hermes.core.clock import Clock
from hermes.runs.runner import Runner
from hermes.store.database import Database


class Callbacks:
    def __init__(self, database: Database, runner: Runner, clock: Clock) -> None:
        self._database = database
        self._runner = runner
        self._clock = clock

    async def run_forever(self) -> None:
        """Send what is to be sent. Cancel it to stop; it does not raise."""
