"""Who may call what. It stands in front of the router: what is in none of these sets takes an admin's device.

Paths are those of the route table, with `{}` for every parameter. Section 2 of spec: link-api.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import replace

from hermes.core.clock import Clock
from hermes.core.errors import Forbidden, Unauthorized
from hermes.core.guesses import Guesses
from hermes.core.peers import Peer
from hermes.http.headers import RawHeaders
from hermeslink.api.dependencies import AUTH_REQUIRED
from hermeslink.core.caller import Caller
from hermeslink.pairing.devices import Devices

Row = tuple[str, str]
"""A method and a path."""

PUBLIC: frozenset[Row] = frozenset(
    {
        ("GET", "/"),
        ("GET", "/pair"),
        ("GET", "/static/{}"),
        ("GET", "/api/docs"),
        ("GET", "/api/docs/{}"),
        ("GET", "/api/openapi.json"),
        ("GET", "/api/v1/bootstrap"),
        ("GET", "/api/v1/system/version"),
        ("GET", "/api/v1/pairing/session"),
        ("POST", "/api/v1/pairing/claim"),
        ("POST", "/api/v1/auth/refresh"),
        ("POST", "/api/v1/auth/logout"),
    }
)

OWN_TOKEN: frozenset[Row] = frozenset({("POST", "/api/v1/auth/device-session")})
"""Takes a connect token, which its handler looks at."""

AT_THIS_MACHINE: frozenset[Row] = frozenset({("POST", "/api/v1/pairing/session"), ("GET", "/metrics")})
"""Open to a true loopback peer, which has no page of another origin behind it; else to an admin."""

CHAT: frozenset[Row] = frozenset(
    {
        ("GET", "/api/v1/auth/me"),
        ("GET", "/api/v1/status"),
        ("GET", "/api/v1/system/status"),
        # its own row: `OWN_DEVICE`, and a list that holds no other
        ("GET", "/api/v1/devices"),
        ("PATCH", "/api/v1/devices/{}"),
        ("DELETE", "/api/v1/devices/{}"),
        ("DELETE", "/api/v1/devices/{}/app-listing"),
        # conversations, and what is in them
        ("GET", "/api/v1/conversations"),
        ("POST", "/api/v1/conversations"),
        ("DELETE", "/api/v1/conversations"),
        ("GET", "/api/v1/conversations/search"),
        ("GET", "/api/v1/conversations/events"),
        ("GET", "/api/v1/conversations/archived"),
        ("GET", "/api/v1/conversations/archived/search"),
        ("POST", "/api/v1/conversations/clear-plans"),
        ("GET", "/api/v1/conversations/clear-plans/{}"),
        ("POST", "/api/v1/conversations/clear-plans/{}/execute"),
        ("POST", "/api/v1/conversations/archive-plans"),
        ("GET", "/api/v1/conversations/archive-plans/{}"),
        ("POST", "/api/v1/conversations/archive-plans/{}/execute"),
        ("DELETE", "/api/v1/conversations/{}"),
        ("GET", "/api/v1/conversations/{}/messages"),
        ("POST", "/api/v1/conversations/{}/messages"),
        ("GET", "/api/v1/conversations/{}/events"),
        ("PATCH", "/api/v1/conversations/{}/title"),
        ("PATCH", "/api/v1/conversations/{}/model"),
        ("PATCH", "/api/v1/conversations/{}/profile"),
        ("POST", "/api/v1/conversations/{}/ack"),
        ("POST", "/api/v1/conversations/{}/archive"),
        ("POST", "/api/v1/conversations/{}/unarchive"),
        ("POST", "/api/v1/conversations/{}/runs/{}/cancel"),
        ("POST", "/api/v1/conversations/{}/runs/{}/answer"),
        ("POST", "/api/v1/conversations/{}/approvals/{}/approve"),
        ("POST", "/api/v1/conversations/{}/approvals/{}/deny"),
        ("POST", "/api/v1/conversations/{}/blobs"),
        ("GET", "/api/v1/conversations/{}/blobs/{}"),
        ("DELETE", "/api/v1/conversations/{}/blobs/{}"),
        # runs, models, statistics
        ("POST", "/api/v1/runs"),
        ("GET", "/api/v1/runs/{}/events"),
        ("POST", "/api/v1/runs/{}/cancel"),
        ("GET", "/api/v1/models"),
        ("GET", "/api/v1/statistics"),
        ("GET", "/api/v1/statistics/usage"),
        # reads of profiles
        ("GET", "/api/v1/model-configs"),
        ("GET", "/api/v1/cron-jobs"),
        ("GET", "/api/v1/profiles"),
        ("GET", "/api/v1/profiles/catalog"),
        ("GET", "/api/v1/profiles/{}/status"),
        ("GET", "/api/v1/profiles/{}/statistics"),
        ("GET", "/api/v1/profiles/{}/skills"),
        ("GET", "/api/v1/profiles/{}/memory"),
        ("GET", "/api/v1/profiles/{}/permissions"),
        ("GET", "/api/v1/profiles/{}/tool-configs/{}"),
        ("GET", "/api/v1/profiles/{}/model-configs"),
        ("GET", "/api/v1/profiles/{}/cron-jobs"),
        ("GET", "/api/v1/profiles/{}/cron-jobs/{}"),
    }
)
"""What a device with the scope chat may."""

OWN_DEVICE: frozenset[Row] = frozenset(row for row in CHAT if row[1].startswith("/api/v1/devices/{}"))
"""Of these, a chat device may those with its own id."""


class Gate:
    """Wrong tokens are slowed down, right ones never: a phone that just refreshed shares its address with others."""

    def __init__(self, devices: Devices, clock: Clock) -> None:
        self._devices = devices
        self._guesses = Guesses(clock)

    async def identify(self, row: Row, peer: Peer, headers: RawHeaders) -> Caller | None:
        """The device that asks; None where none is needed. Raises Unauthorized where one is, or Busy
        `too_many_attempts` for one guess too many."""
        token = sent_token(headers)
        if row in OWN_TOKEN:
            return None
        if row in PUBLIC or (row in AT_THIS_MACHINE and peer.is_local):
            return await self._known(token, peer) if token else None
        if token is None:
            raise Unauthorized(AUTH_REQUIRED, code="auth_required")
        caller = await self._known(token, peer)
        digest = hashlib.sha256(token.encode("latin-1")).digest()
        if caller is None:
            self._guesses.wrong(peer.address, digest)
            raise Unauthorized("the access token is wrong or has expired", code="device_access_token_invalid")
        self._guesses.right(peer.address, digest)
        return caller

    async def _known(self, token: str, peer: Peer) -> Caller | None:
        found = await self._devices.authenticate(token)
        return found and replace(found, address=peer.address, is_local=peer.is_local)


def check_scope(row: Row, caller: Caller | None, parameters: Mapping[str, str]) -> None:
    """Raises Forbidden `scope_required` where a device is of too small a scope."""
    if caller is None or caller.is_admin or row in PUBLIC or (row in AT_THIS_MACHINE and caller.is_local):
        return
    if row not in CHAT:
        raise Forbidden("this needs a device with the scope admin", code="scope_required")
    if row in OWN_DEVICE and list(parameters.values()) != [caller.device_id]:
        raise Forbidden("a device with the scope chat may change itself, and no other", code="scope_required")


def sent_token(headers: RawHeaders) -> str | None:
    """Of `Authorization: Bearer …`, the scheme in any case."""
    scheme, _, token = headers.get(b"authorization", b"").strip().partition(b" ")
    if scheme.lower() != b"bearer" or not token.strip():
        return None
    return token.strip().decode("latin-1")
