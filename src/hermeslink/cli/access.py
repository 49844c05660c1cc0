"""Who may come in, changed at the machine: beside the service, in the same database. The owner of the files needs no
token; a service that runs notices."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TypeVar

from hermes.core.clock import SystemClock
from hermes.store.database import Database
from hermeslink.cli.context import Call
from hermeslink.identity import IdentityFile
from hermeslink.pairing.devices import Devices
from hermeslink.pairing.pairing import Pairing
from hermeslink.settings import load_settings
from hermeslink.store.schema import LINK

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Access:
    identity: IdentityFile
    devices: Devices
    pairing: Pairing


def with_access(call: Call, do: Callable[[Access], Awaitable[T]]) -> T:
    """Raises ConfigError, StoreUnavailable, and what `do` raises."""

    async def run() -> T:
        async with _open(call) as access:
            return await do(access)

    return asyncio.run(run())


@asynccontextmanager
async def _open(call: Call) -> AsyncIterator[Access]:
    home, clock = call.home(), SystemClock()
    settings = load_settings(home, call.environ)
    home.make()
    database = await Database.open(home.database_url, LINK)
    try:
        identity, devices = IdentityFile(home.identity_file, clock), Devices(database, clock)
        seconds = settings.access_token_minutes * 60.0
        yield Access(identity, devices, Pairing(database, clock, identity, devices, access_seconds=seconds))
    finally:
        await database.close()
