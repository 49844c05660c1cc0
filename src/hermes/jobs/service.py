"""Jobs as their owner sees them, and the loop that starts the due ones."""

from __future__ import annotations

from hermes.core.clock import Clock
from hermes.core.run import Ask
from hermes.runs.runner import Runner
from hermes.store.database import Database


class Jobs:
    """`ask` is what `approvals.cron_mode` says: nobody is there to be asked. `timezone`: a job's own when it has none
    (an IANA name)."""

    def __init__(
        self, database: Database, runner: Runner, clock: Clock, *, ask: Ask = Ask.DENY, timezone: str = "UTC"
    ) -> None:
        self._database = database
        self._runner = runner
        self._clock = clock
        self._ask = ask
        self._timezone = timezone

    async def run_forever(self) -> None:
        """Start what is due, deliver what has ended. Cancel it to stop; it does not raise."""
