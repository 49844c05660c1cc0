"""Who may call what: every row of the table, without a token and with each of the two scopes."""

from __future__ import annotations

import logging
import re
from pathlib import Path

import pytest
from fastapi import APIRouter

from hermes.core.errors import Forbidden
from hermeslink.api.access import AT_THIS_MACHINE, CHAT, OWN_DEVICE, OWN_TOKEN, PUBLIC, check_scope
from hermeslink.api.app import GROUPS, rows_of
from hermeslink.api.paths import shape_of
from hermeslink.core.caller import Caller
from hermeslink.core.device import Scope
from tests.support.link import LinkServer, serving_link

pytestmark = pytest.mark.sqlite("Link keeps its data in SQLite")

TABLE = rows_of(GROUPS)
OPEN = PUBLIC | OWN_TOKEN | AT_THIS_MACHINE


def filled(path: str, value: str = "x") -> str:
    return re.sub(r"\{\w+\}", value, path)


async def test_every_route_that_is_not_public_is_401_without_a_token(server: LinkServer) -> None:
    for method, path in TABLE:
        if (method, shape_of(path)) not in OPEN:
            answer = await server.client.request(method, filled(path))
            assert (answer.status_code, answer.json()["error"]["code"]) == (401, "auth_required"), (method, path)
            assert answer.headers["www-authenticate"] == "Bearer"


async def test_every_route_that_is_not_public_is_401_with_a_wrong_token(server: LinkServer) -> None:
    for method, path in TABLE:
        if (method, shape_of(path)) not in OPEN:
            answer = await server.client.request(method, filled(path), headers={"Authorization": "Bearer hlat_no"})
            assert answer.status_code == 401, (method, path)
            assert answer.json()["error"]["code"] == "device_access_token_invalid"


async def test_a_chat_device_gets_403_where_its_scope_is_too_small(server: LinkServer) -> None:
    for method, path in TABLE:
        if (method, shape_of(path)) not in OPEN | CHAT:
            answer = await server.chat.request(method, filled(path))
            assert (answer.status_code, answer.json()["error"]["code"]) == (403, "scope_required"), (method, path)


async def test_a_chat_device_may_change_its_own_row_only(server: LinkServer) -> None:
    rows = [row for row in TABLE if (row[0], shape_of(row[1])) in OWN_DEVICE]
    for method, path in rows:
        other = await server.chat.request(method, filled(path, server.admin_device.device.id))
        assert (other.status_code, other.json()["error"]["code"]) == (403, "scope_required")
    for method, path in rows:
        own = await server.chat.request(method, filled(path, server.chat_device.device.id))
        assert own.status_code != 403


async def test_what_is_not_there_is_told_to_devices_only(server: LinkServer) -> None:
    assert (await server.client.get("/api/v1/no-such")).status_code == 401
    answer = await server.chat.get("/api/v1/no-such")
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "not_found")


def test_the_door_itself_keeps_a_chat_device_to_its_own_row() -> None:
    chat = Caller("dev_" + "c" * 32, Scope.CHAT)
    for row in OWN_DEVICE:
        check_scope(row, chat, {"device_id": chat.device_id})
        with pytest.raises(Forbidden):
            check_scope(row, chat, {"device_id": "dev_" + "d" * 32})


async def test_a_route_that_nobody_listed_is_an_admins(tmp_path: Path) -> None:
    router = APIRouter(prefix="/api/v1")

    @router.get("/new")
    async def new() -> dict[str, bool]:
        return {"ok": True}

    async with serving_link(tmp_path, groups=[router]) as server:
        statuses = [(await one.get("/api/v1/new")).status_code for one in (server.client, server.chat, server.admin)]
    assert statuses == [401, 403, 200]


def test_every_row_that_access_names_is_served() -> None:
    assert {(method, shape_of(path)) for method, path in TABLE} >= OPEN | CHAT


async def test_a_token_in_the_address_opens_nothing_and_is_in_no_log(
    server: LinkServer, caplog: pytest.LogCaptureFixture
) -> None:
    token = server.admin_device.access.token
    with caplog.at_level(logging.DEBUG):
        for query in ("access_token", "token", "authorization", "api_key"):
            answer = await server.client.get(f"/api/v1/devices?{query}={token}")
            assert answer.status_code == 401
            assert token not in answer.text
    assert any("/api/v1/devices 401" in message for message in caplog.messages)
    assert not any(token in record.getMessage() for record in caplog.records if record.name.startswith("hermes"))
