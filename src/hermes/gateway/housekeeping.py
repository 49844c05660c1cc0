"""What a gateway does once an hour: it removes what is not kept for ever, and keeps the search index."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from hermes.core.clock import Clock
from hermes.core.errors import HermesError
from hermes.home.settings import Settings
from hermes.store import facts

if TYPE_CHECKING:
    from hermes.app import Engine
    from hermes.store.database import Connection, Database

log = logging.getLogger(__name__)

EVERY_SECONDS = 3600.0
DAY_SECONDS = 86_400.0
STEP_SECONDS = DAY_SECONDS
"""A clock that is put forward by more, while the gateway runs, is not believed at once."""
AWAY_SECONDS = 30 * DAY_SECONDS
"""Nor one that says so much has passed since the last time: it may never have been set."""
LOOKED_AT = "housekeeping_at"


class Doubt:
    """Whether the clock may be believed when things are deleted for their age. A wrong one would take everything.

    A clock that has jumped is believed once the gateway has run on for a day with it.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._ahead = clock.now() - clock.monotonic()
        self._until: float | None = None

    def about(self, last: float | None) -> str | None:
        """What speaks against the clock now, in words. `last`: when old things were last removed, by any process."""
        now, passed = self._clock.now(), self._clock.monotonic()
        step = now - passed - self._ahead
        self._ahead += step
        if step > STEP_SECONDS:
            self._until = passed + DAY_SECONDS
            return f"the clock was put forward by {step / DAY_SECONDS:.1f} days"
        if self._until is None and last is not None and now - last > AWAY_SECONDS:
            self._until = passed + DAY_SECONDS
            return f"the clock says that {(now - last) / DAY_SECONDS:.0f} days have passed since the last time"
        if self._until is not None and passed < self._until:
            return "the clock has jumped"
        return None


async def keep_house(engine: Engine, settings: Settings) -> None:
    """Chats that re-send their history are forgotten after `api_server.retention_days`, chains of responses beyond
    `responses.keep_chains`, and what `retention` says. Until it is cancelled."""
    doubt = Doubt(engine.clock)
    while True:
        try:
            await _remove_old(engine, settings, doubt)
            await engine.sessions.tidy()
        except HermesError as error:  # a full disk now is no reason to stop answering; the next hour tries again
            log.error("old chats could not be removed, or the search index not be kept: %s", error.message)
        await engine.clock.sleep(EVERY_SECONDS)


async def _remove_old(engine: Engine, settings: Settings, doubt: Doubt) -> None:
    from hermes.store.retention import Rules, purge

    why = doubt.about(await engine.database.read(_last))
    if why is not None:
        log.warning("%s: nothing is removed for its age until it has held for a day", why)
        return
    days, chains = settings.api_server.retention_days, settings.responses.keep_chains
    await purge(engine.database, engine.clock.now(), days, chains, Rules(**settings.retention.model_dump()))
    await _note(engine.database, engine.clock.now())


def _last(conn: Connection) -> float | None:
    kept = facts.get(conn, LOOKED_AT)
    return None if kept is None else float(kept)


async def _note(database: Database, now: float) -> None:
    await database.write(facts.put, LOOKED_AT, repr(now))
