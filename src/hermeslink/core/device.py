"""A device of a person: a phone, a browser, a script."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Scope(StrEnum):
    """What a device may do: everything, or what chatting takes (spec: link-api, section 2)."""

    ADMIN = "admin"
    CHAT = "chat"


class DeviceStatus(StrEnum):
    """A revoked device becomes active again only by pairing."""

    ACTIVE = "active"
    REVOKED = "revoked"


class Platform(StrEnum):
    IOS = "ios"
    ANDROID = "android"
    WEB = "web"
    CLI = "cli"
    DESKTOP = "desktop"
    OTHER = "other"


@dataclass(frozen=True, slots=True)
class Device:
    """Times are unix seconds. The two expiries are None where it has no such token. `is_bound`: it said what its app
    instance is called, and keeps this row when it pairs again."""

    id: str
    label: str
    platform: Platform
    model: str | None
    scope: Scope
    status: DeviceStatus
    paired_at: float
    created_at: float
    updated_at: float
    access_expires_at: float | None
    refresh_expires_at: float | None
    last_seen_at: float | None
    revoked_at: float | None
    app_hidden_at: float | None
    is_bound: bool


def narrower(one: Scope, other: Scope) -> Scope:
    return Scope.ADMIN if one == other == Scope.ADMIN else Scope.CHAT
