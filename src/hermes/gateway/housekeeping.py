"""What a gateway does once an hour: it removes what is not kept for ever, and keeps the search index."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from hermes.core.doubt import Doubt
from hermes.core.errors import HermesError
from hermes.home.trash import empty_trash
from hermes.store import facts

if TYPE_CHECKING:
    from hermes.app import Engine
    from hermes.store.database import Connection, Database

log = logging.getLogger(__name__)

EVERY_SECONDS = 3600.0
LOOKED_AT = "housekeeping_at"


async def keep_house(engine: Engine) -> None:
    """Chats that re-send their history are forgotten after `api_server.retention_days`, chains of responses beyond
    `responses.keep_chains`, and what `retention` says; the default profile's gateway empties the trash. Until it is
    cancelled."""
    doubt = Doubt(engine.clock)
    while True:
        try:
            await engine.live.look()
            await _remove_old(engine, doubt)
            await engine.sessions.tidy()
        except HermesError as error:  # a full disk now is no reason to stop answering; the next hour tries again
            log.error("old chats could not be removed, or the search index not be kept: %s", error.message)
        await engine.clock.sleep(EVERY_SECONDS)


async def _remove_old(engine: Engine, doubt: Doubt) -> None:
    from hermes.store.retention import Rules, purge

    why = doubt.about(await engine.database.read(_last))
    if why is not None:
        log.warning("%s: nothing is removed for its age until it has held for a day", why)
        return
    settings = engine.settings
    days, chains = settings.api_server.retention_days, settings.responses.keep_chains
    rules = Rules(**settings.retention.model_dump(exclude={"trash_days"}))
    await purge(engine.database, engine.clock.now(), days, chains, rules)
    if engine.home is not None and not engine.home.is_profile:
        await asyncio.to_thread(
            empty_trash, engine.home.path, now=engine.clock.now(), days=settings.retention.trash_days
        )
    await _note(engine.database, engine.clock.now())


def _last(conn: Connection) -> float | None:
    kept = facts.get(conn, LOOKED_AT)
    return None if kept is None else float(kept)


async def _note(database: Database, now: float) -> None:
    await database.write(facts.put, LOOKED_AT, repr(now))
