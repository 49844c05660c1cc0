"""Each route with each scope, over a socket: 401 without a key, 403 with too small a scope, else neither."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from hermes.api.auth import Principal, digest_of
from hermes.api.routes import ROUTES, ApiRoute
from hermes.core.key import INCLUDES, Scope
from tests.support.api import Server, make_services, serving

KEYED = [route for route in ROUTES if route.scope is not None]


def named(route: ApiRoute) -> str:
    return f"{route.method} {route.path}"


class ByScope:
    """Three keys, called by their scope's name."""

    def __init__(self) -> None:
        digests = {scope: digest_of(scope.value.encode()) for scope in Scope}
        self.keys = {
            digest: Principal(f"key_{scope}", scope, INCLUDES[scope], digest=digest)
            for scope, digest in digests.items()
        }

    async def find(self, digest: bytes) -> Principal | None:
        return self.keys.get(digest)


@pytest.fixture
async def guarded() -> AsyncIterator[Server]:
    """A route that lets a key in may fail in what lies behind it, which is not there: the door is all that is asked."""
    async with serving(make_services(keys=ByScope())) as running:
        yield running


async def ask(server: Server, route: ApiRoute, key: str | None) -> tuple[int, str | None]:
    headers = {"Authorization": "" if key is None else f"Bearer {key}"}
    path = re.sub(r"\{[a-z_]+\}", "x_1", route.path)
    if route.method == "WEBSOCKET":
        headers |= {"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13"}
        headers |= {"Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ=="}
    method = "GET" if route.method == "WEBSOCKET" else route.method
    async with server.client.stream(method, path, headers=headers) as answer:
        if answer.status_code < 400:
            return answer.status_code, None
        error = httpx.Response(answer.status_code, content=await answer.aread()).json()["error"]
        return answer.status_code, error["code"]


@pytest.mark.parametrize("route", KEYED, ids=named)
async def test_a_route_is_open_to_its_scope_and_to_those_that_include_it(guarded: Server, route: ApiRoute) -> None:
    assert await ask(guarded, route, None) == (401, "invalid_api_key")
    for scope in Scope:
        status, code = await ask(guarded, route, scope.value)
        assert route.scope is not None
        if route.scope in INCLUDES[scope]:
            assert status not in (401, 403), f"{scope}: {status} {code}"
        else:
            assert (status, code) == (403, "insufficient_scope"), scope


def test_what_a_scope_may_do_is_what_the_specification_says() -> None:
    """Read: GETs of one's own things. Chat: what runs the agent, stops, approves, and files. Admin: jobs and docs."""
    for route in KEYED:
        area = route.path.split("/")[2] if route.path.count("/") > 1 else route.path
        if area == "jobs" or route.path in ("/openapi.json", "/docs/{name}"):
            assert route.scope is Scope.ADMIN, named(route)
        elif route.method == "GET":
            assert route.scope is Scope.READ, named(route)
        else:
            assert route.scope is Scope.CHAT, named(route)


def test_the_table_in_the_documentation_is_the_table_of_routes() -> None:
    page = (Path(__file__).parents[3] / "docs" / "reference" / "scopes.md").read_text(encoding="utf-8")
    for route in KEYED:
        assert f"| `{route.method} {route.path}` |" in page
