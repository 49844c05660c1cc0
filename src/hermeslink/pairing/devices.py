"""The devices of a Link: who comes with a token, and who may no more."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from weakref import WeakValueDictionary

from hermes.core.clock import Clock
from hermes.core.errors import Conflict, Forbidden, InvalidInput, NotFound, StoreUnavailable
from hermes.store.database import Connection, Database
from hermeslink.core.caller import Caller
from hermeslink.core.device import Device, DeviceStatus, Scope
from hermeslink.core.ids import is_id
from hermeslink.core.text import is_shown
from hermeslink.pairing.secrets import ACCESS_PREFIX, hash_of
from hermeslink.store import audit, tokens
from hermeslink.store import devices as store

log = logging.getLogger(__name__)

MAX_LABEL_CHARS = 128
SEEN_EVERY_SECONDS = 60.0
LOOK_EVERY_SECONDS = 0.5
"""How soon a stream ends whose device another process revoked."""


@dataclass(frozen=True, slots=True)
class DeviceSummary:
    """`trusted`: active, and may come back without pairing, since it has a refresh token that is good."""

    total: int
    active: int
    revoked: int
    trusted: int


class Devices:
    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock
        self._revoked: WeakValueDictionary[str, asyncio.Event] = WeakValueDictionary()

    async def authenticate(self, token: str) -> Caller | None:
        """Who has this access token; None where it is wrong or expired, or the device was revoked."""
        if not token.startswith(ACCESS_PREFIX):
            return None
        now = self._clock.now()
        found = await self._database.read(tokens.bearer, hash_of(token), now)
        if found is None:
            return None
        if found.last_seen_at is None or now - found.last_seen_at >= SEEN_EVERY_SECONDS:
            await self._database.write(store.seen, found.device_id, now, SEEN_EVERY_SECONDS)
        return Caller(found.device_id, found.scope)

    def revoked(self, device_id: str) -> asyncio.Event:
        """Set when the tokens that the device has now are worth nothing any more, whoever did that. Hold it for as long
        as it is waited for."""
        event = self._revoked.get(device_id)
        if event is None:
            event = self._revoked[device_id] = asyncio.Event()
        return event

    def shut_out(self, device_ids: Iterable[str]) -> None:
        """Ends what is open for them. For whoever took their tokens away, after that is committed."""
        for device_id in device_ids:
            event = self._revoked.pop(device_id, None)
            if event is not None:
                event.set()

    @asynccontextmanager
    async def watched(self) -> AsyncIterator[None]:
        """Another process (`hermeslink devices revoke`) may revoke, too: while something is open, this looks."""
        watching = asyncio.create_task(self._watch())
        try:
            yield
        finally:
            watching.cancel()
            await asyncio.wait((watching,))

    async def all(self, caller: Caller, *, hidden: bool = False) -> list[Device]:
        """Who paired last comes first. A device of scope chat sees itself. `hidden`: also those taken from the list."""
        found = await self._database.read(_all, hidden)
        return found if caller.scope == Scope.ADMIN else [device for device in found if device.id == caller.device_id]

    async def is_any_active(self) -> bool:
        """Whether somebody has paired, and was not revoked."""
        return await self._database.read(store.is_any_active)

    async def get(self, device_id: str) -> Device:
        """Raises NotFound (`device_not_found`)."""
        return await self._database.read(_get, device_id)

    async def rename(self, caller: Caller | None, device_id: str, label: object) -> Device:
        """Raises InvalidInput (`device_label_required`, `device_label_invalid`), NotFound, Forbidden, or Conflict
        (`device_revoked`)."""
        if caller is not None:
            _may_change(caller, device_id)
        return await self._database.write(
            _rename, device_id, checked_label(label), caller, self._clock.now(), durable=True
        )

    async def revoke(self, caller: Caller | None, device_id: str) -> Device:
        """Its tokens are worth nothing from now on, and its streams end. Again is no error. `caller` None: somebody at
        the machine. Raises NotFound or Forbidden."""
        if caller is not None:
            _may_change(caller, device_id)
        device = await self._database.write(_revoke, device_id, caller, self._clock.now(), durable=True)
        self.shut_out([device_id])
        return device

    async def hide(self, caller: Caller, device_id: str) -> Device:
        """Takes a revoked device from the list. Raises NotFound, Forbidden, or Conflict (`device_still_active`)."""
        _may_change(caller, device_id)
        return await self._database.write(_hide, device_id, caller, self._clock.now(), durable=True)

    def summary(self, devices: Iterable[Device]) -> DeviceSummary:
        """Of those in a list."""
        now = self._clock.now()
        listed = list(devices)
        active = [device for device in listed if device.status == DeviceStatus.ACTIVE]
        trusted = [device for device in active if (device.refresh_expires_at or 0.0) > now]
        return DeviceSummary(len(listed), len(active), len(listed) - len(active), len(trusted))

    async def _watch(self) -> None:
        while True:
            await self._clock.sleep(LOOK_EVERY_SECONDS)
            waiting = list(self._revoked)
            if not waiting:
                continue
            try:
                self.shut_out(await self._database.read(store.without_tokens, waiting))
            except StoreUnavailable as error:
                log.warning("cannot look for revoked devices: %s", error)


def checked_label(label: object) -> str:
    """Raises InvalidInput (`device_label_required`, `device_label_invalid`)."""
    line = " ".join(label.split()) if isinstance(label, str) else label
    if line is None or line == "":
        raise InvalidInput("say what the device is to be called", code="device_label_required", param="label")
    if not isinstance(line, str) or len(line) > MAX_LABEL_CHARS or not all(map(is_shown, line)):
        raise InvalidInput(
            f"the name of a device is one line of 1 to {MAX_LABEL_CHARS} characters",
            code="device_label_invalid",
            param="label",
        )
    return line


def _may_change(caller: Caller, device_id: str) -> None:
    if caller.scope != Scope.ADMIN and caller.device_id != device_id:
        raise Forbidden(
            "this device was paired for chatting: it may change itself, and no other device", code="scope_required"
        )


def _all(conn: Connection, hidden: bool) -> list[Device]:
    return store.all_of(conn, hidden=hidden)


def _get(conn: Connection, device_id: str) -> Device:
    found = store.get(conn, device_id) if is_id(device_id, "dev") else None
    if found is None:
        raise NotFound("there is no such device", code="device_not_found")
    return found


def _rename(conn: Connection, device_id: str, label: str, caller: Caller | None, now: float) -> Device:
    device = _get(conn, device_id)
    if device.status == DeviceStatus.REVOKED:
        raise Conflict(f"{device.label} was revoked: it has to pair again first", code="device_revoked")
    store.rename(conn, device_id, label, now)
    _note(conn, "device.renamed", device_id, caller, now)
    return _get(conn, device_id)


def _revoke(conn: Connection, device_id: str, caller: Caller | None, now: float) -> Device:
    device = _get(conn, device_id)
    tokens.forget(conn, device_id)
    if device.status == DeviceStatus.ACTIVE:
        store.set_expiries(conn, device_id, None, None, now)
        store.revoke(conn, device_id, now)
        _note(conn, "device.revoked", device_id, caller, now)
    return _get(conn, device_id)


def _hide(conn: Connection, device_id: str, caller: Caller, now: float) -> Device:
    device = _get(conn, device_id)
    if device.status == DeviceStatus.ACTIVE:
        raise Conflict(f"{device.label} may still come in: revoke it first", code="device_still_active")
    if device.app_hidden_at is None:
        store.hide(conn, device_id, now)
        _note(conn, "device.hidden", device_id, caller, now)
    return _get(conn, device_id)


def _note(conn: Connection, action: str, device_id: str, caller: Caller | None, now: float) -> None:
    audit.write(
        conn,
        action,
        now,
        device_id=caller.device_id if caller else None,
        subject=device_id,
        address=caller.address or None if caller else None,
    )
