"""Deleted profiles are removed for good after `retention.trash_days`, also where no gateway runs that would do it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

from hermes.core.clock import Clock
from hermes.core.doubt import Doubt
from hermes.core.errors import ConfigError
from hermes.home.paths import Home
from hermes.home.settings import load_settings
from hermes.home.trash import empty_trash

log = logging.getLogger(__name__)

EVERY_SECONDS = 3600.0


class Trash:
    """Of the home at `hermes_root`, whose settings say how long; `environ` speaks for them, too."""

    def __init__(self, hermes_root: Path, clock: Clock, environ: Mapping[str, str]) -> None:
        self._home = Home(hermes_root)
        self._clock = clock
        self._environ = environ

    @asynccontextmanager
    async def emptied(self) -> AsyncIterator[None]:
        emptying = asyncio.create_task(self._keep_emptying())
        try:
            yield
        finally:
            emptying.cancel()
            await asyncio.wait((emptying,))

    async def _keep_emptying(self) -> None:
        """Not at once: a machine that was just switched on may not know the time yet."""
        doubt = Doubt(self._clock)
        while True:
            await self._clock.sleep(EVERY_SECONDS)
            why = doubt.about(None)
            if why is not None:
                log.warning("%s: the trash is not emptied until it has held for a day", why)
                continue
            try:
                removed = await asyncio.to_thread(self._empty)
            except (ConfigError, OSError) as error:
                log.warning("the trash cannot be emptied: %s", error)
                continue
            if removed:
                log.info("removed from the trash: %s", ", ".join(removed))

    def _empty(self) -> list[str]:
        days = load_settings(self._home, self._environ).retention.trash_days
        return empty_trash(self._home.path, now=self._clock.now(), days=days)
