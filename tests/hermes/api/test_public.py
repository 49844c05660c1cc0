"""Health, models, toolsets, the page at /."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Any

import pytest

from hermes.api.services import ApiSettings, Check, ToolsetStatus
from hermes.api.status import health
from hermes.core.errors import StoreUnavailable
from hermes.core.node import Node
from hermes.runs.node_object import node_object
from hermes.store.nodes import Load
from tests.support.api import STARTED_AT, FakeRunner, Server, make_services, serving
from tests.support.clock import FakeClock

A_NODE = Node(
    id="node_1", kind="gateway", home="/h", host="a", pid=1, version="1.2.3", started_at=1_000.0, beat_at=1_002.0
)


async def ok() -> Check:
    return Check(is_ok=True)


async def bad() -> Check:
    return Check(is_ok=False, detail="no model answers")


async def raises() -> Check:
    raise OSError("disk with a secret path")


async def hangs() -> Check:
    await asyncio.Event().wait()
    return Check(is_ok=True)


@pytest.mark.parametrize("path", ["/health", "/v1/health"])
async def test_health_needs_no_key_and_says_what_is_published(server: Server, path: str) -> None:
    response = await server.client.get(path, headers={"Authorization": ""})
    assert (response.status_code, response.json()) == (
        200,
        {"status": "ok", "platform": "hermes-agent", "version": "1.2.3"},
    )


@pytest.mark.parametrize("path", ["/health", "/v1/health"])
async def test_a_server_that_is_about_to_stop_tells_load_balancers_and_keeps_no_connection(path: str) -> None:
    services = make_services()
    async with serving(services) as server:
        assert "connection" not in (await server.client.get(path)).headers
        services.stop.is_announced = True
        response = await server.client.get(path, headers={"Authorization": ""})
        assert (response.status_code, response.json()["status"]) == (503, "draining")
        answers = [response, await server.client.get("/v1/models"), await server.client.get("/nowhere")]
        assert [answer.headers["connection"] for answer in answers] == ["close"] * 3
        state = (await server.client.get("/health/detailed")).json()
    assert (state["gateway_state"], state["gateway_drainable"]) == ("draining", False)


async def test_the_page_at_the_root_has_links_and_no_more(server: Server) -> None:
    response = await server.client.get("/", headers={"Authorization": ""})
    assert response.status_code == 200
    assert response.headers["content-type"] == "text/html; charset=utf-8"
    assert response.headers["content-security-policy"] == "default-src 'none'; frame-ancestors 'none'"
    assert "/health" in response.text
    for absent in ("<script", "<style", "<form", "<img", "1.2.3"):
        assert absent not in response.text


async def test_detailed_health_tells_the_state_of_everything() -> None:
    clock = FakeClock(STARTED_AT + 60)
    services = make_services(FakeRunner(active=2, queued=1), clock=clock, checks={"state_db": ok, "model": bad})
    async with serving(services) as server:
        told: dict[str, Any] = (await server.client.get("/health/detailed")).json()
    rss = told.pop("rss_bytes")
    assert 10_000_000 < rss < 2_000_000_000
    assert told == {
        "status": "degraded",
        "readiness": {
            "status": "degraded",
            "checks": {
                "state_db": {"status": "ok", "detail": None},
                "model": {"status": "degraded", "detail": "no model answers"},
            },
        },
        "platform": "hermes-agent",
        "version": "1.2.3",
        "gateway_state": "running",
        "platforms": {
            "api_server": {
                "state": "connected",
                "error_code": None,
                "error_message": None,
                "updated_at": STARTED_AT,
            }
        },
        "active_agents": 2,
        "queued_runs": 1,
        "gateway_busy": True,
        "gateway_drainable": True,
        "nodes": [],
        "pid": os.getpid(),
        "uptime_seconds": 60.0,
        "updated_at": STARTED_AT + 60,
    }


@pytest.mark.parametrize(
    ("check", "query", "status"),
    [(ok, "", 200), (ok, "?fail=degraded", 200), (bad, "", 200), (bad, "?fail=degraded", 503), (bad, "?fail=x", 200)],
)
async def test_degraded_is_503_for_a_monitor_that_asks_for_it(check: Any, query: str, status: int) -> None:
    async with serving(make_services(checks={"model": check})) as server:
        response = await server.client.get(f"/health/detailed{query}")
        assert (response.status_code, response.json()["status"]) == (status, "ok" if check is ok else "degraded")


async def test_a_check_that_fails_or_hangs_is_a_finding_and_not_a_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health, "CHECK_TIMEOUT_SECONDS", 0.01)
    async with serving(make_services(checks={"a": raises, "b": hangs, "c": ok})) as server:
        told = (await server.client.get("/health/detailed")).json()
    assert told["readiness"]["checks"] == {
        "a": {"status": "degraded", "detail": "OSError"},
        "b": {"status": "degraded", "detail": "no answer within 0.01 s"},
        "c": {"status": "ok", "detail": None},
    }


async def test_the_nodes_are_told_and_null_where_the_database_does_not_say() -> None:
    node = node_object(A_NODE, Load(running=2), 0.5)

    async def nodes() -> list[dict[str, Any]]:
        return [node]

    async def away() -> list[dict[str, Any]]:
        raise StoreUnavailable("the database went away")

    for source, expected in ((nodes, [node]), (away, None)):
        async with serving(make_services(nodes=source)) as server:
            answer = await server.client.get("/health/detailed")
            assert (answer.status_code, answer.json()["nodes"]) == (200, expected)
            metrics = (await server.client.get("/metrics")).text
        counted = {line for line in metrics.splitlines() if line.startswith("hermes_nodes{")}
        states = {"ready": 1.0, "draining": 0.0, "silent": 0.0, "gone": 0.0}
        assert counted == (
            {f'hermes_nodes{{state="{state}"}} {count}' for state, count in states.items()} if expected else set()
        )


def test_rss_is_told_where_the_system_has_no_proc(monkeypatch: pytest.MonkeyPatch) -> None:
    def read_text(self: Path, encoding: str) -> str:
        raise FileNotFoundError(str(self))

    monkeypatch.setattr(Path, "read_text", read_text)
    assert health.rss_bytes() > 10_000_000


async def test_models_are_this_agent_and_its_aliases_with_a_fixed_date() -> None:
    settings = ApiSettings(model_id="alice", model_aliases=("fast", "alice"))
    async with serving(make_services(settings=settings)) as server:
        listed = (await server.client.get("/v1/models")).json()
        own = {
            "id": "alice",
            "object": "model",
            "created": int(STARTED_AT),
            "owned_by": "hermes",
            "root": "alice",
            "parent": None,
        }
        alias = own | {"id": "fast", "parent": "alice"}
        assert listed == {"object": "list", "data": [own, alias]}
        assert (await server.client.get("/v1/models/fast")).json() == alias
        missing = await server.client.get("/v1/models/gpt-4o")
        assert (missing.status_code, missing.json()["error"]["code"]) == (404, "model_not_found")


async def test_toolsets_are_told_as_they_are_now() -> None:
    now = [ToolsetStatus("terminal", "Terminal", "Run commands", True, True, ("terminal", "process"))]
    async with serving(make_services(toolsets=lambda: now)) as server:
        told = (await server.client.get("/v1/toolsets")).json()
        assert told == {
            "object": "list",
            "platform": "api_server",
            "data": [
                {
                    "name": "terminal",
                    "label": "Terminal",
                    "description": "Run commands",
                    "enabled": True,
                    "configured": True,
                    "tools": ["terminal", "process"],
                    "problem": None,
                }
            ],
        }
        now.clear()
        assert (await server.client.get("/v1/toolsets")).json()["data"] == []
