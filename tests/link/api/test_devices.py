"""Devices over HTTP, with every named code, and open streams of one that is revoked (spec: link-api, section 3)."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from hermes.store.database import Database
from hermeslink.api.app import GROUPS
from hermeslink.api.dependencies import TheCaller, TheLink
from hermeslink.api.sse import Event, events_response
from hermeslink.pairing.devices import Devices
from hermeslink.store.schema import LINK
from tests.support.link import LinkServer, serving_link

pytestmark = pytest.mark.sqlite("Link keeps its data in SQLite")

DEVICES = "/api/v1/devices"
UNKNOWN = "dev_" + "0" * 32

streams = APIRouter()


@streams.get("/api/v1/conversations/events")
async def stream(request: Request, link: TheLink, caller: TheCaller) -> Response:
    async def events() -> AsyncIterator[Event]:
        yield 1, "begun", {}
        await asyncio.Event().wait()

    return events_response(request, events(), link.devices.revoked(caller.device_id))


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[LinkServer]:
    groups = [group for group in GROUPS if "/api/v1/conversations/events" not in {r.path for r in group.routes}]  # type: ignore[attr-defined]
    async with serving_link(tmp_path, groups=[*groups, streams]) as running:
        yield running


def told(answer: httpx.Response) -> tuple[int, str]:
    body = answer.json()
    assert body["ok"] is False
    return answer.status_code, body["error"]["code"]


async def test_an_admin_sees_all_devices_and_which_it_is_itself(server: LinkServer) -> None:
    answer = await server.admin.get(DEVICES)

    body = answer.json()
    own = server.admin_device.device.id
    assert (answer.status_code, body["ok"], body["current_device_id"]) == (200, True, own)
    assert {device["id"]: device["current"] for device in body["devices"]} == {
        own: True,
        server.chat_device.device.id: False,
    }
    assert body["summary"] == {"total": 2, "active": 2, "revoked": 0, "trusted": 2}
    assert all(device["last_seen_at"] or not device["current"] for device in body["devices"])


async def test_a_device_for_chatting_sees_and_changes_itself_alone(server: LinkServer) -> None:
    own, other = server.chat_device.device.id, server.admin_device.device.id

    listed = (await server.chat.get(DEVICES)).json()

    assert [device["id"] for device in listed["devices"]] == [own]
    assert listed["summary"] == {"total": 1, "active": 1, "revoked": 0, "trusted": 1}
    for device_id in (other, UNKNOWN):
        path = f"{DEVICES}/{device_id}"
        assert told(await server.chat.patch(path, json={"label": "x"})) == (403, "scope_required")
        assert told(await server.chat.delete(path)) == (403, "scope_required")
        assert told(await server.chat.delete(f"{path}/app-listing")) == (403, "scope_required")
    assert (await server.chat.patch(f"{DEVICES}/{own}", json={"label": "Mine"})).json()["device"]["label"] == "Mine"


async def test_a_device_gets_another_name(server: LinkServer) -> None:
    path = f"{DEVICES}/{server.chat_device.device.id}"

    answer = await server.admin.patch(path, json={"label": "Kitchen"})

    assert answer.status_code == 200
    assert (answer.json()["device"]["label"], answer.json()["device"]["current"]) == ("Kitchen", False)
    for body in ({}, {"label": ""}, {"label": None}, {"label": "  "}):
        assert told(await server.admin.patch(path, json=body)) == (400, "device_label_required")
    for label in ("x" * 129, 7, ["x"], "a\u202eb"):
        assert told(await server.admin.patch(path, json={"label": label})) == (400, "device_label_invalid")
    for unknown in (UNKNOWN, "x", "..%2f..%2fetc"):
        answer = await server.admin.patch(f"{DEVICES}/{unknown}", json={"label": "x"})
        assert told(answer)[0] == 404
    assert told(await server.admin.patch(f"{DEVICES}/{UNKNOWN}", json={"label": "x"})) == (404, "device_not_found")


async def test_a_revoked_device_is_out_and_can_leave_the_list(server: LinkServer) -> None:
    path = f"{DEVICES}/{server.chat_device.device.id}"
    assert told(await server.admin.delete(f"{path}/app-listing")) == (409, "device_still_active")

    revoked = await server.admin.delete(path)

    body = revoked.json()
    assert (body["ok"], body["current_device_revoked"], body["device"]["status"]) == (True, False, "revoked")
    assert body["summary"] == {"total": 2, "active": 1, "revoked": 1, "trusted": 1}
    assert told(await server.chat.get(DEVICES)) == (401, "device_access_token_invalid")
    refresh = {"refresh_token": server.chat_device.refresh.token}
    assert told(await server.client.post("/api/v1/auth/refresh", json=refresh)) == (401, "refresh_token_invalid")
    assert told(await server.admin.patch(path, json={"label": "x"})) == (409, "device_revoked")
    hidden = await server.admin.delete(f"{path}/app-listing")
    assert hidden.json()["device"]["app_hidden_at"] and hidden.json()["summary"]["total"] == 1
    assert len((await server.admin.get(DEVICES)).json()["devices"]) == 1
    assert len((await server.admin.get(DEVICES, params={"include_hidden": "true"})).json()["devices"]) == 2
    assert told(await server.admin.delete(f"{DEVICES}/{UNKNOWN}")) == (404, "device_not_found")
    assert told(await server.admin.delete(f"{DEVICES}/{UNKNOWN}/app-listing")) == (404, "device_not_found")


async def test_a_device_can_revoke_itself(server: LinkServer) -> None:
    answer = await server.chat.delete(f"{DEVICES}/{server.chat_device.device.id}")

    assert answer.json()["current_device_revoked"] is True
    assert told(await server.chat.get(DEVICES)) == (401, "device_access_token_invalid")


async def read_to_its_end(client: httpx.AsyncClient, has_begun: asyncio.Event) -> float:
    async with client.stream("GET", "/api/v1/conversations/events") as answer:
        assert answer.status_code == 200
        async for _ in answer.aiter_bytes():
            has_begun.set()
    return time.monotonic()


@pytest.mark.parametrize("how", ["revoked", "logged out", "revoked by another process"])
async def test_an_open_stream_ends_within_a_second_and_those_of_others_go_on(server: LinkServer, how: str) -> None:
    begun, other_begun = asyncio.Event(), asyncio.Event()
    reading = asyncio.create_task(read_to_its_end(server.chat, begun))
    other = asyncio.create_task(read_to_its_end(server.admin, other_begun))
    await asyncio.wait_for(asyncio.gather(begun.wait(), other_begun.wait()), 10)

    started = time.monotonic()
    await END[how](server)
    ended = await asyncio.wait_for(reading, 10)

    assert ended - started < 1
    assert not other.done()
    other.cancel()


async def _revoke(server: LinkServer) -> None:
    await server.admin.delete(f"{DEVICES}/{server.chat_device.device.id}")


async def _logout(server: LinkServer) -> None:
    await server.client.post("/api/v1/auth/logout", json={"refresh_token": server.chat_device.refresh.token})


async def _revoke_elsewhere(server: LinkServer) -> None:
    other_process = await Database.open(server.link.home.database_url, LINK)
    await Devices(other_process, server.link.clock).revoke(None, server.chat_device.device.id)
    await other_process.close()


END = {"revoked": _revoke, "logged out": _logout, "revoked by another process": _revoke_elsewhere}
