"""Claims about the table of routes and what stands before it. tests/acceptance/test_routes_walk.py calls each route."""

from __future__ import annotations

import pytest

from hermes.api.auth import PUBLIC_PATHS, OwnerKey
from hermes.api.routes import ROUTES, ApiRoute, build_router
from hermes.core.errors import Unauthorized
from hermes.http.headers import SECURITY_HEADERS
from tests.support.api import FakeRunner, Server, make_services, serving

RUN_ID = f"run_{1:032x}"
KEYED = [route for route in ROUTES if route.scope is not None]
IDS = ("run_id", "response_id", "session_id", "job_id", "file_id", "model_id")


def path_of(route: ApiRoute) -> str:
    return route.path.format_map(dict.fromkeys(IDS, RUN_ID))


def named(route: ApiRoute) -> str:
    return f"{route.method} {route.path}"


def assert_headers(response, request_id: str | None = None) -> None:
    for name, value in SECURITY_HEADERS:
        if name != b"cache-control":
            assert response.headers[name.decode()] == value.decode()
    assert "server" not in response.headers
    assert response.headers["x-request-id"] == (request_id or response.headers["x-request-id"])


def assert_envelope(response, status: int, code: str) -> None:
    assert response.status_code == status
    error = response.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert error["code"] == code
    assert_headers(response)


def test_the_public_paths_are_written_down() -> None:
    page = {"/docs", "/docs/docs.css", "/docs/docs.js", "/docs/swagger-ui-bundle.js", "/docs/swagger-ui.css"}
    assert {"/", "/health", "/v1/health"} | page == PUBLIC_PATHS
    assert {route.path for route in ROUTES if route.scope is None} == PUBLIC_PATHS


def test_a_public_route_outside_the_literal_list_cannot_be_built() -> None:
    async def handler(request, services): ...

    with pytest.raises(ValueError, match="public in one place"):
        build_router(make_services(), [ApiRoute("GET", "/v1/open", handler, None)])


@pytest.mark.parametrize(
    "path", ["/nope", "/v1", "/v1/", "/v1//health", "/health/", "/Health", "/v1/runs/a/b/c", "/docs/"]
)
async def test_an_unknown_path_says_401_without_a_key_and_404_with_one(server: Server, path: str) -> None:
    assert_envelope(await server.client.get(path), 404, "not_found")
    assert_envelope(await server.client.get(path, headers={"Authorization": ""}), 401, "invalid_api_key")


async def test_a_method_the_path_has_not_is_405_and_says_which_there_are(server: Server) -> None:
    response = await server.client.get("/v1/chat/completions")
    assert_envelope(response, 405, "method_not_allowed")
    assert response.headers["allow"] == "OPTIONS, POST"
    response = await server.client.delete("/v1/models")
    assert_envelope(response, 405, "method_not_allowed")
    assert response.headers["allow"] == "GET, HEAD, OPTIONS"


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PROPFIND", "OPTIONS"])
async def test_a_public_path_is_public_for_reading_only(server: Server, method: str) -> None:
    response = await server.client.request(method, "/health", headers={"Authorization": ""})
    assert_envelope(response, 401, "invalid_api_key")


async def test_the_endpoints_of_capabilities_are_the_named_routes(server: Server) -> None:
    told = (await server.client.get("/v1/capabilities")).json()
    assert told["endpoints"] == {r.name: {"method": r.method, "path": r.path} for r in ROUTES if r.name}
    assert told["features"]["session_continuity_header"] == "X-Hermes-Session-Id"
    assert told["features"]["audio_api"] is False
    assert told["runtime"] == {"mode": "server_agent", "tool_execution": "server", "split_runtime": True}
    assert told["auth"] == {"type": "bearer", "required": True}
    assert (told["object"], told["model"]) == ("hermes.api_server.capabilities", "hermes-agent")


async def test_a_request_id_is_echoed_or_made(server: Server) -> None:
    response = await server.client.get("/health", headers={"X-Request-Id": "my-id.1"})
    assert response.headers["x-request-id"] == "my-id.1"
    first, second = [(await server.client.get("/health")).headers["x-request-id"] for _ in range(2)]
    assert first.startswith("req_")
    assert first != second


@pytest.mark.parametrize("sent", [b"a b", b"x" * 129, b'a"b', b"a,b", b"\xe4"])
async def test_a_request_id_that_could_forge_a_log_line_is_replaced(server: Server, sent: bytes) -> None:
    response = await server.client.get("/health", headers={b"X-Request-Id": sent})
    assert response.headers["x-request-id"].startswith("req_")


async def test_a_fault_of_ours_is_500_in_the_envelope_and_says_nothing_of_itself() -> None:
    runner = FakeRunner(raises=RuntimeError("secret detail"))
    async with serving(make_services(runner)) as server:
        response = await server.chat()
        assert_envelope(response, 500, "internal_error")
        assert "secret" not in response.text
        assert response.headers["x-should-retry"] == "false"


async def test_a_rotated_key_holds_for_the_next_request(server: Server) -> None:
    ring = server.services.keys
    assert isinstance(ring, OwnerKey)
    ring.replace("n" * 16 + "0123456789abcdefg")
    assert (await server.client.get("/v1/models")).status_code == 401
    headers = {"Authorization": "Bearer " + "n" * 16 + "0123456789abcdefg"}
    assert (await server.client.get("/v1/models", headers=headers)).status_code == 200


@pytest.mark.parametrize("route", KEYED, ids=named)
async def test_a_route_refuses_by_itself_what_came_past_the_door(route: ApiRoute) -> None:
    """Should the check in front of the router ever be left out, no route answers without a key."""
    kind = "websocket" if route.method == "WEBSOCKET" else "http"
    scope = {"type": kind, "method": route.method, "path": path_of(route), "headers": [], "query_string": b""}
    with pytest.raises(Unauthorized):
        await build_router(make_services())(scope, None, None)  # type: ignore[arg-type]
