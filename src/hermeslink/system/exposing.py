"""Link made reachable from elsewhere, asked for by an admin's device: what `hermeslink expose` does at the machine."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from dataclasses import dataclass

from hermes.core.clock import Clock
from hermes.core.errors import Conflict, HermesError, InvalidInput
from hermes.expose import keeping
from hermes.expose.exposure import MAX_SECONDS, Exposure, Via
from hermes.expose.probe import Probe, probe
from hermes.expose.state import State, state_of
from hermes.expose.tunnels import Wish
from hermes.store.database import Database
from hermeslink.core.caller import Caller
from hermeslink.home import LinkHome
from hermeslink.store import audit
from hermeslink.system.network import Network

log = logging.getLogger(__name__)

HEALTH = "/api/v1/system/version"
PROBE_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Exposing:
    """All that blocks is done in threads."""

    home: LinkHome
    network: Network
    database: Database
    clock: Clock
    environ: Mapping[str, str]

    async def state(self) -> State:
        return await asyncio.to_thread(state_of, self.home.run_dir, self.network.port, self.environ)

    async def probe(self, url: str) -> Probe:
        return await asyncio.to_thread(probe, url, HEALTH, timeout_seconds=PROBE_SECONDS)

    async def open(self, caller: Caller, via: str, seconds: int | None) -> Exposure:
        """`seconds`: None until it is taken back. Raises InvalidInput, Conflict, or HermesError `expose_failed`."""
        wish = self._wish(via, seconds)
        try:
            found = await asyncio.to_thread(keeping.detach, wish, self.home.run_dir, self.environ)
        except HermesError as error:
            raise _told(error) from None
        await self._write(caller, "expose.opened", {"via": found.via.value, "url": found.url, "seconds": seconds})
        return found

    async def close(self, caller: Caller) -> Exposure | None:
        """What was published by this Link's own command; None where nothing was."""
        try:
            found = await asyncio.to_thread(keeping.off, self.home.run_dir, self.environ)
        except HermesError as error:
            raise _told(error) from None
        if found is not None:
            await self._write(caller, "expose.closed", {"via": found.via.value, "url": found.url})
        return found

    def _wish(self, via: str, seconds: int | None) -> Wish:
        if via == Via.COMMAND:
            raise InvalidInput(
                "a command is given at the machine alone: hermeslink expose --via command",
                code="expose_command_refused",
                param="via",
            )
        if via not in list(Via):
            raise InvalidInput(f"via is one of {', '.join(one for one in Via if one != Via.COMMAND)}", param="via")
        if seconds is not None and not 0 < seconds <= MAX_SECONDS:
            raise InvalidInput(f"seconds is a number from 1 to {MAX_SECONDS}, or null", param="seconds")
        if not self.network.is_on_loopback:
            raise Conflict(
                "Link listens on one address of the network, and tunnels end on 127.0.0.1; at the machine: hermeslink "
                "config set listen-host 127.0.0.1 && hermeslink restart",
                code="expose_not_on_loopback",
            )
        until = None if seconds is None else self.clock.now() + seconds
        return Wish(Via(via), self.network.port, until, is_background=True, may_wait=False)

    async def _write(self, caller: Caller, action: str, details: Mapping[str, object]) -> None:
        await self.database.write(
            lambda conn: audit.write(
                conn,
                action,
                self.clock.now(),
                device_id=caller.device_id,
                address=caller.address,
                details=details,
            )
        )


def _told(error: HermesError) -> HermesError:
    """A program's own words may name files of this machine: they are for the log."""
    if error.code != "expose_failed":
        return error
    log.warning("publishing failed: %s", error.message)
    return HermesError("the tunnel failed; hermeslink logs has what its program said", code="expose_failed")
