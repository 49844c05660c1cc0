"""/api/docs and /api/openapi.json: open to all, served without a network, and true."""

from __future__ import annotations

import re

import pytest

from hermeslink.api.access import OWN_TOKEN, PUBLIC
from hermeslink.api.app import GROUPS, routes_of, rows_of
from hermeslink.api.paths import shape_of
from tests.support.link import LinkServer

pytestmark = pytest.mark.sqlite("Link keeps its data in SQLite")


async def test_the_page_loads_its_own_files_only(server: LinkServer) -> None:
    page = await server.client.get("/api/docs")
    assert page.headers["content-type"].startswith("text/html")
    policy = page.headers["content-security-policy"]
    assert "unsafe" not in policy
    assert "http" not in policy
    assert not re.search(r"<script>|<style>| on\w+=", page.text)
    for name in re.findall(r'(?:src|href)="(docs/[^"]+)"', page.text):
        file = await server.client.get(f"/api/{name}")
        assert file.status_code == 200, name
        assert file.headers["content-type"].startswith("text/")
        assert file.headers["x-content-type-options"] == "nosniff"
    assert (await server.client.get("/api/docs/favicon.png")).status_code == 404
    assert (await server.client.get("/api/docs/..%2f..%2fpyproject.toml")).status_code in (401, 404)


async def test_the_document_has_every_route_and_who_may_call_it(server: LinkServer) -> None:
    document = (await server.client.get("/api/openapi.json")).json()
    listed = {
        (method.upper(), path): operation
        for path, operations in document["paths"].items()
        for method, operation in operations.items()
    }
    shown = [route for route in routes_of(GROUPS) if route.include_in_schema]
    assert set(listed) == {(method, route.path) for route in shown for method in route.methods or ()}
    assert {row for row in rows_of(GROUPS) if row[1].startswith("/api/v1")} <= set(listed)
    for (method, path), operation in listed.items():
        row = (method, shape_of(path))
        assert ("security" in operation) == (row not in PUBLIC), row
        assert operation["x-hermes-access"] in ("public", "connect token", "chat", "admin", "this machine, or admin")
        assert (operation["x-hermes-access"] == "connect token") == (row in OWN_TOKEN)
        assert operation["responses"]["default"]["content"]["application/json"]["schema"]["$ref"].endswith(
            "/ErrorAnswer"
        )
        assert "422" not in operation["responses"]
        if "application/json" in operation.get("requestBody", {}).get("content", {}):
            assert "required" not in operation["requestBody"], "no body at all is read as {}"
    assert {"ErrorAnswer", "ErrorBody"} <= set(document["components"]["schemas"])


async def test_no_two_operations_have_one_name(server: LinkServer) -> None:
    document = (await server.client.get("/api/openapi.json")).json()
    names = [operation["operationId"] for operations in document["paths"].values() for operation in operations.values()]
    assert len(names) == len(set(names))
