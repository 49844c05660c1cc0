"""Pages of other origins: what they may read, and that they cannot write."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from hermes.api.services import ApiSettings
from tests.support.api import Server, make_services, serving

WRITES = [("POST", "/v1/chat/completions"), ("POST", f"/v1/runs/run_{1:032x}/stop")]
PREFLIGHT = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization,content-type"}


def grants(response) -> dict[str, str]:
    return {name: value for name, value in response.headers.items() if name.startswith("access-control-")}


@pytest.fixture
async def listed() -> AsyncIterator[Server]:
    settings = ApiSettings(cors_origins=("https://chat.example.com",))
    async with serving(make_services(settings=settings)) as server:
        yield server


@pytest.mark.parametrize(("method", "path"), WRITES)
@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.com"},
        {"Origin": "null"},
        {"Origin": "http://localhost:3000"},
        {"Origin": "http://127.0.0.1.evil.com"},
        {"Origin": "https://evil.com", "Sec-Fetch-Site": "same-origin"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
    ],
    ids=str,
)
async def test_a_write_from_another_origin_is_refused_even_with_the_key(
    server: Server, method: str, path: str, headers: dict[str, str]
) -> None:
    response = await server.client.request(method, path, headers=headers, json={})
    assert (response.status_code, response.json()["error"]["code"]) == (403, "origin_not_allowed")
    assert grants(response) == {}
    assert server.runner.requests == []


async def test_a_read_from_another_origin_is_answered_without_a_grant(server: Server) -> None:
    response = await server.client.get("/v1/models", headers={"Origin": "https://evil.com"})
    assert (response.status_code, grants(response)) == (200, {})


@pytest.mark.parametrize("site", ["same-origin", "cross-site", "none", None])
async def test_the_servers_own_origin_always_passes(server: Server, site: str | None) -> None:
    for scheme in ("http", "https"):  # https: a tunnel in front
        headers = {"Origin": f"{scheme}://127.0.0.1:{server.port}"} | ({"Sec-Fetch-Site": site} if site else {})
        assert (await server.chat(headers=headers)).status_code == 200


async def test_a_program_sends_no_origin_and_passes(server: Server) -> None:
    assert (await server.chat()).status_code == 200
    assert (await server.chat(headers={"Sec-Fetch-Site": "none"})).status_code == 200


async def test_a_listed_origin_may_write_and_read_the_answer_whatever_sec_fetch_site_says(listed: Server) -> None:
    headers = {"Origin": "https://chat.example.com", "Sec-Fetch-Site": "cross-site"}
    response = await listed.chat(headers=headers)
    assert response.status_code == 200
    assert response.headers["access-control-allow-origin"] == "https://chat.example.com"
    assert response.headers["vary"] == "Origin"
    exposed = response.headers["access-control-expose-headers"].split(", ")
    assert {"X-Hermes-Session-Id", "X-Hermes-Run-Id", "X-Hermes-Warnings", "Retry-After"} <= set(exposed)
    streamed = await listed.chat(headers=headers, stream=True)
    assert grants(streamed) == grants(response)


async def test_an_error_carries_the_grant_too_so_that_the_page_can_read_it(listed: Server) -> None:
    headers = {"Origin": "https://chat.example.com", "Authorization": "Bearer wrong"}
    response = await listed.client.get("/v1/models", headers=headers)
    assert response.status_code == 401
    assert response.headers["access-control-allow-origin"] == "https://chat.example.com"


async def test_a_preflight_of_a_listed_origin_needs_no_key(listed: Server) -> None:
    headers = {
        "Origin": "https://chat.example.com",
        "Authorization": "",
        **PREFLIGHT,
        "Access-Control-Request-Headers": "authorization, x-stainless-os, x-stainless-retry-count, x-evil",
    }
    response = await listed.client.options("/v1/chat/completions", headers=headers)
    assert (response.status_code, response.content) == (204, b"")
    assert response.headers["access-control-allow-origin"] == "https://chat.example.com"
    assert response.headers["access-control-max-age"] == "600"
    assert response.headers["access-control-allow-methods"] == "GET, POST, PATCH, DELETE, OPTIONS"
    allowed = response.headers["access-control-allow-headers"]
    for name in (
        "Authorization",
        "Content-Type",
        "Idempotency-Key",
        "Last-Event-ID",
        "X-Hermes-Session-Id",
        "X-Hermes-Session-Key",
        "X-Hermes-Detach",
        "X-Hermes-Tool-Items",
        "X-Request-Id",
        "x-api-key",
        "x-stainless-os",
        "x-stainless-retry-count",
    ):
        assert name in allowed.split(", ")
    assert "x-evil" not in allowed
    assert "access-control-allow-credentials" not in response.headers


@pytest.mark.parametrize(
    "origin", ["https://evil.com", "null", "https://chat.example.com.evil.com", "http://chat.example.com"]
)
async def test_a_refused_preflight_grants_nothing(listed: Server, origin: str) -> None:
    headers = {"Origin": origin, "Authorization": "", **PREFLIGHT}
    response = await listed.client.options("/v1/chat/completions", headers=headers)
    assert (response.status_code, response.json()["error"]["code"]) == (403, "origin_not_allowed")
    assert grants(response) == {}


async def test_a_star_lets_every_origin_read_and_write_without_credentials() -> None:
    async with serving(make_services(settings=ApiSettings(cors_origins=("*",)))) as server:
        response = await server.chat(headers={"Origin": "https://any.example", "Sec-Fetch-Site": "cross-site"})
        assert response.status_code == 200
        assert response.headers["access-control-allow-origin"] == "*"
        assert "access-control-allow-credentials" not in response.headers
        told = (await server.client.get("/v1/capabilities")).json()
        assert told["features"]["cors"] is True


async def test_whether_any_origin_is_listed_does_not_show_to_another(server: Server, listed: Server) -> None:
    """Or a profile that has one would be told from a name that nobody has (ADR 76)."""
    headers = {"Origin": "https://evil.example", "Authorization": "Bearer wrong"}
    told = []
    for one in (server, listed):
        answer = await one.client.get("/v1/models", headers=headers)
        told.append({name: value for name, value in answer.headers.items() if name not in ("date", "x-request-id")})
    assert told[0] == told[1]
