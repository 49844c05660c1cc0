"""How a device comes in: one code, two routes, one winner; and how its tokens go on (spec: link-api, section 2)."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass, field

from hermes.core.clock import Clock
from hermes.core.errors import Conflict, Forbidden, NotFound, Unauthorized
from hermes.store.database import Connection, Database
from hermeslink.core.caller import Caller
from hermeslink.core.device import Device, DeviceStatus, Platform, Scope, narrower
from hermeslink.core.ids import is_id, new_id
from hermeslink.core.text import is_shown
from hermeslink.identity import IdentityFile
from hermeslink.pairing import secrets
from hermeslink.pairing.attempts import Attempts
from hermeslink.pairing.devices import MAX_LABEL_CHARS, Devices
from hermeslink.store import audit, devices, tokens
from hermeslink.store import pairing as store
from hermeslink.store.pairing import PairingSession
from hermeslink.store.tokens import RefreshToken, TokenKind

CODE_SECONDS = 300.0
REFRESH_SECONDS = 90 * 86400.0
GRACE_SECONDS = 30.0
"""How long a refresh token that was used is taken for one whose answer was lost."""


@dataclass(frozen=True, slots=True)
class PairingCode:
    """`code` is the connect token, shown once. Times are unix seconds."""

    session_id: str
    code: str = field(repr=False)
    scope: Scope
    created_at: float
    expires_at: float


@dataclass(frozen=True, slots=True)
class Newcomer:
    """What a device says of itself. `app_instance`: what the app calls its installation, None where it does not say."""

    label: str | None = None
    platform: Platform = Platform.OTHER
    model: str | None = None
    app_instance: str | None = None


@dataclass(frozen=True, slots=True)
class Token:
    """`expires_at`: unix seconds."""

    token: str = field(repr=False)
    expires_at: float


@dataclass(frozen=True, slots=True)
class Admission:
    """The tokens are shown this once."""

    device: Device
    access: Token
    refresh: Token


class Pairing:
    def __init__(
        self, database: Database, clock: Clock, identity: IdentityFile, devices: Devices, *, access_seconds: float
    ) -> None:
        self._database = database
        self._clock = clock
        self._identity = identity
        self._devices = devices
        self._attempts = Attempts(clock)
        self._access_seconds = access_seconds

    async def make(self, scope: Scope = Scope.ADMIN, caller: Caller | None = None) -> PairingCode:
        """A code for one device, good for five minutes. `caller` None: somebody at the machine. Raises Forbidden where
        the caller would give more than it has, Conflict (`link_not_paired`) where the identity cannot be used."""
        if caller is not None and narrower(caller.scope, scope) != scope:
            raise Forbidden("a device that was paired for chatting lets nobody do more", code="scope_required")
        await asyncio.to_thread(self._identity.get)
        now = self._clock.now()
        made = PairingCode(new_id("ps"), secrets.new_connect_token(), scope, now, now + CODE_SECONDS)
        await self._database.write(_keep, made, caller, durable=True)
        return made

    async def session(self, session_id: str) -> PairingSession:
        """Raises NotFound: `pairing_session_not_found`, `pairing_session_expired`."""
        return await self._database.read(_session, session_id, self._clock.now())

    async def by_code(self, code: str, address: str = "") -> PairingSession:
        """The session of a connect token, which stays good. Raises Unauthorized (`auth_invalid`) or Busy."""
        with self._attempts.counted(address):
            return await self._database.read(_session_of_code, secrets.hash_of(code), self._clock.now())

    async def claim(self, session_id: str, code: str, newcomer: Newcomer, address: str = "") -> Admission:
        """Raises NotFound as `session` does, Conflict (`pairing_claim_mismatch`, `pairing_already_claimed`,
        `link_not_paired`) or Busy."""
        await asyncio.to_thread(self._identity.get)
        with self._attempts.counted(address, session_id):
            session = await self._database.read(_session, session_id, self._clock.now())
            if not secrets.is_same(session.code_hash, secrets.hash_of(code)):
                raise Conflict("this code is not that session's", code="pairing_claim_mismatch")
            return await self._admit(session, newcomer, address)

    async def by_connect_token(self, code: str, newcomer: Newcomer, address: str = "") -> Admission:
        """The other route, with the code alone. Raises Forbidden (`app_connect_required`) for an access token,
        Unauthorized (`auth_invalid`), Conflict (`pairing_already_claimed`, `link_not_paired`) or Busy."""
        if code.startswith(secrets.ACCESS_PREFIX):
            raise Forbidden("pairing takes a connect token, not the token of a device", code="app_connect_required")
        await asyncio.to_thread(self._identity.get)
        with self._attempts.counted(address):
            session = await self._database.read(_session_of_code, secrets.hash_of(code), self._clock.now())
        with self._attempts.counted(address, session.id):
            return await self._admit(session, newcomer, address)

    async def refresh(self, refresh_token: str, app_instance: str | None = None, address: str = "") -> Admission:
        """New tokens for old ones. Again within 30 s, by the same device, gives the same refresh token; later it is
        reuse, and the device's tokens are all worth nothing. Raises Unauthorized (`refresh_token_invalid`) or Busy."""
        with self._attempts.counted(address, right_ones_wait=False):  # one dead client must not log others out
            now = self._clock.now()
            renewal = _Renewal(
                refresh_token,
                secrets.new_salt(),
                self._new_access(now),
                now,
                address,
                None if app_instance is None else secrets.hash_of(app_instance),
            )
            presented = secrets.hash_of(refresh_token)
            is_known = await self._database.read(tokens.refresh_token, presented) is not None
            done = await self._database.write(_refresh, renewal, durable=True) if is_known else None
            if isinstance(done, Admission):
                return done
            if done is not None:
                self._devices.shut_out([done.device_id])
            raise Unauthorized("this refresh token is not good: pair the device again", code="refresh_token_invalid")

    async def logout(self, presented: Iterable[str], address: str = "") -> None:
        """The device of any of these tokens has none any more. What is unknown is no error."""
        hashes = [secrets.hash_of(token) for token in presented]
        if not await self._database.read(_owners, hashes):  # anybody may ask: that costs the disk nothing
            return
        self._devices.shut_out(
            await self._database.write(_logout, hashes, self._clock.now(), address or None, durable=True)
        )

    async def _admit(self, session: PairingSession, newcomer: Newcomer, address: str) -> Admission:
        now = self._clock.now()
        refresh = Token(secrets.new_refresh_token(), now + REFRESH_SECONDS)
        entry = _Entry(session, newcomer, new_id("dev"), self._new_access(now), refresh, now, address)
        admission = await self._database.write(_admit, entry, durable=True)
        self._devices.shut_out([admission.device.id])  # what an earlier pairing of it had open
        return admission

    def _new_access(self, now: float) -> Token:
        return Token(secrets.new_access_token(), now + self._access_seconds)


@dataclass(frozen=True, slots=True)
class _Entry:
    session: PairingSession
    newcomer: Newcomer
    new_device_id: str
    access: Token
    refresh: Token
    now: float
    address: str


@dataclass(frozen=True, slots=True)
class _Renewal:
    presented: str = field(repr=False)
    salt: str = field(repr=False)
    access: Token
    now: float
    address: str
    app_instance: str | None  # its SHA-256


@dataclass(frozen=True, slots=True)
class _Reused:
    device_id: str


def _keep(conn: Connection, made: PairingCode, caller: Caller | None) -> None:
    store.add(conn, made.session_id, secrets.hash_of(made.code), made.scope, made.created_at, made.expires_at)
    audit.write(
        conn,
        "pairing.created",
        made.created_at,
        device_id=caller.device_id if caller else None,
        subject=made.session_id,
        address=caller.address or None if caller else None,
        details={"scope": made.scope.value},
    )


def _session(conn: Connection, session_id: str, now: float) -> PairingSession:
    found = store.get(conn, session_id) if is_id(session_id, "ps") else None
    if found is None:
        raise NotFound("there is no such pairing session", code="pairing_session_not_found")
    if found.expires_at <= now:
        raise NotFound("the time of this pairing session is over: make a new code", code="pairing_session_expired")
    return found


def _session_of_code(conn: Connection, code_hash: str, now: float) -> PairingSession:
    found = store.of_code(conn, code_hash)
    if found is None or not secrets.is_same(found.code_hash, code_hash) or found.expires_at <= now:
        raise Unauthorized("this connect token is unknown, or its time is over: make a new code", code="auth_invalid")
    return found


def _admit(conn: Connection, entry: _Entry) -> Admission:
    if not store.consume(conn, entry.session.id, entry.now):
        raise Conflict("another device was paired with this code: make a new one", code="pairing_already_claimed")
    device_id = _place(conn, entry)
    store.set_device(conn, entry.session.id, device_id)
    tokens.forget(conn, device_id)
    tokens.add(
        conn,
        secrets.hash_of(entry.refresh.token),
        TokenKind.REFRESH,
        device_id,
        entry.now,
        entry.refresh.expires_at,
    )
    device = _give_access(conn, device_id, entry.access, entry.refresh, entry.now)
    details = {"session_id": entry.session.id, "scope": device.scope.value, "label": device.label}
    address = entry.address or None
    audit.write(
        conn, "device.paired", entry.now, device_id=device_id, subject=device_id, address=address, details=details
    )
    return Admission(device, entry.access, entry.refresh)


def _place(conn: Connection, entry: _Entry) -> str:
    """The row of the device: its own, where it was here before. One that is still let in gets no wider scope by
    pairing again; one that was revoked gets the code's."""
    newcomer = entry.newcomer
    label = _label(newcomer)
    app_instance = None if newcomer.app_instance is None else secrets.hash_of(newcomer.app_instance)
    before = devices.of_app_instance(conn, app_instance) if app_instance else None
    if before is None:
        devices.add(
            conn,
            entry.new_device_id,
            label=label,
            platform=newcomer.platform,
            model=_line(newcomer.model),
            scope=entry.session.scope,
            app_instance=app_instance,
            now=entry.now,
        )
        return entry.new_device_id
    is_active = before.status == DeviceStatus.ACTIVE
    devices.pair_again(
        conn,
        before.id,
        label=label,
        platform=newcomer.platform,
        model=_line(newcomer.model),
        scope=narrower(before.scope, entry.session.scope) if is_active else entry.session.scope,
        now=entry.now,
    )
    return before.id


def _label(newcomer: Newcomer) -> str:
    return _line(newcomer.label) or _line(newcomer.model) or f"{newcomer.platform.value} device"


def _line(text: str | None) -> str | None:
    """As it can be shown."""
    shown = "".join(character if is_shown(character) else " " for character in text or "")
    return " ".join(shown.split())[:MAX_LABEL_CHARS].strip() or None


def _refresh(conn: Connection, renewal: _Renewal) -> Admission | _Reused | None:
    """None: not good. It raises nothing, since what it found out is to stay."""
    now = renewal.now
    used = tokens.refresh_token(conn, secrets.hash_of(renewal.presented))
    if used is None or used.expires_at <= now:
        return None
    device = devices.get(conn, used.device_id)
    if device is None or device.status == DeviceStatus.REVOKED:
        return None
    if used.rotated_at is None:
        return _rotate(conn, used, renewal)
    if now - used.rotated_at <= GRACE_SECONDS and _is_same_device(conn, device, renewal):
        return _repeat(conn, used, renewal)
    _end_family(conn, device.id, "tokens.reused", now, renewal.address or None)
    return _Reused(device.id)


def _rotate(conn: Connection, used: RefreshToken, renewal: _Renewal) -> Admission:
    now = renewal.now
    refresh = Token(secrets.successor(renewal.presented, renewal.salt), now + REFRESH_SECONDS)
    tokens.forget_access(conn, used.device_id)
    tokens.forget_expired(conn, used.device_id, now)
    tokens.rotate(conn, used.hash, renewal.salt, now)
    tokens.add(conn, secrets.hash_of(refresh.token), TokenKind.REFRESH, used.device_id, now, refresh.expires_at)
    device = _give_access(conn, used.device_id, renewal.access, refresh, now)
    audit.write(
        conn,
        "tokens.refreshed",
        now,
        device_id=device.id,
        subject=device.id,
        address=renewal.address or None,
    )
    return Admission(device, renewal.access, refresh)


def _repeat(conn: Connection, used: RefreshToken, renewal: _Renewal) -> Admission | None:
    """The refresh token that is to be used next, however many answers were lost, and an access token beside the one
    that the first answer gave."""
    token, link = renewal.presented, used
    while link.rotated_at is not None:
        token = secrets.successor(token, link.salt or "")
        following = tokens.refresh_token(conn, secrets.hash_of(token))
        if following is None:
            return None
        link = following
    refresh = Token(token, link.expires_at)
    device = _give_access(conn, used.device_id, renewal.access, refresh, renewal.now)
    return Admission(device, renewal.access, refresh)


def _is_same_device(conn: Connection, device: Device, renewal: _Renewal) -> bool:
    """As far as it says who it is."""
    if renewal.app_instance is None or not device.is_bound:
        return True
    return secrets.is_same(devices.app_instance(conn, device.id) or "", renewal.app_instance)


def _give_access(conn: Connection, device_id: str, access: Token, refresh: Token, now: float) -> Device:
    tokens.add(conn, secrets.hash_of(access.token), TokenKind.ACCESS, device_id, now, access.expires_at)
    devices.set_expiries(conn, device_id, access.expires_at, refresh.expires_at, now)
    found = devices.get(conn, device_id)
    assert found is not None, "its row is written in this transaction"
    return found


def _logout(conn: Connection, hashes: list[str], now: float, address: str | None) -> list[str]:
    """Whose tokens went."""
    gone = _owners(conn, hashes)
    for device_id in gone:
        _end_family(conn, device_id, "device.logged_out", now, address)
    return gone


def _owners(conn: Connection, hashes: list[str]) -> list[str]:
    """The devices that have, or had, one of these tokens."""
    found = (tokens.device_of(conn, presented) for presented in hashes)
    return sorted({owner for owner in found if owner is not None})


def _end_family(conn: Connection, device_id: str, action: str, now: float, address: str | None) -> None:
    tokens.forget(conn, device_id)
    devices.set_expiries(conn, device_id, None, None, now)
    audit.write(conn, action, now, device_id=device_id, subject=device_id, address=address)
