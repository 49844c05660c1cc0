"""A Link's pairing and devices on a database of their own, without a server."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from hermes.store.database import Database
from hermeslink.core.caller import Caller
from hermeslink.core.device import Scope
from hermeslink.identity import IdentityFile
from hermeslink.pairing.devices import Devices
from hermeslink.pairing.pairing import Admission, Newcomer, Pairing
from hermeslink.store import audit
from hermeslink.store.schema import LINK
from tests.support.clock import FakeClock

ACCESS_SECONDS = 900.0


@dataclass
class Door:
    database: Database
    clock: FakeClock
    identity: IdentityFile
    devices: Devices
    pairing: Pairing

    async def let_in(self, scope: Scope = Scope.ADMIN, **said: str) -> Admission:
        code = await self.pairing.make(scope)
        return await self.pairing.by_connect_token(code.code, Newcomer(**{"label": "Phone", **said}))  # type: ignore[arg-type]

    async def caller(self, admission: Admission) -> Caller:
        caller = await self.devices.authenticate(admission.access.token)
        assert caller is not None
        return caller

    async def actions(self) -> list[str]:
        """What the audit holds, oldest first."""
        return [entry.action for entry in reversed(await self.database.read(audit.page, 1000, None))]


@asynccontextmanager
async def open_door(home: Path) -> AsyncIterator[Door]:
    clock = FakeClock()
    database = await Database.open(f"sqlite:///{home / 'link.db'}", LINK)
    try:
        devices = Devices(database, clock)
        identity = IdentityFile(home / "identity.json", clock)
        pairing = Pairing(database, clock, identity, devices, access_seconds=ACCESS_SECONDS)
        yield Door(database, clock, identity, devices, pairing)
    finally:
        await database.close()
