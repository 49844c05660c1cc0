"""What the doors of Link make of tunnels, and what is kept of who opened one."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from hermes.expose.exposure import Exposure, ExposureFile, Via
from tests.support.link import LinkServer, serving_link

pytestmark = pytest.mark.sqlite("Link keeps its data in SQLite")

OURS = Exposure("https://box.tail1234.ts.net", Via.TAILSCALE, 18642, 1_700_000_000.0, slot=443)
FUNNEL = {"Host": "box.tail1234.ts.net", "X-Forwarded-For": "203.0.113.7", "Tailscale-Funnel-Request": "?1"}


def file_of(server: LinkServer) -> ExposureFile:
    return ExposureFile(server.link.home.run_dir)


async def test_the_published_name_is_let_in_while_it_is_published(server: LinkServer) -> None:
    path = "/api/v1/system/version"
    assert (await server.client.get(path, headers=FUNNEL)).status_code == 421
    file_of(server).write(OURS)
    assert (await server.client.get(path, headers=FUNNEL)).status_code == 200
    assert (await server.client.get(path, headers={"Host": "other.tail1234.ts.net"})).status_code == 421
    file_of(server).remove()
    assert (await server.client.get(path, headers=FUNNEL)).status_code == 421


async def test_devices_are_told_the_published_address_first(server: LinkServer) -> None:
    file_of(server).write(OURS)
    told = (await server.client.get("/api/v1/bootstrap")).json()
    assert told["preferred_pairing_urls"][0] == OURS.url
    assert told["routes"][0] == {"url": OURS.url, "kind": "public"}
    file_of(server).write(replace(OURS, via=Via.TAILSCALE_SERVE))
    told = (await server.client.get("/api/v1/bootstrap")).json()
    assert told["routes"][0] == {"url": OURS.url, "kind": "lan"}


@pytest.mark.parametrize("via", [Via.TAILSCALE, Via.CLOUDFLARED, Via.COMMAND])
async def test_nothing_that_comes_through_a_tunnel_is_this_machine(server: LinkServer, via: Via) -> None:
    """A command's tunnel may add no header and pass on the Host that its client wrote."""
    file_of(server).write(replace(OURS, via=via))
    through = [FUNNEL, {"Host": "box.tail1234.ts.net"}, {"Cf-Connecting-Ip": "127.0.0.1"}]
    for headers in [*through, *([{}, {"Host": "localhost"}] if via is Via.COMMAND else [])]:
        assert (await server.client.get("/metrics", headers=headers)).status_code == 401, headers
        code = await server.client.post("/api/v1/pairing/session", headers=headers)
        assert code.status_code == 401, headers
        told = (await server.client.get("/api/v1/bootstrap", headers=headers)).json()
        assert (told["preferred_pairing_urls"], told["routes"]) == ([], []), headers
    assert (await server.client.get("/metrics")).status_code == (401 if via is Via.COMMAND else 200)


async def test_guesses_through_a_tunnel_are_counted_by_who_makes_them(server: LinkServer) -> None:
    async def guess(number: int, address: str) -> int:
        headers = {**FUNNEL, "X-Forwarded-For": address, "Authorization": f"Bearer hlat_{number:043}"}
        return (await server.client.get("/api/v1/devices", headers=headers)).status_code

    file_of(server).write(OURS)
    statuses = [await guess(number, f"6.6.6.{number}, 203.0.113.7") for number in range(12)]
    assert statuses[-1] == 429  # what it wrote itself before the tunnel's own entry counts for nothing
    assert await guess(99, "198.51.100.2") == 401
    file_of(server).write(replace(OURS, via=Via.COMMAND))
    assert await guess(100, "198.51.100.2") == 401  # all of an unknown tunnel count as one
    assert [await guess(200 + number, f"198.51.100.{number}") for number in range(12)][-1] == 429


async def test_without_a_tool_an_admin_is_told_what_to_install(server: LinkServer) -> None:
    answer = await server.admin.post("/api/v1/expose", json={})
    assert (answer.status_code, answer.json()["error"]["code"]) == (409, "expose_tool_missing")
    assert "https://tailscale.com/download" in answer.json()["error"]["message"]
    told = (await server.admin.get("/api/v1/expose")).json()
    assert (told["exposed"], told["url"], told["exposure"], told["byHand"]) == (False, None, None, [])
    audit = (await server.admin.get("/api/v1/audit")).json()["entries"]
    assert not [entry for entry in audit if entry["action"].startswith("expose")]


async def test_a_command_of_somebodys_own_is_run_at_the_machine_alone(server: LinkServer) -> None:
    answer = await server.admin.post("/api/v1/expose", json={"via": "command"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "expose_command_refused")


async def test_a_link_that_no_tunnel_reaches_is_not_published(tmp_path: Path) -> None:
    async with serving_link(tmp_path, settings={"listen-host": "192.0.2.7"}) as server:
        refused = await server.admin.post("/api/v1/expose", json={"via": "cloudflared"})
        assert (refused.status_code, refused.json()["error"]["code"]) == (409, "expose_not_on_loopback")
        assert "hermeslink config set listen-host 127.0.0.1" in refused.json()["error"]["message"]
