"""The devices of this Link: who they are, and who may come in no more (spec: link-api, Status, devices)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

from fastapi import APIRouter, Query
from pydantic import BaseModel, WithJsonSchema

from hermeslink.api.bodies import Answer, Body
from hermeslink.api.dependencies import TheCaller, TheLink
from hermeslink.core.caller import Caller
from hermeslink.core.device import Device, DeviceStatus, Platform, Scope
from hermeslink.core.times import iso
from hermeslink.pairing.devices import MAX_LABEL_CHARS

if TYPE_CHECKING:
    from hermeslink.app import Link

router = APIRouter(prefix="/api/v1/devices", tags=["devices"])


class DeviceView(BaseModel):
    """`id` and `device_id` are one. `current`: it is the one that asks. The expiries are null where the device has no
    such token: it was revoked, or logged out."""

    id: str
    device_id: str
    label: str
    platform: Platform
    model: str | None
    scope: Scope
    status: DeviceStatus
    paired_at: str
    created_at: str
    updated_at: str
    access_expires_at: str | None
    refresh_expires_at: str | None
    last_seen_at: str | None
    revoked_at: str | None
    app_hidden_at: str | None
    app_instance_bound: bool
    current: bool

    @classmethod
    def of(cls, device: Device, current_id: str | None) -> DeviceView:
        return cls(
            id=device.id,
            device_id=device.id,
            label=device.label,
            platform=device.platform,
            model=device.model,
            scope=device.scope,
            status=device.status,
            paired_at=iso(device.paired_at),
            created_at=iso(device.created_at),
            updated_at=iso(device.updated_at),
            access_expires_at=iso(device.access_expires_at),
            refresh_expires_at=iso(device.refresh_expires_at),
            last_seen_at=iso(device.last_seen_at),
            revoked_at=iso(device.revoked_at),
            app_hidden_at=iso(device.app_hidden_at),
            app_instance_bound=device.is_bound,
            current=device.id == current_id,
        )


class SummaryView(BaseModel):
    """Of the devices in the list. `trusted`: active, and able to come back without pairing."""

    total: int
    active: int
    revoked: int
    trusted: int


class DevicesAnswer(Answer):
    current_device_id: str
    devices: list[DeviceView]
    summary: SummaryView


class DeviceAnswer(Answer):
    device: DeviceView


class RevokedAnswer(Answer):
    current_device_revoked: bool
    device: DeviceView
    summary: SummaryView


class HiddenAnswer(Answer):
    device: DeviceView
    summary: SummaryView


class Renaming(Body):
    label: Annotated[Any, WithJsonSchema({"type": "string", "minLength": 1, "maxLength": MAX_LABEL_CHARS})] = None


@router.get("")
async def list_devices(
    link: TheLink,
    caller: TheCaller,
    include_hidden: Annotated[bool, Query(description="Also those that were taken from the list.")] = False,
) -> DevicesAnswer:
    """All devices, who paired last first. A device with the scope chat sees itself."""
    found = await link.devices.all(caller, hidden=include_hidden)
    views = [DeviceView.of(device, caller.device_id) for device in found]
    return DevicesAnswer(current_device_id=caller.device_id, devices=views, summary=summary_of(link, found))


@router.patch("/{device_id}")
async def rename_device(
    device_id: str, link: TheLink, caller: TheCaller, renaming: Renaming | None = None
) -> DeviceAnswer:
    """Gives a device another name."""
    renamed = await link.devices.rename(caller, device_id, renaming.label if renaming else None)
    return DeviceAnswer(device=DeviceView.of(renamed, caller.device_id))


@router.delete("/{device_id}")
async def revoke_device(device_id: str, link: TheLink, caller: TheCaller) -> RevokedAnswer:
    """Its tokens are worth nothing at once, and its open streams end. It comes back by pairing only."""
    revoked = await link.devices.revoke(caller, device_id)
    return RevokedAnswer(
        current_device_revoked=revoked.id == caller.device_id,
        device=DeviceView.of(revoked, caller.device_id),
        summary=await _summary(link, caller),
    )


@router.delete("/{device_id}/app-listing")
async def hide_device(device_id: str, link: TheLink, caller: TheCaller) -> HiddenAnswer:
    """Takes a revoked device from the list."""
    hidden = await link.devices.hide(caller, device_id)
    return HiddenAnswer(device=DeviceView.of(hidden, caller.device_id), summary=await _summary(link, caller))


async def _summary(link: Link, caller: Caller) -> SummaryView:
    return summary_of(link, await link.devices.all(caller))


def summary_of(link: Link, devices: Iterable[Device]) -> SummaryView:
    return SummaryView(**asdict(link.devices.summary(devices)))
