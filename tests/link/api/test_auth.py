"""Tokens over HTTP: every answer and every named code of the groups auth and pairing (spec: link-api, section 3)."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from hermeslink.api.app import create_app
from hermeslink.app import open_link
from hermeslink.core.device import Scope
from hermeslink.home import LinkHome
from tests.support.clock import FakeClock
from tests.support.link import LinkServer, client_of, listening, serving_link

pytestmark = pytest.mark.sqlite("Link keeps its data in SQLite")

DEVICE = {
    "id",
    "device_id",
    "label",
    "platform",
    "model",
    "scope",
    "status",
    "paired_at",
    "created_at",
    "updated_at",
    "access_expires_at",
    "refresh_expires_at",
    "last_seen_at",
    "revoked_at",
    "app_hidden_at",
    "app_instance_bound",
    "current",
}
PHONE = {"device_label": "Phone", "device_platform": "ios", "device_model": "15", "app_instance_id": "app-1"}


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
async def server(tmp_path: Path, clock: FakeClock) -> AsyncIterator[LinkServer]:
    async with serving_link(tmp_path, clock=clock) as running:
        yield running


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def told(answer: httpx.Response) -> tuple[int, str]:
    body = answer.json()
    assert body["ok"] is False and set(body["error"]) >= {"code", "message"}
    return answer.status_code, body["error"]["code"]


async def a_code(server: LinkServer, **making: str) -> dict[str, Any]:
    answer = await server.client.post("/api/v1/pairing/session", json=making)
    assert answer.status_code == 201
    made: dict[str, Any] = answer.json()
    return made


async def device_session(server: LinkServer, token: str, **body: Any) -> httpx.Response:
    return await server.client.post("/api/v1/auth/device-session", json=PHONE | body, headers=bearer(token))


async def refresh(server: LinkServer, token: str) -> httpx.Response:
    return await server.client.post("/api/v1/auth/refresh", json={"refresh_token": token})


async def me(server: LinkServer, token: str) -> httpx.Response:
    return await server.client.get("/api/v1/auth/me", headers=bearer(token))


async def test_a_phone_pairs_by_what_it_reads_out_of_the_qr_code(server: LinkServer) -> None:
    made = await a_code(server)
    read = json.loads(made["qr"]["payload"])

    claim = {"session_id": read["session_id"], "claim_token": read["code"]}
    answer = await server.client.post("/api/v1/pairing/claim", json=PHONE | claim)

    assert answer.status_code == 200
    body = answer.json()
    assert set(body) == {"ok", "link", "device", "access_token", "refresh_token"} and body["ok"] is True
    assert body["link"]["link_id"] == read["link_id"] and body["link"]["display_name"] == read["display_name"]
    assert set(body["device"]) == DEVICE
    assert (body["device"]["label"], body["device"]["platform"], body["device"]["model"]) == ("Phone", "ios", "15")
    assert (body["device"]["scope"], body["device"]["status"]) == ("admin", "active")
    assert body["device"]["current"] and body["device"]["app_instance_bound"]
    assert body["access_token"]["token"].startswith("hlat_") and body["refresh_token"]["token"].startswith("hlrt_")
    assert body["access_token"]["expires_at"] == body["device"]["access_expires_at"] == "2023-11-14T22:28:20.000Z"
    shown = await me(server, body["access_token"]["token"])
    assert shown.json()["auth"] == {"kind": "device", "account_id": None}
    assert shown.json()["link"] == body["link"]
    assert shown.json()["device"]["id"] == body["device"]["device_id"]


async def test_a_script_pairs_by_the_connect_token_alone(server: LinkServer) -> None:
    made = await a_code(server, scope="chat")

    answer = await device_session(server, made["connect_token"])

    assert answer.status_code == 200
    assert answer.json()["device"]["scope"] == "chat"
    assert (await me(server, answer.json()["access_token"]["token"])).status_code == 200


async def test_names_in_camel_case_and_the_header_of_the_app_are_the_same(server: LinkServer) -> None:
    made = await a_code(server)
    claim = {"sessionId": made["session"]["session_id"], "claimToken": made["connect_token"], "deviceLabel": "Tab"}
    headers = {"x-hermes-app-instance-id": "app-9"}

    answer = await server.client.post("/api/v1/pairing/claim", json=claim, headers=headers)

    assert answer.json()["device"]["label"] == "Tab" and answer.json()["device"]["app_instance_bound"]
    refreshed = await server.client.post(
        "/api/v1/auth/refresh", json={"refreshToken": answer.json()["refresh_token"]["token"]}, headers=headers
    )
    assert refreshed.status_code == 200


async def test_device_session_names_what_is_wrong(server: LinkServer, clock: FakeClock) -> None:
    path = "/api/v1/auth/device-session"
    made = await a_code(server)
    access = server.admin_device.access.token

    assert told(await server.client.post(path, json=PHONE)) == (401, "auth_required")
    assert told(await server.client.post(path, json={})) == (401, "auth_required")
    assert told(await device_session(server, "wrong")) == (401, "auth_invalid")
    assert told(await device_session(server, server.admin_device.refresh.token)) == (401, "auth_invalid")
    assert told(await device_session(server, access)) == (403, "app_connect_required")
    assert told(await device_session(server, made["connect_token"], device_platform="toaster")) == (
        422,
        "validation_error",
    )
    assert told(await device_session(server, made["connect_token"], device_label="")) == (422, "validation_error")
    clock.advance(300)
    assert told(await device_session(server, made["connect_token"])) == (401, "auth_invalid")


async def test_claim_names_what_is_wrong(server: LinkServer, clock: FakeClock) -> None:
    one, other = await a_code(server), await a_code(server)

    async def claim(**body: Any) -> tuple[int, str]:
        return told(await server.client.post("/api/v1/pairing/claim", json=body))

    session_id = one["session"]["session_id"]
    assert await claim() == (400, "pairing_claim_invalid")
    assert told(await server.client.post("/api/v1/pairing/claim")) == (400, "pairing_claim_invalid")
    assert await claim(session_id=session_id) == (400, "pairing_claim_invalid")
    assert await claim(session_id=7, claim_token=["x"]) == (400, "pairing_claim_invalid")
    assert await claim(session_id="../x", claim_token="x") == (404, "pairing_session_not_found")
    assert await claim(session_id="ps_" + "0" * 32, claim_token="x") == (404, "pairing_session_not_found")
    assert await claim(session_id=session_id, claim_token=other["connect_token"]) == (409, "pairing_claim_mismatch")
    assert (await device_session(server, one["connect_token"])).status_code == 200
    assert await claim(session_id=session_id, claim_token=one["connect_token"]) == (409, "pairing_already_claimed")
    clock.advance(300)
    assert await claim(session_id=session_id, claim_token=one["connect_token"]) == (404, "pairing_session_expired")


async def test_without_an_identity_pairing_says_so_and_the_rest_works(tmp_path: Path) -> None:
    async with serving_link(tmp_path) as server:
        made = await a_code(server)
    (tmp_path / "link" / "identity.json").write_text("{")

    async with (
        open_link(LinkHome(tmp_path / "link"), tmp_path, environ={}) as link,
        listening(create_app(link)) as port,
        client_of(port) as client,
    ):
        claim = {"session_id": made["session"]["session_id"], "claim_token": made["connect_token"]}
        assert told(await client.post("/api/v1/pairing/claim", json=claim)) == (409, "link_not_paired")
        session = await client.post("/api/v1/auth/device-session", json=PHONE, headers=bearer(made["connect_token"]))
        assert told(session) == (409, "link_not_paired")
        assert told(await client.post("/api/v1/pairing/session", json={})) == (409, "link_not_paired")
        own = bearer(server.admin_device.access.token)
        assert (await client.get("/api/v1/devices", headers=own)).status_code == 200
        assert (await client.get("/api/v1/auth/me", headers=own)).json()["link"]["link_id"] is None


async def test_50_claims_at_once_over_both_routes_have_one_winner(server: LinkServer) -> None:
    made = await a_code(server)
    claim = PHONE | {"session_id": made["session"]["session_id"], "claim_token": made["connect_token"]}

    async def come(at: int) -> httpx.Response:
        if at % 2:
            return await server.client.post("/api/v1/pairing/claim", json=claim)
        return await device_session(server, made["connect_token"])

    answers = await asyncio.gather(*(come(at) for at in range(50)))

    statuses = [answer.status_code for answer in answers]
    assert statuses.count(200) == 1
    assert set(statuses) <= {200, 409, 429}
    assert all(int(answer.headers["retry-after"]) <= 60 for answer in answers if answer.status_code == 429)
    devices = (await server.admin.get("/api/v1/devices")).json()
    assert devices["summary"]["total"] == 3


async def test_the_state_of_a_session_is_told_without_its_secret(server: LinkServer, clock: FakeClock) -> None:
    made = await a_code(server)
    path = "/api/v1/pairing/session"
    query = {"session_id": made["session"]["session_id"]}

    open_session = await server.client.get(path, params=query)
    await device_session(server, made["connect_token"])
    claimed = await server.client.get(path, params=query)

    assert open_session.status_code == 200
    assert open_session.json() == {"ok": True, "session": made["session"]}
    assert set(made["session"]) == {
        "session_id",
        "link_id",
        "display_name",
        "local_api_url",
        "preferred_urls",
        "created_at",
        "expires_at",
        "claimed",
    }
    assert (made["session"]["claimed"], claimed.json()["session"]["claimed"]) == (False, True)
    assert made["connect_token"] not in open_session.text
    assert told(await server.client.get(path)) == (400, "pairing_session_required")
    assert told(await server.client.get(path, params={"session_id": ""})) == (400, "pairing_session_required")
    assert told(await server.client.get(path, params={"session_id": "ps_x"})) == (404, "pairing_session_not_found")
    clock.advance(300)
    assert told(await server.client.get(path, params=query)) == (404, "pairing_session_expired")


async def test_whoever_sends_the_connect_token_sees_its_qr_code_and_spends_nothing(server: LinkServer) -> None:
    made = await a_code(server)
    path = "/api/v1/pairing/session"

    shown = await server.client.get(path, headers=bearer(made["connect_token"]))

    assert shown.json()["session"] == made["session"] and shown.json()["qr"] == made["qr"]
    assert made["qr"]["image"].startswith("data:image/svg+xml;base64,")
    assert told(await server.client.get(path, headers=bearer("wrong"))) == (401, "auth_invalid")
    assert (await device_session(server, made["connect_token"])).status_code == 200
    assert "qr" not in (await server.client.get(path, headers=bearer(made["connect_token"]))).json()


async def test_a_code_is_for_this_machine_or_an_admin(server: LinkServer) -> None:
    path = "/api/v1/pairing/session"
    far = {"X-Forwarded-For": "203.0.113.9"}

    assert (await server.client.post(path)).status_code == 201
    assert told(await server.client.post(path, headers=far)) == (401, "auth_required")
    assert told(await server.chat.post(path, headers=far)) == (403, "scope_required")
    assert told(await server.chat.post(path, json={"scope": "admin"})) == (403, "scope_required")
    assert told(await server.client.post(path, headers={"Origin": "https://evil.example"})) == (
        403,
        "origin_not_allowed",
    )
    made = await server.admin.post(path, json={"scope": "chat"}, headers=far)
    assert (made.status_code, made.json()["scope"]) == (201, "chat")
    assert told(await server.client.post(path, json={"scope": "root"})) == (422, "validation_error")


async def test_refresh_gives_both_tokens_anew_and_names_what_is_wrong(server: LinkServer, clock: FakeClock) -> None:
    first = server.chat_device
    path = "/api/v1/auth/refresh"

    answer = await refresh(server, first.refresh.token)

    assert answer.status_code == 200
    assert set(answer.json()) == {"ok", "device", "access_token", "refresh_token"}
    assert answer.json()["device"]["scope"] == "chat"
    assert told(await me(server, first.access.token)) == (401, "device_access_token_invalid")
    assert (await me(server, answer.json()["access_token"]["token"])).status_code == 200
    for body in ({}, {"refresh_token": ""}, {"refresh_token": None}, {"refresh_token": 7}):
        assert told(await server.client.post(path, json=body)) == (400, "refresh_token_required")
    assert told(await server.client.post(path)) == (400, "refresh_token_required")
    assert told(await refresh(server, "hlrt_wrong")) == (401, "refresh_token_invalid")
    clock.advance(31)
    assert told(await refresh(server, first.refresh.token)) == (401, "refresh_token_invalid")
    assert told(await me(server, answer.json()["access_token"]["token"])) == (401, "device_access_token_invalid")
    assert told(await refresh(server, answer.json()["refresh_token"]["token"])) == (401, "refresh_token_invalid")


@pytest.mark.parametrize("wanted", [{"scope": "admin"}, {"scopes": ["admin"]}])
async def test_no_client_says_its_own_scope(server: LinkServer, wanted: dict[str, Any]) -> None:
    made = await a_code(server, scope="chat")
    paired = (await device_session(server, made["connect_token"], **wanted)).json()
    again = await server.client.post(
        "/api/v1/auth/refresh", json={"refresh_token": paired["refresh_token"]["token"], **wanted}
    )

    assert paired["device"]["scope"] == again.json()["device"]["scope"] == "chat"
    assert told(await server.client.get("/api/v1/audit", headers=bearer(again.json()["access_token"]["token"]))) == (
        403,
        "scope_required",
    )


async def test_logging_out_is_always_fine(server: LinkServer) -> None:
    path = "/api/v1/auth/logout"
    tokens = server.chat_device

    for answer in (
        await server.client.post(path),
        await server.client.post(path, json={}),
        await server.client.post(path, json={"refresh_token": 7}),
        await server.client.post(path, json=["x"]),
        await server.client.post(path, json={"refresh_token": "hlrt_unknown"}),
        await server.client.post(path, json={"refresh_token": tokens.refresh.token}),
        await server.client.post(path, json={"refresh_token": tokens.refresh.token}),
        await server.admin.post(path),
    ):
        assert (answer.status_code, answer.json()) == (200, {"ok": True})

    assert told(await server.chat.get("/api/v1/auth/me")) == (401, "device_access_token_invalid")
    assert told(await refresh(server, tokens.refresh.token)) == (401, "refresh_token_invalid")
    assert told(await server.admin.get("/api/v1/auth/me")) == (401, "device_access_token_invalid")


async def test_the_eleventh_wrong_one_in_a_minute_waits(server: LinkServer, clock: FakeClock) -> None:
    made = await a_code(server)
    answers = [await device_session(server, f"wrong {at}") for at in range(11)]

    assert [answer.status_code for answer in answers] == [401] * 10 + [429]
    assert told(answers[-1]) == (429, "too_many_attempts")
    assert answers[-1].headers["retry-after"] == "60"
    clock.advance(60)
    assert (await device_session(server, made["connect_token"])).status_code == 200


async def test_a_client_that_goes_on_with_a_dead_token_logs_no_other_out(server: LinkServer) -> None:
    for _ in range(10):
        assert told(await refresh(server, "hlrt_dead")) == (401, "refresh_token_invalid")
    assert told(await refresh(server, "hlrt_dead")) == (429, "too_many_attempts")

    assert (await refresh(server, server.chat_device.refresh.token)).status_code == 200


async def test_an_app_that_pairs_again_is_the_same_device(server: LinkServer) -> None:
    first = (await device_session(server, (await a_code(server))["connect_token"])).json()
    second = (await device_session(server, (await a_code(server))["connect_token"], device_label="New")).json()

    assert first["device"]["id"] == second["device"]["id"] and second["device"]["label"] == "New"
    assert told(await me(server, first["access_token"]["token"])) == (401, "device_access_token_invalid")
    assert told(await refresh(server, first["refresh_token"]["token"])) == (401, "refresh_token_invalid")


async def test_what_happened_is_in_the_audit_newest_first(server: LinkServer) -> None:
    await server.chat.post("/api/v1/auth/logout")

    pages = [(await server.admin.get("/api/v1/audit", params={"limit": 3})).json()]
    while pages[-1]["page"]["next_cursor"]:
        query = {"limit": 3, "cursor": pages[-1]["page"]["next_cursor"]}
        pages.append((await server.admin.get("/api/v1/audit", params=query)).json())

    entries = [entry for page in pages for entry in page["entries"]]
    assert [entry["action"] for entry in entries] == [
        "device.logged_out",
        "device.paired",
        "pairing.created",
        "device.paired",
        "pairing.created",
    ]
    assert entries[0] == {
        "id": 5,
        "at": "2023-11-14T22:13:20.000Z",
        "action": "device.logged_out",
        "device_id": server.chat_device.device.id,
        "subject": server.chat_device.device.id,
        "address": "127.0.0.1",
        "details": {},
    }
    assert entries[1]["details"]["scope"] == Scope.CHAT
    assert told(await server.admin.get("/api/v1/audit", params={"cursor": "x"})) == (400, "invalid_cursor")
    assert told(await server.admin.get("/api/v1/audit", params={"limit": 0})) == (422, "validation_error")
