"""Every key of a home: the owner's, and the named ones in its database.

The owner's costs a request one look at the date of .env and no query; a named one is looked up at each request, so
that what `hermes keys` changes in another process holds for the next one.
"""

from __future__ import annotations

import asyncio
import hmac
import logging
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from hermes.api.auth import OwnerKey, Principal
from hermes.core.clock import Clock
from hermes.core.errors import HermesError
from hermes.core.key import Key
from hermes.store import keys as key_store
from hermes.store.database import Database

log = logging.getLogger(__name__)

USED_EVERY_SECONDS = 60.0
"""How exact `last_used_at` is: a write for each request would be the dearest part of it."""


LOOK_AGAIN_SECONDS = 0.01
"""How soon .env is looked at again. The look costs up to 10 µs; writing a new key takes longer than this."""


class NamedKeys(Protocol):
    """The database's part. `find` gives a key that is in force; `used` keeps when it was last seen."""

    async def find(self, digest: str) -> Key | None: ...

    async def used(self, key_id: str, now: float) -> None: ...


class OwnerSource(Protocol):
    """Where the owner's key comes from. None: there is none now."""

    def ring(self) -> OwnerKey | None: ...


class HomeKeys:
    """The `KeyRing` of a home. Without an owner's key nobody gets in. `named` may be replaced while it serves."""

    def __init__(self, owner: OwnerSource, named: NamedKeys, clock: Clock) -> None:
        self.named = named
        self._owner = owner
        self._clock = clock

    async def find(self, digest: bytes) -> Principal | None:
        """Raises StoreUnavailable where a named key cannot be looked up."""
        owner = self._owner.ring()
        if owner is None:
            return None
        found = await owner.find(digest)
        if found is not None:
            return found
        # The index finds a hash of what was sent, which nobody can steer: its timing tells nothing of a key.
        key = await self.named.find(digest.hex())
        if key is None:
            return None
        now = self._clock.now()
        if key.last_used_at is None or abs(now - key.last_used_at) >= USED_EVERY_SECONDS:
            await self._used(key, now)
        return Principal(key.id, key.name, key.scopes, tool_items=key.tool_items, digest=digest)

    async def _used(self, key: Key, now: float) -> None:
        try:
            await self.named.used(key.id, now)
        except HermesError as error:  # a full disk is no reason to lock everybody out
            log.warning("when the key %r was used could not be kept: %s", key.name, error.message)


@dataclass(frozen=True, slots=True)
class FixedKey:
    """The owner's key where the process's environment gives it: it cannot change while the process lives."""

    key: OwnerKey

    def ring(self) -> OwnerKey:
        return self.key


class StoredKeys:
    """The named keys of a database that is open."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def find(self, digest: str) -> Key | None:
        return await self._database.read(key_store.by_digest, digest)

    async def used(self, key_id: str, now: float) -> None:
        await self._database.write(key_store.used, key_id, now)


class ClosedKeys:
    """The named keys of a profile that nobody has asked for yet: its database is looked into, and stays closed."""

    def __init__(self, database_url: str) -> None:
        self._database_url = database_url

    async def find(self, digest: str) -> Key | None:
        return await asyncio.to_thread(key_store.find_in_closed, self._database_url, digest)

    async def used(self, key_id: str, now: float) -> None:
        """Once it is open."""


class KeyFile:
    """The owner's key where .env can change under it: another file under that name is read at the next request.

    `read` gives the key as it is now ("" for none: nobody gets in), and whether it is too weak for the open.
    """

    def __init__(
        self, path: Path, read: Callable[[], tuple[str, bool]], monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._path = path
        self._read = read
        self._monotonic = monotonic
        self._look_at = 0.0
        self._seen = self._stamp()  # before the reading: what changes meanwhile is read again
        self._ring = self._ring_of(read())

    def ring(self) -> OwnerKey | None:
        now = self._monotonic()
        if now >= self._look_at:
            self._look_at = now + LOOK_AGAIN_SECONDS
            stamp = self._stamp()
            if stamp != self._seen:
                self._read_again(stamp)
        return self._ring

    def _read_again(self, stamp: object) -> None:
        """On the loop: a small file, and only after somebody changed it. No request may pass by the old key."""
        try:
            found = self._read()
        except HermesError as error:  # half written by an editor: the next look reads it again
            log.error("%s cannot be read, so the key from before still holds: %s", self._path, error.message)
            return
        self._seen = stamp
        ring = self._ring_of(found)
        if ring is None:
            log.error("%s has no API_SERVER_KEY any more: the owner cannot get in", self._path)
        elif self._ring is None or not hmac.compare_digest(ring.digest, self._ring.digest):
            log.warning("the owner's API key has changed; the one before opens nothing any more")
        self._ring = ring

    def _ring_of(self, found: tuple[str, bool]) -> OwnerKey | None:
        key, is_weak = found
        return OwnerKey(key, is_local_only=is_weak) if key else None

    def _stamp(self) -> object:
        try:
            found = os.stat(self._path)  # noqa: PTH116 half the time of Path.stat, at each request
        except OSError:
            return None
        return found.st_mtime_ns, found.st_ino, found.st_size
