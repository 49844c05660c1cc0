"""A run whose events were removed for their age (store/retention.py) still tells its end to whoever follows it."""

from __future__ import annotations

from pathlib import Path

import pytest

from hermes.core.event import KeptEvent, MessageDelta, RunCompleted, RunStarted
from hermes.core.run import RunStatus, Usage
from hermes.runs.events import EventLog
from hermes.store import events, runs
from hermes.store.database import Connection, Database
from hermes.store.retention import DAY_SECONDS, Rules, purge
from tests.support.clock import FakeClock
from tests.support.database import new_url
from tests.support.store import keep_run


@pytest.mark.parametrize("after", [0, 1])
async def test_who_follows_it_gets_its_last_event_with_its_own_number(tmp_path: Path, after: int) -> None:
    def fill(conn: Connection) -> None:
        keep_run(conn, "r")
        end = RunCompleted("Whole.", {})
        told = [
            KeptEvent(1, 1.0, RunStarted("s", "m")),
            KeptEvent(2, 1.0, MessageDelta("Whole.")),
            KeptEvent(3, 1.0, end),
        ]
        events.append(conn, "r", told)
        runs.finish(conn, "r", RunStatus.COMPLETED, 1.0, "Whole.", "stop", Usage(), None, end.name, 3)

    database = await Database.open(new_url(tmp_path / "state.db"))
    await database.write(fill)
    await purge(database, 31 * DAY_SECONDS, rules=Rules(events_days=30))
    log = EventLog(database, FakeClock())
    assert [kept async for kept in log.follow("r", after)] == [KeptEvent(3, 1.0, RunCompleted("Whole.", {}))]
    await database.close()
