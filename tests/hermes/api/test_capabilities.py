"""/v1/capabilities is the table of routes, in the words that clients look up."""

from __future__ import annotations

from hermes.api.routes import ROUTES
from hermes.api.services import ApiSettings
from hermes.api.status.capabilities import PUBLISHED_FEATURES
from tests.support.api import make_services, serving


def test_every_feature_that_a_route_brings_has_a_published_name() -> None:
    brought = {feature for route in ROUTES for feature in route.features}
    assert brought <= set(PUBLISHED_FEATURES)
    assert set(PUBLISHED_FEATURES) - brought == {"audio_api", "realtime_voice"}


async def test_what_is_told_is_what_is_there() -> None:
    async with serving(make_services(settings=ApiSettings(cors_origins=("https://chat.example.org",)))) as server:
        told = (await server.client.get("/v1/capabilities")).json()
    assert told["endpoints"] == {r.name: {"method": r.method, "path": r.path} for r in ROUTES if r.name}
    assert [name for name, value in told["features"].items() if value is False] == ["audio_api", "realtime_voice"]
    assert (told["features"]["cors"], told["features"]["idempotency"]) == (True, True)
    assert told["features"]["session_continuity_header"] == "X-Hermes-Session-Id"
    assert told["runtime"] == {"mode": "server_agent", "tool_execution": "server", "split_runtime": True}
