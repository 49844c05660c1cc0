"""GET /metrics: what was asked, by the route's own path."""

from __future__ import annotations

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.support.link import LinkServer

pytestmark = pytest.mark.sqlite("Link keeps its data in SQLite")


async def samples(server: LinkServer) -> dict[tuple[str, ...], float]:
    answer = await server.client.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    families = text_string_to_metric_families(answer.text)
    named = ("route", "method", "status")
    return {
        (one.name, *(one.labels[name] for name in named if name in one.labels)): one.value
        for family in families
        for one in family.samples
    }


async def test_requests_are_counted_by_route_and_never_by_what_was_asked_for(server: LinkServer) -> None:
    await server.client.get("/api/v1/bootstrap")
    await server.admin.get("/api/v1/conversations/secret-id/messages")
    await server.admin.get("/api/v1/secret-path")
    await server.client.request("PROPFIND", "/api/v1/bootstrap")
    told = await samples(server)
    assert told["hermeslink_http_requests_total", "/api/v1/bootstrap", "GET", "200"] == 1
    assert told["hermeslink_http_requests_total", "/api/v1/conversations/{}/messages", "GET", "404"] == 1
    assert told["hermeslink_http_requests_total", "other", "GET", "404"] == 1
    assert told["hermeslink_http_requests_total", "other", "other", "401"] == 1
    assert not any("secret" in label.lower() for name in told for label in name)
    assert told["hermeslink_store_write_seconds_count",] > 0
    assert any(name[0] == "process_resident_memory_bytes" for name in told)


async def test_open_streams_are_counted_while_they_are_open(server: LinkServer) -> None:
    async with server.admin.stream("GET", "/api/v1/conversations/events") as answer:
        assert answer.status_code == 200
        assert (await samples(server))["hermeslink_sse_clients",] == 1
        await server.link.devices.revoke(None, server.admin_device.device.id)
        await answer.aread()
    assert (await samples(server))["hermeslink_sse_clients",] == 0


async def test_it_is_for_this_machine_or_an_admin(server: LinkServer) -> None:
    tunnel = {"Cf-Ray": "1"}
    assert (await server.client.get("/metrics", headers=tunnel)).status_code == 401
    assert (await server.chat.get("/metrics", headers=tunnel)).status_code == 403
    assert (await server.admin.get("/metrics", headers=tunnel)).status_code == 200
