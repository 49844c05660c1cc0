"""What this machine itself may, and each header that takes it away."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from tests.support.link import LinkServer, serving_link

pytestmark = pytest.mark.sqlite("Link keeps its data in SQLite")

HEADERS = (
    "Forwarded",
    "X-Forwarded-For",
    "X-Forwarded-Host",
    "X-Forwarded-Proto",
    "X-Forwarded-Anything",
    "X-Real-IP",
    "Tailscale-User-Login",
    "Tailscale-Funnel-Request",
    "Cf-Connecting-IP",
    "CF-Ray",
    "Via",
)


async def test_each_header_of_a_proxy_takes_loopbacks_privileges_away(server: LinkServer) -> None:
    for header in HEADERS:
        told = await server.client.get("/api/v1/bootstrap", headers={header: "127.0.0.1"})
        assert (told.json()["preferred_pairing_urls"], told.json()["routes"]) == ([], []), header
        code = await server.client.post("/api/v1/pairing/session", headers={header: "127.0.0.1"})
        assert (code.status_code, code.json()["error"]["code"]) == (401, "auth_required"), header


async def test_who_asks_for_another_name_than_loopbacks_is_not_this_machine(tmp_path: Path) -> None:
    """Some tunnels end on loopback and send no header of their own."""
    async with serving_link(tmp_path, settings={"allowed-hosts": ["box.example.com"]}) as server:
        for host in ("box.example.com", f"{server.link.network.local_name}:{server.port}"):
            told = await server.client.get("/api/v1/bootstrap", headers={"Host": host})
            assert told.json()["preferred_pairing_urls"] == [], host
            for method, path in (("POST", "/api/v1/pairing/session"), ("GET", "/metrics")):
                answer = await server.client.request(method, path, headers={"Host": host})
                assert (answer.status_code, answer.json()["error"]["code"]) == (401, "auth_required"), (host, path)
        for host in ("localhost", "LOCALHOST:1", "[::1]"):
            assert (await server.client.get("/metrics", headers={"Host": host})).status_code == 200, host


@pytest.mark.parametrize(("version", "status"), [("1.0", b"401"), ("1.1", b"200")])
async def test_a_proxy_that_says_nothing_of_itself_but_speaks_as_nginx_does_is_not_this_machine(
    server: LinkServer, version: str, status: bytes
) -> None:
    """What nginx sends for `proxy_pass http://127.0.0.1:18642;` and no word more; over 1.1 it is a request of curl."""
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    for line in (f"GET /metrics HTTP/{version}", f"Host: 127.0.0.1:{server.port}", "Connection: close", ""):
        writer.write(f"{line}\r\n".encode())
    answer = await asyncio.wait_for(reader.read(), 20)
    writer.close()
    assert answer.split(b" ", 2)[1] == status


async def test_a_trusted_proxy_speaks_for_others_and_is_never_this_machine(tmp_path: Path) -> None:
    async with serving_link(tmp_path, settings={"trusted-proxies": ["127.0.0.1"]}) as server:
        told = await server.client.get("/api/v1/bootstrap", headers={"X-Forwarded-For": "127.0.0.1"})
        assert told.json()["preferred_pairing_urls"] == []
        assert (await server.client.get("/api/v1/bootstrap")).json()["preferred_pairing_urls"]


async def test_guesses_are_counted_by_the_client_that_a_trusted_proxy_names(tmp_path: Path) -> None:
    async with serving_link(tmp_path, settings={"trusted-proxies": ["127.0.0.1"]}) as server:

        async def guess(address: str, number: int) -> int:
            headers = {"X-Forwarded-For": f"6.6.6.6, {address}", "Authorization": f"Bearer hlat_{number}"}
            return (await server.client.get("/api/v1/devices", headers=headers)).status_code

        statuses = [await guess("203.0.113.7", number) for number in range(20)]
        assert statuses[:10] == [401] * 10
        assert set(statuses[12:]) == {429}
        assert await guess("203.0.113.8", 99) == 401


async def test_who_is_no_trusted_proxy_names_no_client(server: LinkServer) -> None:
    async def guess(number: int) -> int:
        headers = {"X-Forwarded-For": f"203.0.113.{number}", "Authorization": f"Bearer hlat_{number}"}
        return (await server.client.get("/api/v1/devices", headers=headers)).status_code

    assert {429} == set([await guess(number) for number in range(20)][12:])


async def test_a_device_is_told_where_to_find_it_and_a_stranger_is_not(server: LinkServer) -> None:
    through_a_tunnel = {"Cf-Ray": "1"}
    told = (await server.chat.get("/api/v1/bootstrap", headers=through_a_tunnel)).json()
    assert told["preferred_pairing_urls"]
    wrong = {**through_a_tunnel, "Authorization": "Bearer hlat_wrong"}
    assert (await server.client.get("/api/v1/bootstrap", headers=wrong)).json()["preferred_pairing_urls"] == []


async def test_of_a_thousand_guesses_most_are_429_and_a_right_token_never_waits(server: LinkServer) -> None:
    statuses = []
    for number in range(1000):
        answer = await server.client.get("/api/v1/devices", headers={"Authorization": f"Bearer hlat_{number:043}"})
        statuses.append(answer.status_code)
        if answer.status_code == 429:
            assert int(answer.headers["retry-after"]) >= 1
            assert answer.json()["error"]["code"] == "too_many_attempts"
    assert statuses.count(401) < 20
    assert set(statuses) == {401, 429}
    assert (await server.admin.get("/api/v1/no-such")).status_code == 404
