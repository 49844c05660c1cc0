"""CSRF and CORS: what a web page of another origin may not do, with every verb."""

from __future__ import annotations

from collections.abc import AsyncIterator
from itertools import product
from pathlib import Path

import httpx
import pytest

from tests.support.link import LinkServer, serving_link

pytestmark = pytest.mark.sqlite("Link keeps its data in SQLite")

WRITES = ("POST", "PUT", "PATCH", "DELETE")
LISTED = "https://app.example.com"
FOREIGN = (
    "http://evil.com",
    "https://localhost",
    "http://localhost:1",
    "http://127.0.0.1.evil.com",
    "null",
    "file://",
    LISTED + ".evil.com",
    "http://app.example.com",
)


@pytest.fixture
async def listing(tmp_path: Path) -> AsyncIterator[LinkServer]:
    async with serving_link(tmp_path, settings={"cors-origins": [LISTED]}) as serving:
        yield serving


def code_of(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["error"]["code"]


async def test_a_foreign_page_writes_nothing_even_with_a_token(listing: LinkServer) -> None:
    for method, origin, client in product(WRITES, FOREIGN, (listing.client, listing.admin)):
        answer = await client.request(method, "/api/v1/pairing/session", headers={"Origin": origin})
        assert code_of(answer) == (403, "origin_not_allowed"), (method, origin)
        assert not [name for name in answer.headers if name.startswith("access-control-")]


async def test_what_the_browser_says_is_enough_to_refuse(server: LinkServer) -> None:
    for method, site in product(WRITES, ("cross-site", "same-site")):
        answer = await server.admin.request(method, "/api/v1/pairing/session", headers={"Sec-Fetch-Site": site})
        assert code_of(answer) == (403, "origin_not_allowed"), (method, site)


async def test_a_foreign_page_reads_nothing(server: LinkServer) -> None:
    answer = await server.client.get("/api/v1/system/version", headers={"Origin": "http://evil.com"})
    assert answer.status_code == 200
    assert "access-control-allow-origin" not in answer.headers
    assert answer.headers["cross-origin-resource-policy"] == "same-origin"
    assert answer.headers["vary"] == "Origin"


async def test_a_refused_preflight_grants_nothing(listing: LinkServer) -> None:
    for origin in FOREIGN:
        asks = {"Origin": origin, "Access-Control-Request-Method": "POST"}
        answer = await listing.client.options("/api/v1/conversations", headers=asks)
        assert code_of(answer) == (403, "origin_not_allowed"), origin
        assert not [name for name in answer.headers if name.startswith("access-control-")]


async def test_a_listed_page_is_granted_what_it_needs_and_no_credentials(listing: LinkServer) -> None:
    asks = {
        "Origin": LISTED,
        "Access-Control-Request-Method": "PATCH",
        "Access-Control-Request-Headers": "authorization",
    }
    answer = await listing.client.options("/api/v1/conversations", headers=asks)
    assert answer.status_code == 204
    assert answer.headers["access-control-allow-origin"] == LISTED
    assert "PATCH" in answer.headers["access-control-allow-methods"]
    assert "Authorization" in answer.headers["access-control-allow-headers"]
    assert "access-control-allow-credentials" not in answer.headers
    read = await listing.admin.get("/api/v1/system/version", headers={"Origin": LISTED, "Sec-Fetch-Site": "cross-site"})
    assert read.headers["access-control-allow-origin"] == LISTED
    refused = await listing.client.get("/api/v1/devices", headers={"Origin": LISTED})
    assert (refused.status_code, refused.headers["access-control-allow-origin"]) == (401, LISTED)


async def test_its_own_page_writes(server: LinkServer) -> None:
    for origin in (f"http://127.0.0.1:{server.port}", f"https://127.0.0.1:{server.port}"):
        headers = {"Origin": origin, "Sec-Fetch-Site": "same-origin"}
        answer = await server.admin.post("/api/v1/conversations", json={}, headers=headers)
        assert answer.is_success


async def test_what_this_machine_may_a_listed_page_in_its_browser_may_not(listing: LinkServer) -> None:
    page = {"Origin": LISTED}
    assert (await listing.client.get("/api/v1/bootstrap")).json()["preferred_pairing_urls"]
    assert not (await listing.client.get("/api/v1/bootstrap", headers=page)).json()["preferred_pairing_urls"]
    answer = await listing.client.post("/api/v1/pairing/session", headers=page)
    assert code_of(answer) == (401, "auth_required")


@pytest.mark.parametrize(
    "content_type", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "", "json"]
)
async def test_what_a_page_can_send_without_asking_is_no_json(server: LinkServer, content_type: str) -> None:
    headers = {"Content-Type": content_type} if content_type else {}
    answer = await server.admin.post("/api/v1/profiles", content=b'{"name":"x"}', headers=headers)
    assert code_of(answer) == (415, "unsupported_media_type")
