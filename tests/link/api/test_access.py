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


PUBLISHED = {
    *("GET /", "GET /pair", "GET /static/{}", "GET /api/docs", "GET /api/docs/{}", "GET /api/openapi.json"),
    *("GET /api/v1/bootstrap", "GET /api/v1/system/version", "GET /api/v1/pairing/session"),
    *("POST /api/v1/pairing/claim", "POST /api/v1/auth/refresh", "POST /api/v1/auth/logout"),
}
"""As section 2 of the contract says it: what is opened has to be said twice."""

ADMINS = re.compile(
    r"\w+ (/metrics|/api/v1/(audit|logs|pairing/session|expose))"
    r"|\w+ /api/v1/(system/(logs|updates|autostart)|(hermes|link)/update)\S*"
    r"|(POST|PATCH|DELETE) /api/v1/(profiles|model-configs|cron-jobs|system)(/.*)?"
)
"""What the contract keeps from a device of scope chat."""


def filled(path: str, value: str = "x") -> str:
    return re.sub(r"\{\w+\}", value, path)


def test_nothing_is_public_but_what_is_published_so() -> None:
    assert {f"{method} {path}" for method, path in PUBLIC} == PUBLISHED
    assert {f"{method} {path}" for method, path in OWN_TOKEN} == {"POST /api/v1/auth/device-session"}
    assert {f"{method} {path}" for method, path in AT_THIS_MACHINE} == {"POST /api/v1/pairing/session", "GET /metrics"}


def test_no_route_of_an_admin_is_open_to_chat() -> None:
    assert [row for row in CHAT if ADMINS.fullmatch(" ".join(row))] == []
    assert len([row for row in TABLE if ADMINS.fullmatch(f"{row[0]} {shape_of(row[1])}")]) > 30


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


@pytest.mark.parametrize("token", ["x", "hlat_" + "x" * 4000, "two words"])
async def test_a_token_of_any_form_is_a_wrong_one(server: LinkServer, token: str) -> None:
    answer = await server.client.get("/api/v1/auth/me", headers={"Authorization": f"bearer {token}"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (401, "device_access_token_invalid")


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
